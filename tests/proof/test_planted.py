"""Whatever is done to the database behind Clew's back is found, and told where: hundreds of times, on both stores."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from clew.log import Log, is_postgres, open_store
from clew.proof.checkpoint import Checkpoint, Note, VerifierKey, parse_note
from clew.proof.merkle import Frontier, leaf_hash
from clew.proof.tree import newest_checkpoint
from clew.proof.verify import FAULTS_MAX, Fault, Report, verify_log, verify_stream
from tests.proof.logs import OTHER_SIGNER, SIGNER, fill, opened, signed_log
from tests.proof.planting import EVERY_STORE, ONLY_SQLITE, Backdoor, Deed, Planted, rewriting_a_stream

pytestmark = pytest.mark.slow

SIGNED = 45
EVENTS = 60
TIMES = 12


@dataclass
class House:
    """A log of sixty events, of which forty-five were signed, read as an auditor does."""

    store: str
    door: Backdoor
    log: Log

    def verify(self, *held: Note, key: VerifierKey | None = None) -> Report:
        with self.log.reading() as reader:
            return verify_log(reader, held=held, key=key)

    def newest(self) -> Note:
        with self.log.reading() as reader:
            return newest_checkpoint(reader)


@contextmanager
def house_in(store: str) -> Iterator[House]:
    async def build() -> None:
        await signed_log(store, 20, SIGNED - 20)
        async with opened(store) as log:
            await fill(log, EVENTS - SIGNED, seed=99)

    asyncio.run(build())
    door = Backdoor(store)
    log = Log(open_store(store, writing=False))
    try:
        yield House(store, door, log)
    finally:
        log.close()
        door.close()


@pytest.fixture
def house(lasting_store: str) -> Iterator[House]:
    with house_in(lasting_store) as house:
        yield house


@pytest.fixture
def file_house(tmp_path: Path) -> Iterator[House]:
    with house_in(str(tmp_path / "log.db")) as house:
        yield house


def is_told(faults: list[Fault], planted: Planted) -> bool:
    if planted.within is not None:
        first, last = planted.within
        return any(fault.first <= last and fault.last >= first for fault in faults)
    return any(fault.first == fault.last and fault.first in planted.exactly for fault in faults)


def plant_and_look(house: House, deed: Deed) -> None:
    for seed in range(TIMES):
        planted = deed(house.door, Random(f"{deed.__name__} {seed}"), SIGNED)
        report = house.verify()
        assert report.faults, f"nobody noticed: {planted}, seed {seed}"
        assert is_told(report.faults, planted), f"{planted}, seed {seed}, told: {[str(one) for one in report.faults]}"
        house.door.restore()
    assert house.verify().faults == []


def test_an_untouched_log_verifies(house: House) -> None:
    report = house.verify(house.newest())
    assert report.faults == []
    assert (report.events, report.covered, report.checkpoints, report.held) == (EVENTS, SIGNED, 2, 1)
    with house.log.reading() as reader:
        for stream in ("thread-0", "thread-1"):
            found = verify_stream(reader, stream, held=[house.newest()])
            assert found.faults == []
            assert (found.covered, found.held) == (SIGNED, 1)


@pytest.mark.parametrize("deed", EVERY_STORE, ids=lambda deed: deed.__name__)
def test_what_is_planted_is_found_and_located(house: House, deed: Deed) -> None:
    plant_and_look(house, deed)


@pytest.mark.parametrize("deed", ONLY_SQLITE, ids=lambda deed: deed.__name__)
def test_values_of_a_kind_that_clew_does_not_write_are_found(file_house: House, deed: Deed) -> None:
    plant_and_look(file_house, deed)


def test_text_in_a_file_that_is_no_text_is_found(file_house: House) -> None:
    for column in ("originator_id", "topic", "actor", "state", "at"):
        file_house.door.execute(f"update events set {column} = cast(x'ff41' as text) where rowid = 7")
        assert is_told(file_house.verify().faults, Planted(frozenset({7}))), column
        file_house.door.restore()


def test_a_change_in_a_thread_is_found_by_verifying_the_thread(house: House) -> None:
    for seed in range(TIMES):
        planted = rewriting_a_stream(house.door, Random(seed), SIGNED)
        stream = house.door.events("rowid = ?", (min(planted.exactly),))[0]["originator_id"]
        with house.log.reading() as reader:
            assert is_told(verify_stream(reader, stream).faults, planted)
        house.door.restore()


def resign(house: House) -> None:
    """What somebody does who rewrites the events, the tree and the checkpoints, with a key of their own."""
    house.door.regrow()
    origin = house.newest().checkpoint.origin
    frontier = Frontier()
    for (hashed,) in house.door.rows("select hash from events order by rowid"):
        frontier.add(leaf_hash(hashed))
        if frontier.size in (20, SIGNED):
            note = OTHER_SIGNER.sign(Checkpoint(origin, frontier.size, frontier.root()))
            house.door.execute("update proof_checkpoints set note = ? where size = ?", (note, frontier.size))
    house.door.execute("update proof_head set verifier = ?", (str(OTHER_SIGNER.verifier(origin)),))


def test_who_rewrites_everything_is_found_by_the_key_or_by_a_checkpoint_held_outside_and_by_nothing_else(
    house: House,
) -> None:
    held = house.newest()
    key = SIGNER.verifier(held.checkpoint.origin)
    planted = rewriting_a_stream(house.door, Random(1), SIGNED)
    resign(house)
    # This is what is not promised.
    assert house.verify().faults == []
    assert any("not signed with the key" in fault.told for fault in house.verify(key=key).faults)
    found = house.verify(held)
    assert any("not what the checkpoint that was given" in fault.told for fault in found.faults)
    assert is_told(found.faults, Planted(within=(min(planted.exactly), SIGNED)))
    assert found.held == 0


def test_a_log_put_back_to_an_earlier_state_is_found_by_a_checkpoint_held_outside(house: House) -> None:
    held = house.newest()
    house.door.execute("delete from events where rowid > 20")
    house.door.execute("delete from proof_checkpoints where size > 20")
    house.door.execute("update proof_head set size = 20")
    house.door.regrow()
    house.door.miscount()
    assert house.verify().faults == []
    [fault] = house.verify(held).faults
    assert (fault.first, fault.last) == (21, SIGNED)
    assert "the log ends at 20" in fault.told


def test_a_tail_that_was_not_signed_yet_can_be_cut_without_a_trace(house: House) -> None:
    """By who knows where the store counts positions. Which is why checkpoints are signed every second."""
    house.door.execute("delete from events where rowid > ?", (SIGNED,))
    house.door.miscount()
    assert house.verify(house.newest()).faults == []


def test_a_tree_that_was_taken_away_is_missed_by_who_holds_a_checkpoint(house: House) -> None:
    held = house.newest()
    for table in ("proof_head", "proof_tiles", "proof_checkpoints"):
        house.door.execute(f"delete from {table}")
    assert house.verify().covered == 0
    report = house.verify(held)
    assert report.covered == SIGNED
    assert ["taken away" in fault.told for fault in report.faults] == [True]


def test_a_checkpoint_of_another_log_is_told(house: House) -> None:
    other = parse_note(SIGNER.sign(Checkpoint("clew/other", SIGNED, house.newest().checkpoint.root)))
    assert any("is of clew/other" in fault.told for fault in house.verify(other).faults)


def test_an_erased_event_is_no_fault_and_is_counted(house: House) -> None:
    house.door.execute("update events set state = null, salt = null where rowid in (3, 50)")
    report = house.verify(house.newest())
    assert (report.faults, report.erased) == ([], 2)


def test_of_very_many_faults_the_first_are_told(house: House) -> None:
    house.door.execute("update events set at = at + 1, topic = 'x'")
    for place in range(1, EVENTS):
        house.door.execute("update events set at = at - ? where rowid = ?", (place, place))
    report = house.verify()
    assert len(report.faults) <= FAULTS_MAX
    assert report.faults[0].first == 1


def test_a_store_that_an_older_clew_wrote_has_chains_only(tmp_path: Path) -> None:
    store = str(tmp_path / "log.db")
    asyncio.run(signed_log(store, 5))
    assert not is_postgres(store)
    with closing(sqlite3.connect(store)) as connection:
        for table in ("proof_head", "proof_tiles", "proof_checkpoints"):
            connection.execute(f"drop table {table}")
    log = Log(open_store(store, writing=False))
    with log.reading() as reader:
        report = verify_log(reader)
    log.close()
    assert (report.events, report.covered, report.faults) == (5, 0, [])
