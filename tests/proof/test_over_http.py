"""Whoever holds checkpoints verifies what the server answers, with nothing but the answers."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from clew.proof.checkpoint import Note, parse_key, parse_note
from clew.proof.merkle import extends, includes, leaf_hash
from clew.proof.tree import tree_head
from tests.dialects.conftest import Server, server

pytestmark = pytest.mark.slow

__all__ = ["server"]
LIMIT_SECONDS = 20.0


@pytest.fixture
def native(server: Server) -> Iterator[httpx2.Client]:
    base_url = server.base_url.removesuffix("/openai/v1") + "/clew/v1"
    with httpx2.Client(base_url=base_url, timeout=10) as client:
        yield client


def checkpoint(native: httpx2.Client, *, covering: int) -> Note:
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        answer = native.get("/log/checkpoint")
        if answer.is_success and parse_note(answer.text).checkpoint.size >= covering:
            return parse_note(answer.text)
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)


def say_something(native: httpx2.Client, times: int) -> list[dict[str, Any]]:
    thread_id = native.post("/threads").json()["thread_id"]
    for number in range(times):
        body = {"kind": "message.appended", "role": "user", "content": f"{number}"}
        assert native.post(f"/threads/{thread_id}/events", json=body).is_success
    events: list[dict[str, Any]] = native.get(f"/threads/{thread_id}/events").json()["events"]
    return events


def hashes(answer: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(step) for step in answer["proof"]]


def test_every_event_is_proved_beneath_the_signed_root(server: Server, native: httpx2.Client) -> None:
    events = say_something(native, 5)
    note = checkpoint(native, covering=events[-1]["position"])
    with server.engine.log.reading() as reader:
        head = tree_head(reader)
        stored = dict(reader.hashes(0, 10_000))
    assert head is not None
    assert parse_key(head.verifier).signed(note)
    size, root = note.checkpoint.size, note.checkpoint.root
    for event in events:
        position = event["position"]
        answer = native.get("/log/proof/inclusion", params={"position": position, "size": size}).json()
        leaf = base64.b64decode(answer["leaf"])
        assert leaf == leaf_hash(stored[position])
        assert includes(root, size, position - 1, leaf, hashes(answer))
        assert not includes(root, size, position, leaf, hashes(answer))


def test_a_later_checkpoint_is_proved_to_extend_an_earlier_one(native: httpx2.Client) -> None:
    first = checkpoint(native, covering=say_something(native, 1)[-1]["position"]).checkpoint
    then = checkpoint(native, covering=say_something(native, 3)[-1]["position"]).checkpoint
    answer = native.get("/log/proof/consistency", params={"from": first.size, "to": then.size}).json()
    assert (answer["old"], answer["new"]) == (first.size, then.size)
    assert extends(first.root, first.size, then.root, then.size, hashes(answer))
    assert not extends(then.root, first.size, then.root, then.size, hashes(answer))


def test_what_is_not_covered_is_told_and_nonsense_is_refused(native: httpx2.Client) -> None:
    size = checkpoint(native, covering=say_something(native, 1)[-1]["position"]).checkpoint.size
    for path in (
        f"inclusion?position={size + 1}&size={size}",
        f"inclusion?position=1&size={size + 10_000}",
        f"inclusion?position={2**63 - 1}",
        f"consistency?from={size}&to={size + 10_000}",
        f"consistency?from={size}&to=1",
    ):
        answer = native.get(f"/log/proof/{path}")
        assert answer.status_code == 404, path
        assert answer.json()["error"]["type"] == "NotCovered"
    for path in ("inclusion?position=0", "inclusion", "consistency?from=-1", "inclusion?position=1e3"):
        assert native.get(f"/log/proof/{path}").status_code == 400, path
