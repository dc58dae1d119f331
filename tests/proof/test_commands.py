"""`clew verify`, `clew checkpoint` and `clew export`, as a person types them."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import clew
from clew.proof import standalone
from tests.rigs.commands import refused, shown, typed
from tests.test_cli import hold_a_conversation


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, str]:
    """A store with one conversation, and its thread. What was said is signed when the engine has stopped."""
    store = tmp_path / "threads.db"

    async def main() -> str:
        async with clew.open(str(store)) as engine:
            thread_id, _ = await hold_a_conversation(engine)
        return thread_id

    return store, asyncio.run(main())


def change(store: Path, sql: str) -> None:
    with closing(sqlite3.connect(store)) as connection:
        assert connection.execute(sql).rowcount > 0
        connection.commit()


def test_a_log_that_is_as_it_was_verifies(kept: tuple[Path, str], tmp_path: Path) -> None:
    store, thread_id = kept
    held = tmp_path / "held"
    assert str(held) in shown("checkpoint", "--out", str(held), store=store).replace("\n", "")
    assert held.read_text() == shown("checkpoint", store=store)
    said = shown("verify", "--checkpoint", str(held), store=store)
    assert "all chains hold" in said
    assert "extends what was given" in said
    assert "BAD" not in shown("verify", thread_id, "--checkpoint", str(held), store=store)
    found = json.loads(shown("verify", "--json", store=store))
    assert found["ok"] is True
    assert found["covered"] == found["events"] > 0


def test_a_change_is_told_with_its_place_and_ends_with_1(kept: tuple[Path, str]) -> None:
    store, thread_id = kept
    change(store, "update events set state = cast('{}' as blob) where rowid = 2")
    for arguments in (["verify"], ["verify", thread_id]):
        done = typed(*arguments, store=store)
        assert done.returncode == 1
        assert f"event 2 of {thread_id} (position 2): its body does not fit its hash" in done.stdout
    found = json.loads(typed("verify", "--json", store=store).stdout)
    assert found["ok"] is False
    assert found["faults"][0]["first"] == found["faults"][0]["last"] == 2


def test_a_key_in_the_store_that_is_not_the_one_beside_it_is_told(kept: tuple[Path, str]) -> None:
    store, _ = kept
    key = Path(f"{store}.key")
    key.unlink()
    other = store.with_name("other.db")
    asyncio.run(_open_and_close(other))
    Path(f"{other}.key").rename(key)
    done = typed("verify", store=store)
    assert done.returncode == 1
    assert "was not signed with the key of this log" in done.stdout
    key.unlink()
    assert "BAD" not in shown("verify", store=store)


async def _open_and_close(store: Path) -> None:
    async with clew.open(str(store)):
        return


def test_the_key_and_the_checkpoint_are_shown_as_json_too(kept: tuple[Path, str]) -> None:
    store, _ = kept
    found = json.loads(shown("checkpoint", "--json", store=store))
    assert shown("checkpoint", "--key", store=store) == found["key"] + "\n"
    assert found["note"] == shown("checkpoint", store=store)
    assert found["key"].startswith(found["origin"])
    assert "BAD" not in shown("verify", "--key", found["key"], store=store)


def test_exports_are_verified_without_the_store(kept: tuple[Path, str], tmp_path: Path) -> None:
    store, thread_id = kept
    held, out = tmp_path / "held", tmp_path / "out.jsonl"
    shown("checkpoint", "--out", str(held), store=store)
    for thread in ([], [thread_id]):
        shown("export", *thread, "--out", str(out), "--checkpoint", str(held), store=store)
        assert standalone.main([str(out), "--checkpoint", str(held)]) == standalone.HOLDS


def test_what_cannot_be_done_is_refused_in_one_line(kept: tuple[Path, str], tmp_path: Path) -> None:
    store, _ = kept
    nothing = tmp_path / "nothing"
    assert "No such file" in refused("verify", "--checkpoint", str(nothing), store=store)
    nothing.write_text("nothing")
    assert "no checkpoint" in refused("verify", "--checkpoint", str(nothing), store=store)
    assert "no verifier key" in refused("verify", "--key", "x", store=store)
    assert "no thread" in refused("verify", "thread_none", store=store)
    assert "no thread" in refused("export", "thread_none", "--out", str(tmp_path / "out"), store=store)
    assert not (tmp_path / "out").exists()
    assert "--out" in refused("export", "--out", str(tmp_path), store=store)
    empty = tmp_path / "empty.db"
    asyncio.run(_open_and_close(empty))
    assert "is empty" in refused("checkpoint", store=empty)
