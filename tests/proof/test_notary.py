"""The tree follows the log: in order, every event once, whoever extends it, and never over a log that was cut."""

from __future__ import annotations

import asyncio
import logging
import stat
from pathlib import Path

import pytest

from clew.errors import Misconfigured, NotCovered
from clew.log import Log
from clew.proof import merkle, notary
from clew.proof.checkpoint import parse_note
from clew.proof.keys import known_signer, signer_of
from clew.proof.notary import CannotSign, Notary
from clew.proof.tree import consistency, inclusion, newest_checkpoint, tree_head
from tests.proof.logs import OTHER_SIGNER, SIGNER, fill, opened, signed_notes

LIMIT_SECONDS = 20.0


def sizes(log: Log) -> list[int]:
    with log.reading() as reader:
        return [note.checkpoint.size for note in signed_notes(reader)]


async def until_covered(log: Log, size: int) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            with log.reading() as reader:
                head = tree_head(reader)
            if head is not None and head.size >= size:
                return
            await asyncio.sleep(0.01)


def test_a_checkpoint_is_signed_for_what_is_in_the_log(store: str) -> None:
    async def main() -> None:
        async with opened(store) as log:
            await Notary(SIGNER).follow(log)
            assert sizes(log) == []
            await fill(log, 10)
            assert await Notary(SIGNER).follow(log) == 10
            assert await Notary(SIGNER).follow(log) == 10
            await fill(log, 300)
            assert await Notary(SIGNER).follow(log) == 310
            assert sizes(log) == [10, 310]

    asyncio.run(main())


def test_a_long_log_is_signed_every_thousand_events(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notary, "CHECKPOINT_EVENTS", 100)

    async def main() -> None:
        async with opened(store) as log:
            await fill(log, 250)
            await Notary(SIGNER).follow(log)
            assert sizes(log) == [100, 200, 250]

    asyncio.run(main())


def test_events_are_covered_soon_after_they_are_appended(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notary, "CHECKPOINT_SECONDS", 0.05)

    async def main() -> None:
        async with opened(store) as log:
            follower = Notary(SIGNER)
            log.listen(follower.committed)
            following = asyncio.create_task(follower.keep_following(log))
            for events in (3, 50):
                await fill(log, events)
                with log.reading() as reader:
                    head = reader.head()
                await until_covered(log, head)
            following.cancel()
            assert sizes(log)[-1] == 53

    asyncio.run(main())


def test_of_several_that_extend_at_once_one_does_it(lasting_store: str) -> None:
    """Each on a log of its own where the store allows that, as in several processes."""

    async def main() -> None:
        async with opened(lasting_store) as log:
            others = [log]
            if log.store.shared:
                async with opened(lasting_store) as second, opened(lasting_store) as third:
                    await race([log, second, third])
            else:
                await race([*others, *others, *others])
            with log.reading() as reader:
                assert signed_notes(reader)[-1].checkpoint.size == reader.head()

    async def race(logs: list[Log]) -> None:
        for seed in range(10):
            await fill(logs[0], 40, seed=seed)
            await asyncio.gather(*(Notary(SIGNER).follow(log) for log in logs))

    asyncio.run(main())


def test_proofs_come_from_the_stored_tree(store: str) -> None:
    async def main() -> None:
        async with opened(store) as log:
            with log.reading() as reader, pytest.raises(NotCovered, match="empty"):
                newest_checkpoint(reader)
            for events in (100, 500):
                await fill(log, events, seed=events)
                await Notary(SIGNER).follow(log)
            await fill(log, 5)
            with log.reading() as reader:
                roots = {note.checkpoint.size: note.checkpoint.root for note in signed_notes(reader)}
                for position, hashed in reader.hashes(0, 600)[::7]:
                    size, leaf, proof = inclusion(reader, position)
                    assert leaf == merkle.leaf_hash(hashed)
                    assert merkle.includes(roots[size], size, position - 1, leaf, proof)
                size, proof = consistency(reader, 100)
                assert merkle.extends(roots[100], 100, roots[600], 600, proof)
                assert consistency(reader, 600, 600) == (600, [])
                for position in (0, 601):
                    with pytest.raises(NotCovered):
                        inclusion(reader, position)
                with pytest.raises(NotCovered, match="covers 600"):
                    consistency(reader, 100, 605)

    asyncio.run(main())


def test_a_log_that_was_cut_is_not_signed_again(store: str) -> None:
    async def main() -> None:
        async with opened(store) as log:
            await fill(log, 10)
            await Notary(SIGNER).follow(log)
            position = log.store.tongue.position
            await log.write(lambda cursor: cursor.execute(f"delete from events where {position} > 8"))
            with pytest.raises(CannotSign, match="ends at 8"):
                await Notary(SIGNER).follow(log)

    asyncio.run(main())


def test_a_log_with_a_gap_is_not_signed(store: str) -> None:
    async def main() -> None:
        async with opened(store) as log:
            await fill(log, 10)
            position = log.store.tongue.position
            await log.write(lambda cursor: cursor.execute(f"delete from events where {position} = 4"))
            with pytest.raises(CannotSign, match="missing"):
                await Notary(SIGNER).follow(log)
            assert sizes(log) == []

    asyncio.run(main())


def test_a_process_with_another_key_leaves_the_tree_alone(store: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with opened(store) as log:
            await fill(log, 5)
            await Notary(SIGNER).follow(log)
            await fill(log, 5)
            with caplog.at_level(logging.ERROR):
                await asyncio.wait_for(Notary(OTHER_SIGNER).keep_following(log), LIMIT_SECONDS)
            assert sizes(log) == [5]

    asyncio.run(main())
    assert "CLEW_SIGNING_KEY_FILE" in caplog.text


def test_a_process_without_a_key_leaves_the_tree_alone(store: str) -> None:
    async def main() -> None:
        async with opened(store) as log:
            await fill(log, 5)
            await Notary(None).keep_following(log)
            await Notary(None).finish(log)
            assert sizes(log) == []

    asyncio.run(main())


def test_the_key_is_made_once_beside_the_file_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    store = str(tmp_path / "log.db")
    assert known_signer(store, None) is None
    made = signer_of(store, None)
    assert made is not None
    key = tmp_path / "log.db.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["log.db.key"]
    for again in (signer_of(store, None), known_signer(store, None), signer_of("postgresql://h/d", key)):
        assert again is not None
        assert again.verifier("x") == made.verifier("x")


def test_the_key_of_a_database_is_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert signer_of("postgresql://localhost/db", None) is not None
    assert (tmp_path / "clew" / "signing.key").exists()


def test_a_key_that_everybody_may_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key"
    signer_of(":memory:", key)
    key.chmod(0o644)
    with pytest.raises(Misconfigured, match="chmod 600"):
        signer_of(":memory:", key)
    key.write_text("not a key")
    key.chmod(0o600)
    with pytest.raises(Misconfigured, match="is a folder; name a file"):
        signer_of(":memory:", tmp_path)
    with pytest.raises(Misconfigured, match="holds no key"):
        signer_of(":memory:", key)
    with pytest.raises(Misconfigured, match="CLEW_SIGNING_KEY_FILE"):
        signer_of(":memory:", key / "below")


def test_what_is_stored_of_the_key_is_its_public_half(lasting_store: str) -> None:
    async def main() -> None:
        async with opened(lasting_store) as log:
            await fill(log, 3)
            await Notary(SIGNER).follow(log)
            with log.reading() as reader:
                head = tree_head(reader)
                note = parse_note(newest_checkpoint(reader).text + "\n— x AAAAAAAA\n")
            assert head is not None
            assert head.verifier == str(SIGNER.verifier(head.origin))
            assert note.checkpoint.size == 3

    asyncio.run(main())
