"""A process that is told to end: it takes nothing more, finishes what it can in time, and hands over the rest at once.

The lease is so long here that whatever is taken over within seconds was handed over.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.chaos.load import TOOLS
from tests.rigs.processes import Fleet, Server, Worker

pytestmark = pytest.mark.slow

_GRACE_SECONDS = 1.0
_LEASE_SECONDS = 60.0
_PARAMETERS = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
_LIMIT_SECONDS = 15.0


@pytest.fixture
def deeds(tmp_path: Path) -> Path:
    path = tmp_path / "deeds.txt"
    path.touch()
    return path


@pytest.fixture
def fleet(postgres_dsn: str, deeds: Path) -> Iterator[Fleet]:
    """A server and a worker whose deeds take a minute; the second worker is started by the tests, and is quick."""
    options = ["--default-provider", "scripted", "--tools", "tests.rigs.deeds:TOOLS"]
    times = ["--lease-seconds", str(_LEASE_SECONDS), "--grace-seconds", str(_GRACE_SECONDS)]
    environment = {"CLEW_DEEDS": str(deeds), "CLEW_DEEDS_SECONDS": "60"}
    fleet = Fleet(
        [Server(postgres_dsn, ["--no-work", *options], environment)],
        [Worker(postgres_dsn, [*times, *options], environment)],
    )
    with fleet:
        yield fleet


def begin(url: str, said: str) -> str:
    functions = [{"type": "function", "function": {"name": name, "parameters": _PARAMETERS}} for name in TOOLS]
    body = {"model": "scripted/scripted", "instructions": "Do it.", "tools": functions}
    assistant = httpx2.post(f"{url}/v1/assistants", json=body).json()["id"]
    thread = {"messages": [{"role": "user", "content": said}]}
    made = httpx2.post(f"{url}/v1/threads/runs", json={"assistant_id": assistant, "thread": thread})
    run_id: str = made.json()["id"]
    return run_id


def look(url: str, run_id: str) -> Any:
    return httpx2.get(f"{url}/clew/v1/runs/{run_id}").json()["run"]


def until(what: str, is_so: Callable[[], Any]) -> float:
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < _LIMIT_SECONDS, f"waited {_LIMIT_SECONDS:g} s for {what}"
        time.sleep(0.02)
    return time.monotonic() - began


def test_a_worker_that_is_told_to_end_hands_its_runs_over_and_is_gone_soon_after_its_grace(
    fleet: Fleet, deeds: Path
) -> None:
    url, [slow] = fleet.url(0), fleet.workers
    kept = begin(url, "use repeatable a1")
    doubtful = begin(url, "use told b2")
    until("both deeds", lambda: len(deeds.read_text().splitlines()) == 2)
    quick = Worker(slow.store, slow.options, {**slow.environment, "CLEW_DEEDS_SECONDS": "0"})
    quick.start()
    try:
        assert slow.process is not None
        slow.process.send_signal(signal.SIGTERM)
        time.sleep(_GRACE_SECONDS / 2)
        later = begin(url, "use repeatable c3")
        until("a run that only the other one can have", lambda: look(url, later)["status"] == "completed")
        until("the end of the worker", lambda: slow.process is not None and slow.process.poll() is not None)
        assert slow.process.returncode == 0
        took = until("the runs", lambda: {look(url, run)["status"] for run in (kept, doubtful)} == {"completed"})
        assert took < _GRACE_SECONDS + 3
        assert all(look(url, run)["fence"] > 1 for run in (kept, doubtful))
        assert look(url, later)["fence"] == 1
    finally:
        quick.stop()
    done = [line.split()[:2] for line in deeds.read_text().splitlines()]
    assert done.count(["told", "b2"]) == 1
    assert done.count(["repeatable", "a1"]) == 2


def test_what_can_be_finished_in_time_is_finished_by_the_worker_that_began_it(fleet: Fleet, deeds: Path) -> None:
    url, [worker] = fleet.url(0), fleet.workers
    worker.stop()
    worker.environment = {**worker.environment, "CLEW_DEEDS_SECONDS": "0.7"}
    worker.start()
    run = begin(url, "use undeclared a1")
    until("the deed", lambda: deeds.read_text())
    worker.stop()
    assert worker.process is not None
    assert worker.process.returncode == 0
    assert look(url, run)["status"] == "completed"
    assert look(url, run)["fence"] == 1


def test_streams_of_a_server_that_is_told_to_end_say_when_to_come_again(tmp_path: Path) -> None:
    with Server(tmp_path / "threads.db", ["--default-provider", "scripted"]) as server:
        follow_to_the_end(server)


def follow_to_the_end(server: Server) -> None:
    url = server.url
    thread = httpx2.post(f"{url}/clew/v1/threads", json={}).json()["thread_id"]
    path = f"{url}/clew/v1/threads/{thread}/events"
    with httpx2.stream("GET", path, headers={"Accept": "text/event-stream"}, timeout=_LIMIT_SECONDS) as sent:
        lines = sent.iter_lines()
        while not next(lines).startswith("data: "):
            pass
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        rest = list(lines)
        assert time.monotonic() - began < 2
    assert "retry: 1000" in rest
    until("the end of the server", lambda: server.process is not None and server.process.poll() is not None)
    assert server.process.returncode in (0, -signal.SIGTERM)
