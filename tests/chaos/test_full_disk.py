"""A disk without room: whoever appends is told, what was acknowledged stays, it goes on when there is room again."""

from __future__ import annotations

import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.rigs.history import History, check
from tests.rigs.processes import Server

pytestmark = pytest.mark.slow

_TMPFS_BYTES = 4_000_000
_BALLAST_BYTES = 2_500_000
_APPENDS_MAX = 1_000
_FOLLOWED_SECONDS = 10.0


@dataclass
class Narrow:
    """A server whose disk is, or soon will be, full; `make_room` ends that."""

    server: Server
    make_room: Callable[[], None]


def mounted(folder: Path) -> bool:
    """Whether a small file system could be mounted there, which only root may."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={_TMPFS_BYTES}", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.fixture(params=["no space left", "file too large"])
def narrow(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Narrow]:
    """Two ways for SQLite to be refused, with two error codes: a full file system, and a limit on files' sizes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    environment = {"CLEW_DEFAULT_PROVIDER": "scripted"}
    if request.param == "file too large":
        with Server(folder / "threads.db", environment=environment) as server:
            assert server.process is not None
            process = server.process.pid
            _, hard = resource.prlimit(process, resource.RLIMIT_FSIZE, (1_200_000, resource.RLIM_INFINITY))
            yield Narrow(server, lambda: resource.prlimit(process, resource.RLIMIT_FSIZE, (hard, hard)) and None)
        return
    if not mounted(folder):
        pytest.skip("no small file system can be mounted here; only root may")
    try:
        ballast = folder / "ballast"
        ballast.write_bytes(bytes(_BALLAST_BYTES))
        with Server(folder / "threads.db", environment=environment) as server:
            yield Narrow(server, ballast.unlink)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def append(client: httpx2.Client, history: History, thread: str, number: int) -> httpx2.Response:
    mark = f"m{number}"
    message = {"kind": "message.appended", "role": "user", "content": mark * 400, "metadata": {"mark": mark}}
    asked = history.invoke(mark)
    answer = client.post(f"/threads/{thread}/events", json=message, headers={"Idempotency-Key": mark})
    if answer.is_success:
        history.end(asked, "ok", answer.json()[0]["position"])
    else:
        history.end(asked, "fail")
    return answer


def until_nothing_is_behind(client: httpx2.Client) -> None:
    """What follows the log has lived through it too."""
    end = time.monotonic() + _FOLLOWED_SECONDS
    while any(standing["behind"] for standing in client.get("/projections").json()):
        assert time.monotonic() < end, "a read model does not follow any more"
        time.sleep(0.05)


def test_a_full_disk_is_told_and_loses_nothing(narrow: Narrow) -> None:
    server, history = narrow.server, History()
    with httpx2.Client(base_url=f"{server.url}/clew/v1") as client:
        thread = client.post("/threads", json={}).json()["thread_id"]
        number = 0
        while (answer := append(client, history, thread, number)).is_success and number < _APPENDS_MAX:
            number += 1
        assert answer.status_code == 507
        assert answer.json()["error"]["type"] == "StoreFailed"
        assert "nothing of this request was kept" in answer.json()["error"]["message"]
        assert number > 10
        # Reading needs no room, and the next who asks is told the same.
        assert client.get(f"/threads/{thread}").json()["version"] == number + 1
        assert append(client, history, thread, number + 1).status_code == 507
        said = httpx2.post(f"{server.url}/v1/threads/{thread}/messages", json={"role": "user", "content": "x" * 5_000})
        assert said.status_code == 500
        assert said.json()["error"]["type"] == "server_error"
        narrow.make_room()
        for after in range(number + 2, number + 30):
            assert append(client, history, thread, after).is_success
        # With the same key as before: it was not kept then, so it is now.
        again = client.post(
            f"/threads/{thread}/events",
            json={"kind": "message.appended", "role": "user", "content": "late"},
            headers={"Idempotency-Key": f"m{number}"},
        )
        assert again.is_success
        until_nothing_is_behind(client)
    found = check(server.store, history.asked)
    assert not found.faults
    assert found.refused == 2
    assert found.acknowledged == number + 28
