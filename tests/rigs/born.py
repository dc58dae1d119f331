"""Processes of Clew, from the nursery: they start in a tenth of the time, and are used as those of `subprocess`."""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tests.rigs.nursery import NUMBER

_ROOT = Path(__file__).resolve().parents[2]


class Nursery:
    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            command = [sys.executable, "-m", "tests.rigs.nursery", str(theirs.fileno())]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._process = subprocess.Popen(command, cwd=_ROOT, env=environment, pass_fds=[theirs.fileno()])

    def close(self) -> None:
        self._requests.close()
        self._process.wait(10)

    def ask(self, request: bytes, files: list[int]) -> None:
        with self._lock:
            socket.send_fds(self._requests, [request], files)


@cache
def nursery() -> Nursery:
    """It ends when this process does, however that may be, as its socket is closed then."""
    made = Nursery()
    atexit.register(made.close)
    return made


class Born:
    """`clew ARGUMENTS`, with the environment given and no more. `days` is how far its clock is off."""

    def __init__(
        self, *arguments: str, environment: Mapping[str, str], stdin: int, stdout: int, stderr: int, days: int = 0
    ) -> None:
        self.returncode: int | None = None
        self._lock = threading.Lock()
        self._told, telling = os.pipe()
        weakref.finalize(self, os.close, self._told)
        request = {"arguments": arguments, "environment": dict(environment), "days": days}
        try:
            nursery().ask(json.dumps(request).encode(), [stdin, stdout, stderr, telling])
        finally:
            os.close(telling)
        self.pid = self._next()

    def _next(self) -> int:
        told = os.read(self._told, NUMBER.size)
        assert told, "the nursery is gone"
        number: int = NUMBER.unpack(told)[0]
        return number

    def poll(self) -> int | None:
        with self._lock:
            if self.returncode is None and select.select([self._told], [], [], 0)[0]:
                self.returncode = self._next()
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises `subprocess.TimeoutExpired`."""
        # What another thread has read is at its end, and so is ready as well.
        select.select([self._told], [], [], timeout)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired("clew", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
