"""Read models are made anew while the server serves, and nobody sees a gap."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx2
import pytest

from tests.rigs.commands import typed
from tests.rigs.processes import Server

pytestmark = pytest.mark.slow


def test_a_server_goes_on_while_its_read_models_are_made_anew(lasting_store: str) -> None:
    with Server(lasting_store, ("--default-provider", "scripted")) as server, httpx2.Client(timeout=30) as http:
        path = f"{server.url}/clew/v1/threads"
        thread_id = http.post(path).json()["thread_id"]
        message = {"kind": "message.appended", "role": "user", "content": "hello"}
        over = threading.Event()
        appended, seen = [0], [0]

        def append() -> None:
            with httpx2.Client(timeout=30) as other:
                while not over.is_set():
                    other.post(f"{path}/{thread_id}/events", json=message).raise_for_status()
                    appended[0] += 1
                    found = other.get(f"{server.url}/v1/threads/{thread_id}/messages?limit=1").json()
                    seen[0] += len(found["data"])

        appending = threading.Thread(target=append)
        appending.start()
        done = typed("projections", "rebuild", "--all", "--url", server.url, store=lasting_store)
        over.set()
        appending.join()
        assert done.returncode == 0, done.stderr
        assert appended[0] > 0
        assert seen[0] == appended[0], "what was appended is there at once, also meanwhile"
        ids = [m["id"] for m in http.get(f"{server.url}/v1/threads/{thread_id}/messages?limit=100").json()["data"]]
        assert len(set(ids)) == len(ids) == min(100, appended[0])
    done = typed("doctor", store=lasting_store)
    assert "BAD" not in done.stdout, done.stdout


def test_a_read_model_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with Server(tmp_path / "threads.db") as server:
        answer = httpx2.post(f"{server.url}/clew/v1/projections/rebuild", json={"names": ["nothing"]})
        assert answer.status_code == 404


@pytest.mark.parametrize("arguments", [("nothing",), ()])
def test_the_command_line_wants_to_know_which(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert typed("projections", "rebuild", *arguments, store=tmp_path / "threads.db").returncode == 2
