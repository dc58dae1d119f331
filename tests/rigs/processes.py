"""Processes that tests start, and always end: the recorded provider and a Clew server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx2

from tests.rigs.born import Born

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
UPSTREAM = SHARED / "rigs" / "recorded_upstream.py"
RECORDING = SHARED / "data" / "tau-bench" / "airline-gpt-4o.jsonl.gz"
_START_SECONDS = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(url: str, process: subprocess.Popen[bytes] | Born) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the process for {url} ended with {process.returncode}")
        try:
            # Certificates take longer to load than most answers to come.
            if httpx2.get(url, timeout=5, verify=False).is_success:
                return
        except httpx2.TransportError:
            time.sleep(0.03)
    raise TimeoutError(f"{url} did not answer within {_START_SECONDS:g} s")


def end(process: subprocess.Popen[bytes] | Born, how: int = signal.SIGTERM) -> None:
    if process.poll() is None:
        process.send_signal(how)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def upstream(*options: str, module: str | None = None) -> Iterator[str]:
    """The recorded provider, or one that is a module of these tests; gives its base URL."""
    port = free_port()
    program = [str(UPSTREAM)] if module is None else ["-m", module]
    every = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, *program, "--port", str(port), *options], cwd=ROOT, env=every)
    try:
        wait_for(f"http://127.0.0.1:{port}/v1/models", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        end(process)


def clew(*arguments: str, environment: Mapping[str, str], **options: Any) -> subprocess.Popen[bytes]:
    """A `clew` process of this checkout that loads all by itself."""
    command = [sys.executable, "-m", "clew", *arguments]
    return subprocess.Popen(command, env=_with_ours(environment), cwd=ROOT, **options)


def _with_ours(environment: Mapping[str, str]) -> dict[str, str]:
    """What the process of the tests has. Requests are not logged unless that is asked for."""
    ours = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return {"CLEW_LOG_LEVEL": "warning", **os.environ, **ours, **environment}


def _born(
    *arguments: str, environment: Mapping[str, str], stdout: int | None = None, stderr: int = 2, days: int = 0
) -> Born:
    with open(os.devnull, "r+b") as nowhere:
        none = nowhere.fileno()
        out = none if stdout is None else stdout
        return Born(*arguments, environment=_with_ours(environment), stdin=none, stdout=out, stderr=stderr, days=days)


@dataclass
class Server:
    """A Clew server, which can be killed and started again on the same port. `store` is a file or an address.

    `days` is how far its clock is off. `stdout` and `stderr` are the descriptors of where it writes.
    """

    store: Path | str
    options: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    days: int = 0
    process: Born | None = None
    stdout: int | None = None
    stderr: int = 2

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        arguments = ["serve", "--port", str(self.port), "--store", str(self.store), *self.options]
        self.process = _born(
            *arguments, environment=self.environment, stdout=self.stdout, stderr=self.stderr, days=self.days
        )
        wait_for(f"{self.url}/healthz", self.process)

    def kill(self) -> None:
        assert self.process is not None
        end(self.process, signal.SIGKILL)

    def stop(self) -> None:
        if self.process is not None:
            end(self.process)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@dataclass
class Worker:
    """A process that only drives runs. It is at work when it says so."""

    store: str
    options: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    process: Born | None = None
    _says: IO[str] | None = None

    def start(self) -> None:
        arguments = ["work", "--store", self.store, *self.options]
        reading, writing = os.pipe()
        self._says = os.fdopen(reading)
        try:
            self.process = _born(*arguments, environment=self.environment, stdout=writing)
        finally:
            os.close(writing)
        if not self._says.readline():
            code = self.process.wait()
            self._close()
            raise RuntimeError(f"the worker ended with {code}")

    def kill(self) -> None:
        assert self.process is not None
        end(self.process, signal.SIGKILL)
        self._close()

    def stop(self) -> None:
        if self.process is not None:
            end(self.process)
            self._close()

    def _close(self) -> None:
        assert self._says is not None
        self._says.close()


@dataclass
class Fleet:
    """Servers and workers on one store, any of which may be killed and started again."""

    servers: Sequence[Server]
    workers: Sequence[Worker] = ()

    @property
    def all(self) -> list[Server | Worker]:
        return [*self.servers, *self.workers]

    def url(self, number: int) -> str:
        """The server for the client of that number."""
        return self.servers[number % len(self.servers)].url

    def start_what_is_down(self) -> None:
        """All at once: each takes a second or two, most of which it waits."""
        down = [one for one in self.all if one.process is None or one.process.poll() is not None]
        with ThreadPoolExecutor(max(1, len(down))) as pool:
            list(pool.map(lambda one: one.start(), down))

    def __enter__(self) -> Fleet:
        try:
            self.start_what_is_down()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with ThreadPoolExecutor(max(1, len(self.all))) as pool:
            list(pool.map(lambda one: one.stop(), self.all))


def a_fleet(database: str, servers: int, workers: int, lease_seconds: float, environment: dict[str, str]) -> Fleet:
    """Servers that only serve, and workers, on one database."""
    lease = ["--lease-seconds", str(lease_seconds)]
    return Fleet(
        [Server(database, ["--no-work"], environment) for _ in range(servers)],
        [Worker(database, lease, environment) for _ in range(workers)],
    )
