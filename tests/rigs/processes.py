"""Processes that tests start, and always end: the recorded provider and a Clew server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
UPSTREAM = SHARED / "rigs" / "recorded_upstream.py"
RECORDING = SHARED / "data" / "tau-bench" / "airline-gpt-4o.jsonl.gz"
_START_SECONDS = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the process for {url} ended with {process.returncode}")
        try:
            if httpx2.get(url, timeout=5).is_success:
                return
        except httpx2.TransportError:
            time.sleep(0.03)
    raise TimeoutError(f"{url} did not answer within {_START_SECONDS:g} s")


def end(process: subprocess.Popen[bytes], how: int = signal.SIGTERM) -> None:
    if process.poll() is None:
        process.send_signal(how)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def upstream(*options: str) -> Iterator[str]:
    """The recorded provider; gives its base URL."""
    port = free_port()
    process = subprocess.Popen([sys.executable, str(UPSTREAM), "--port", str(port), *options])
    try:
        wait_for(f"http://127.0.0.1:{port}/v1/models", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        end(process)


@dataclass
class Server:
    """A Clew server on a file, which can be killed and started again on the same port."""

    store: Path
    options: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "clew", "serve", "--port", str(self.port), "--store", str(self.store)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **self.environment}
        self.process = subprocess.Popen([*command, *self.options], env=environment, cwd=ROOT, stdout=subprocess.DEVNULL)
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
