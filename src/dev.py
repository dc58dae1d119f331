"""Everything a fresh machine needs, with nothing but Python's standard library.

    python3 src/dev.py demo             set up, then run the demo
    python3 src/dev.py test             set up, then lint, types and all tests
    python3 src/dev.py test --quick     the same without the slow tests and PostgreSQL: for the inner loop
    python3 src/dev.py test -k forking  set up, then only pytest, with these arguments

Clew is installed into `.venv`. A stamp in there says what for; while it matches, set-up is skipped.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
STAMP = VENV / "clew.stamp"
PYTHON_MIN = (3, 11)
PIP_MIN = (22, 3)  # The first that knows `pip --python`.
# One more than there are cores: some tests wait, for a lease to end or for a process to come up.
WORKERS = min(4, (os.cpu_count() or 1) + 1)
PYTEST = ["pytest", "-n", str(WORKERS)]
CHECKS = [
    ["ruff", "check"],
    ["ruff", "format", "--check"],
    ["mypy"],
]
QUICK = ["-m", "not slow", "-k", "not postgres"]


def main() -> int:
    if sys.version_info < PYTHON_MIN:
        fail(f"Clew needs Python 3.11 or newer; this is {sys.version.split()[0]} at {sys.executable}")
    command, *arguments = sys.argv[1:] or [""]
    if command == "demo":
        set_up(extra="")
        os.chdir(ROOT)
        os.execv(BIN / "clew", ["clew", "demo", *arguments])
    if command == "test":
        set_up(extra="test")
        return test(arguments)
    print(__doc__)
    return 0 if command in ("-h", "--help", "help") else 2


def set_up(*, extra: str) -> None:
    """Leave a `.venv` that holds Clew and the extra, doing as little as possible."""
    wanted = fingerprint()
    found, extras = read_stamp()
    if found == wanted and (BIN / "python").exists():
        if extra in ("", *extras):
            return
        STAMP.unlink()
    else:
        make_venv()
    target = f".[{extra}]" if extra else "."
    print(f"installing {target} into .venv; the first time this takes a minute", flush=True)
    run_showing_progress([python(), "-m", "pip", "--python", str(BIN / "python"), "install", "-e", target])
    STAMP.write_text(f"{wanted} {extra}")


def fingerprint() -> str:
    """Changes when what is installed would: with the dependencies, the Python or the place."""
    parts = [(ROOT / "pyproject.toml").read_bytes(), sys.version.encode(), str(ROOT).encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def read_stamp() -> tuple[str, list[str]]:
    words = STAMP.read_text().split() if STAMP.is_file() else []
    return (words[0], words[1:]) if words else ("", [])


def make_venv() -> None:
    """Make `.venv` anew: one without our stamp was left half-made.

    Without pip inside, as Debian's Python has no `ensurepip`; the system's pip installs from outside.
    """
    check_pip()
    if VENV.exists():
        print("making .venv anew", flush=True)
        shutil.rmtree(VENV)
    run_showing_progress([python(), "-m", "venv", "--without-pip", str(VENV)])


def check_pip() -> None:
    pip = subprocess.run([python(), "-m", "pip", "--version"], capture_output=True, text=True, check=False)
    version = re.match(r"pip (\d+)\.(\d+)", pip.stdout)
    if pip.returncode or version is None:
        fail(f"{python()} has no pip; install it first (on Debian: apt install python3-pip)")
    if (int(version[1]), int(version[2])) < PIP_MIN:
        fail(f"{version[0]} is too old; Clew needs pip 22.3 or newer (try: pip install --upgrade pip)")


def python() -> str:
    """The Python to install with: not that of an active `.venv`, which has no pip and may be removed."""
    if Path(sys.prefix).resolve() == VENV:
        return getattr(sys, "_base_executable", sys.executable)
    return sys.executable


def run_showing_progress(command: list[str]) -> None:
    """Run with the newest line of output on screen. Only a failure shows all of it."""
    lines = []
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if sys.stdout.isatty():
                print(f"\r\x1b[K{line.strip()[:78]}", end="", flush=True)
    if sys.stdout.isatty():
        print("\r\x1b[K", end="", flush=True)
    if process.returncode:
        print("".join(lines), end="")
        fail(f"{' '.join(command)} ended with {process.returncode}; see above")


def test(pytest_arguments: list[str]) -> int:
    """Run every check, also after one failed, and say at the end which did."""
    if pytest_arguments == ["--quick"]:
        checks = [*CHECKS, [*PYTEST, *QUICK]]
    elif pytest_arguments:
        checks = [["pytest", *pytest_arguments]]
    else:
        checks = [*CHECKS, PYTEST]
    # Tests start hundreds of processes, each of which would compile all of Clew again where no bytecode is kept.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    report = []
    for program, *arguments in checks:
        title = " ".join([program, *arguments])
        print(f"\n$ {title}", flush=True)
        began = time.monotonic()
        code = subprocess.run([BIN / program, *arguments], cwd=ROOT, env=environment, check=False).returncode
        report.append((code, f"{title} ({time.monotonic() - began:.1f} s)"))
    print()
    for code, title in report:
        print(f"{'FAILED' if code else 'passed'}  {title}")
    return 1 if any(code for code, _ in report) else 0


def fail(reason: str) -> NoReturn:
    sys.exit(f"dev.py: {reason}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("dev.py: interrupted; the next run begins where this one can be trusted")
