"""Where processes of Clew are born: one process has loaded what they all load, and forks for each.

Loading takes most of the second in which a server starts, and the tests start hundreds. What is forked is a process
like any other: of its own id, environment, memory and end. `python -m tests.rigs.nursery FD`: requests come over that
socket, each with the descriptors of standard input, output and error, and of a pipe that is told the id and the end.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
import traceback
from contextlib import suppress
from typing import Any, NoReturn

# What commands load, but for the command line itself: its console looks at the terminal when it is loaded.
_LOADED = (
    "clew.server.app",
    "clew.wiring",
    "psycopg_pool",
    "rich.progress",
    "rich.table",
    "typer",
    "uvicorn",
    "uvloop",
)
_REQUEST_BYTES_MAX = 1 << 20
NUMBER = struct.Struct("!q")
_FIRST_OF_OURS = 3


def main() -> None:
    for name in _LOADED:
        importlib.import_module(name)
    assert "clew.cli" not in sys.modules
    gc.collect()
    gc.freeze()
    # Whoever interrupts the tests ends us by closing the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    woken, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    requests = socket.socket(fileno=int(sys.argv[1]))
    told: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([requests.fileno(), woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            _tell_of_ends(told)
        if requests.fileno() in ready:
            request, files, _, _ = socket.recv_fds(requests, _REQUEST_BYTES_MAX, 4)
            if not request:
                return
            _bear(json.loads(request), files, told)


def _tell_of_ends(told: dict[int, int]) -> None:
    for pid in list(told):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            pipe = told.pop(pid)
            with suppress(BrokenPipeError):  # Nobody wants to know.
                os.write(pipe, NUMBER.pack(os.waitstatus_to_exitcode(status)))
            os.close(pipe)


def _bear(request: dict[str, Any], files: list[int], told: dict[int, int]) -> None:
    *standard, pipe = files
    pid = os.fork()
    if pid == 0:
        _live(request, standard)
    for file in standard:
        os.close(file)
    os.write(pipe, NUMBER.pack(pid))
    told[pid] = pipe


def _live(request: dict[str, Any], standard: list[int]) -> NoReturn:
    """The child, to its end."""
    code = 1
    try:
        for number, file in enumerate(standard):
            os.dup2(file, number)
        os.closerange(_FIRST_OF_OURS, os.sysconf("SC_OPEN_MAX"))
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = _run(request)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                code = code or 1
        os._exit(code)


def _run(request: dict[str, Any]) -> int:
    from tests.rigs.another_day import move_the_clock

    environment: dict[str, str] = request["environment"]
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [place for place in environment.get("PYTHONPATH", "").split(os.pathsep) if place not in sys.path]
    sys.argv = ["clew", *request["arguments"]]
    if request["days"]:
        move_the_clock(request["days"])
    from clew.cli import main as clew

    try:
        clew()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


if __name__ == "__main__":
    main()
