"""The command line as people use it: a command is typed, and what it answers is looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from tests.rigs.born import Born


def typed(*arguments: str, store: Path | str | None = None, said: str = "") -> subprocess.CompletedProcess[str]:
    """What `clew` answers. Its environment is the test's, with nothing of Clew's own set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CLEW_")}
    environment = {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "COLUMNS": "200"}
    more = ["--store", str(store)] if store is not None else []
    with ExitStack() as open_files:
        stdin, stdout, stderr = (open_files.enter_context(TemporaryFile("w+")) for _ in range(3))
        stdin.write(said)
        stdin.seek(0)
        standard = {"stdin": stdin.fileno(), "stdout": stdout.fileno(), "stderr": stderr.fileno()}
        process = Born(*arguments, *more, environment=environment, **standard)
        try:
            code = process.wait(60)
        finally:
            process.kill()
        for written in (stdout, stderr):
            written.seek(0)
        return subprocess.CompletedProcess(arguments, code, stdout.read(), stderr.read())


def shown(*arguments: str, store: Path | str | None = None) -> str:
    done = typed(*arguments, store=store)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(*arguments: str, store: Path | str | None = None) -> str:
    """The one line of a refusal."""
    done = typed(*arguments, store=store)
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def verified(store: Path | str) -> dict[str, Any]:
    """What `clew replay --verify --all` finds, beside the server."""
    done = typed("replay", "--verify", "--all", "--json", store=store)
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 0, found["different"][:3]
    return found
