"""The README is true: its tour runs as written, and its settings and commands are those that there are."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from clew.cli import commands_of
from clew.settings import PROVIDER_NAMES
from tests.rigs.processes import ROOT, Server

pytestmark = pytest.mark.slow

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
    monkeypatch.setenv("CLEW_PORT", str(server.port))
    space: dict[str, object] = {"__name__": "tour"}
    ran = 0
    for language, options, text in BLOCK.findall(README.split("## A tour in ten minutes")[1].split("\n## ")[0]):
        if "file=" in options:
            (tmp_path / options.split("file=")[1]).write_text(text)
        elif language == "python":
            exec(compile(text.replace("8787", str(server.port)), "README.md", "exec"), space)
            ran += 1
        elif language == "console":
            lines = (named(line, space).replace("8787", str(server.port)) for line in text.splitlines())
            ran += sum(run(line, tmp_path) for line in lines)
    assert ran == 47
    assert {"audit.html", "trace.json", "trajectory.json"} <= {path.name for path in tmp_path.iterdir()}
    space["client"].close()  # type: ignore[attr-defined]
    said = capsys.readouterr().out
    assert "completed" in said
    assert "items shown" in said
    assert "for the summary it was shown" in said
    assert "tokens became" in said
    assert "user said: What is the weather in Lisbon?" in said
    assert "It was: completed" in said
    assert "failed because the budget lisbon of thread thread_" in said
    assert "\nproven " in said
    assert "tokens in, for 0 USD" in said
    assert "['thread.created', 'message.appended']" in said
    assert "['thread.forked', 'message.edited', 'message.appended', 'run.queued']" in said


def named(line: str, space: dict[str, object]) -> str:
    """A line that names the run and the thread of the tour."""
    for name in ("run", "thread"):
        line = line.replace(f"${name.upper()}", getattr(space.get(name), "id", ""))
    return line


def run(line: str, folder: Path) -> bool:
    """Whether the line was a command to try; the server itself is already there."""
    program, *arguments = shlex.split(line.removeprefix("$ ").split(" | ")[0], comments=True) or [""]
    if program == "curl":
        assert '"metadata":{"user":"ada"}' in asked([program, *arguments])
        return True
    starts = {".venv/bin/clew": ["-m", "clew"], ".venv/bin/python": []}
    if program not in starts or arguments[0] == "serve":
        return False
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, *starts[program], *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{line}: {done.stderr}"
    assert done.stdout or done.stderr.startswith("wrote ")
    return True


def asked(command: list[str]) -> str:
    """What the server answers to a curl of the tour, asked as curl would: not every machine has one."""
    headers = [command[place + 1].partition(": ")[::2] for place, word in enumerate(command) if word == "-H"]
    answer = httpx2.get(command[-1], headers=dict(headers))
    assert answer.status_code == 200, answer.text
    return answer.text


def test_the_tools_of_the_tour_can_be_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clew.engine.tool_modules import load_tools

    text = next(text for _, options, text in BLOCK.findall(README) if "file=mytools.py" in options)
    (tmp_path / "mytools.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_tools(["mytools:get_weather"]).names() == ["get_weather"]


def test_every_setting_is_told() -> None:
    source = (ROOT / "src/clew/settings.py").read_text()
    named = set(re.findall(r'"(CLEW_[A-Z_]+)"', source))
    named |= {f"CLEW_{name.upper()}_{what}" for name in PROVIDER_NAMES for what in ("BASE_URL", "API_KEY")}
    assert {name for name in named if name not in README} == set()


def test_every_flag_of_serve_is_told() -> None:
    serve = commands_of("serving")["serve"]
    flags = {option for parameter in serve.params for option in parameter.opts if option != "--help"}
    assert {flag for flag in flags if flag not in README} == set()


def test_the_map_shows_every_folder_and_every_projection() -> None:
    folders = {p.name for p in (ROOT / "src/clew").iterdir() if p.is_dir() and not p.name.startswith("_")}
    models = {p.stem for p in (ROOT / "projections/clew_projections").glob("*.py") if not p.stem.startswith("_")}
    the_map = README.split("## The map of the house")[1]
    assert {name for name in folders | models if name not in the_map} == set()
