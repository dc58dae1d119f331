"""The README is true: its tour runs as written, and its settings and commands are those that there are."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from clew.cli import app
from tests.rigs.processes import ROOT, Server

README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "tour.db", ("--default-provider", "scripted")) as server:
        yield server


def test_the_tour_runs_as_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {"__name__": "tour"}
    ran = 0
    for language, options, text in BLOCK.findall(README.split("## A tour in ten minutes")[1].split("\n## ")[0]):
        if language == "python" and "file=" in options:
            (tmp_path / options.split("file=")[1]).write_text(text)
        elif language == "python":
            exec(compile(text.replace("8787", str(server.port)), "README.md", "exec"), space)
            ran += 1
        elif language == "console":
            ran += sum(run(line, tmp_path) for line in text.splitlines())
    assert ran == 9
    space["client"].close()  # type: ignore[attr-defined]
    said = capsys.readouterr().out
    assert "completed" in said
    assert "items shown" in said
    assert "['thread.created', 'message.appended']" in said


def run(line: str, folder: Path) -> bool:
    """Whether the line was a command to try; the server itself is already there."""
    command = shlex.split(line.removeprefix("$ "), comments=True)
    if not line.startswith("$ .venv/bin/clew") or command[1] == "serve":
        return False
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-m", "clew", *command[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{line}: {done.stderr}"
    assert done.stdout
    return True


def test_the_tools_of_the_tour_can_be_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clew.engine.tools import load_tools

    text = next(text for _, options, text in BLOCK.findall(README) if "file=mytools.py" in options)
    (tmp_path / "mytools.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_tools(["mytools:get_weather"]).names() == ["get_weather"]


def test_every_setting_is_told() -> None:
    source = (ROOT / "src/clew/settings.py").read_text()
    named = set(re.findall(r'"(CLEW_[A-Z_]+)"', source)) | {"CLEW_OPENAI_BASE_URL", "CLEW_OPENAI_API_KEY"}
    assert {name for name in named if name not in README} == set()


def test_every_flag_of_serve_is_told() -> None:
    serve = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    flags = {option for parameter in serve.params for option in parameter.opts if option != "--help"}
    assert {flag for flag in flags if flag not in README} == set()


def test_the_map_shows_every_folder_and_every_projection() -> None:
    folders = {p.name for p in (ROOT / "src/clew").iterdir() if p.is_dir() and not p.name.startswith("_")}
    models = {p.stem for p in (ROOT / "projections/clew_projections").glob("*.py") if not p.stem.startswith("_")}
    the_map = README.split("## The map of the house")[1]
    assert {name for name in folders | models if name not in the_map} == set()
