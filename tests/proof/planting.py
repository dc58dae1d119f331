"""A hand in the database behind Clew's back. Each deed is drawn by chance and says where it should be found."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import psycopg

from clew.log import is_postgres
from clew.log.chain import FIRST, body_hash, chain_hash
from clew.proof.merkle import leaf_hash
from clew.proof.tiles import grown

COLUMNS = (
    "partition",
    "originator_id",
    "originator_version",
    "topic",
    "at",
    "actor",
    "state",
    "salt",
    "body_hash",
    "hash",
)
_TABLES = ("events", "proof_head", "proof_tiles", "proof_checkpoints")
_COUNTS = {"rowid": "update sqlite_sequence set seq = ?", "notification_id": "update log_head set head = ?"}


class Backdoor:
    """Plain SQL on the tables, and back to how they were."""

    def __init__(self, store: str) -> None:
        self.connection: Any
        if is_postgres(store):
            self.position = "notification_id"
            self.connection = psycopg.connect(store, autocommit=True, options="-c search_path=clew")
        else:
            self.position = "rowid"
            self.connection = sqlite3.connect(store, isolation_level=None)
        self._copies: dict[str, tuple[str, list[Any]]] = {}
        for table in _TABLES:
            star = f"{self.position}, {', '.join(COLUMNS)}" if table == "events" else "*"
            self._copies[table] = star, self.rows(f"select {star} from {table}")

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """How many rows it was done to."""
        if self.position == "notification_id":
            sql = sql.replace("?", "%s").replace("rowid", "notification_id")
        done: int = self.connection.execute(sql, tuple(parameters)).rowcount
        return done

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        if self.position == "notification_id":
            sql = sql.replace("?", "%s").replace("rowid", "notification_id")
        return [tuple(row) for row in self.connection.execute(sql, tuple(parameters)).fetchall()]

    def miscount(self) -> None:
        """Makes the store's own count of positions fit the events that are left."""
        self.execute(_COUNTS[self.position], self.rows("select max(rowid) from events")[0])

    def restore(self) -> None:
        self.execute("begin")
        for table, (star, rows) in self._copies.items():
            self.execute(f"delete from {table}")
            names = f" ({star})" if star != "*" else ""
            marks = ",".join("?" * len(rows[0]))
            cursor = self.connection.cursor()
            sql = f"insert into {table}{names} values ({marks})"
            cursor.executemany(sql.replace("?", "%s") if self.position != "rowid" else sql, rows)
        self.miscount()
        self.execute("commit")

    def close(self) -> None:
        self.connection.close()

    def events(self, where: str = "1 = 1", parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        sql = f"select rowid, {', '.join(COLUMNS)} from events where {where} order by rowid"
        return [dict(zip(("position", *COLUMNS), row, strict=True)) for row in self.rows(sql, parameters)]

    def put(self, event: dict[str, Any]) -> None:
        """Writes an event over the one at its position."""
        sets = ", ".join(f"{column} = ?" for column in COLUMNS)
        values = [event[column] for column in COLUMNS]
        assert self.execute(f"update events set {sets} where rowid = ?", [*values, event["position"]]) == 1

    def shift(self, after: int, by: int) -> None:
        """Moves all events after a position, in two steps: no position may be taken twice on the way."""
        self.execute("update events set rowid = - rowid where rowid > ?", (after,))
        self.execute("update events set rowid = - rowid + ? where rowid < 0", (by,))

    def regrow(self) -> None:
        """Makes the stored tree fit the events again, as somebody who knows Clew would."""
        [(size,)] = self.rows("select size from proof_head")
        leaves = [leaf_hash(hashed) for (hashed,) in self.rows("select hash from events order by rowid")][:size]
        self.execute("delete from proof_tiles")
        for (level, number), hashes in grown(lambda level, number: b"", 0, leaves).items():
            self.execute(
                "insert into proof_tiles (partition, level, number, hashes) values (0, ?, ?, ?)",
                (level, number, hashes),
            )


@dataclass(frozen=True)
class Planted:
    """Positions of which one should be told exactly; or a range in which something should be told."""

    exactly: frozenset[int] = frozenset()
    within: tuple[int, int] | None = None


Deed = Callable[[Backdoor, Random, int], Planted]


def at(*positions: int) -> Planted:
    return Planted(frozenset(positions))


def one_of(chance: Random, door: Backdoor, upto: int) -> dict[str, Any]:
    return door.events("rowid = ?", (chance.randint(1, upto),))[0]


def changing(column: str, value: Callable[[Random, Any], Any]) -> Deed:
    def deed(door: Backdoor, chance: Random, signed: int) -> Planted:
        event = one_of(chance, door, len(door.events()))
        new = value(chance, event[column])
        assert new != event[column]
        door.put({**event, column: new})
        return at(event["position"])

    deed.__name__ = f"changing {column}"
    return deed


def flipped(chance: Random, value: bytes) -> bytes:
    """One bit of it."""
    place = chance.randrange(len(value))
    return value[:place] + bytes([value[place] ^ (1 << chance.randrange(8))]) + value[place + 1 :]


def shorter(chance: Random, value: bytes) -> bytes:
    return value[: chance.randrange(len(value))]


def dropping_one(door: Backdoor, chance: Random, signed: int) -> Planted:
    place = chance.randint(1, len(door.events()) - 1)
    door.execute("delete from events where rowid = ?", (place,))
    return at(place)


def dropping_some(door: Backdoor, chance: Random, signed: int) -> Planted:
    first = chance.randint(1, signed - 1)
    last = chance.randint(first, signed)
    door.execute("delete from events where rowid between ? and ?", (first, last))
    return Planted(within=(first, last))


def moving_one_away(door: Backdoor, chance: Random, signed: int) -> Planted:
    event = one_of(chance, door, signed)
    door.execute("update events set rowid = ? where rowid = ?", (chance.choice((-5, 10_000)), event["position"]))
    return at(event["position"])


def cutting_the_tail(door: Backdoor, chance: Random, signed: int) -> Planted:
    last = chance.randint(1, signed - 1)
    door.execute("delete from events where rowid > ?", (last,))
    return Planted(within=(last + 1, signed))


def cutting_the_unsigned_tail(door: Backdoor, chance: Random, signed: int) -> Planted:
    newest = len(door.events())
    last = chance.randint(signed, newest - 1)
    door.execute("delete from events where rowid > ?", (last,))
    return Planted(within=(last + 1, newest))


def cutting_the_tail_and_the_tree(door: Backdoor, chance: Random, signed: int) -> Planted:
    """The tree says the same as the shorter log, and so does the count; only a checkpoint knows better."""
    planted = cutting_the_tail(door, chance, signed)
    door.regrow()
    door.miscount()
    return planted


def cutting_the_tail_of_a_stream(door: Backdoor, chance: Random, signed: int) -> Planted:
    stream = one_of(chance, door, signed)["originator_id"]
    events = door.events("originator_id = ?", (stream,))
    gone = events[chance.randrange(len(events)) :]
    if gone[-1]["position"] == len(door.events()):
        return dropping_one(door, chance, signed)
    door.execute(
        "delete from events where originator_id = ? and originator_version >= ?",
        (stream, gone[0]["originator_version"]),
    )
    return at(*(event["position"] for event in gone))


def removing_a_stream_and_closing_up(door: Backdoor, chance: Random, signed: int) -> Planted:
    """No chain is broken and no position is missing."""
    stream = one_of(chance, door, signed)["originator_id"]
    gone = [event["position"] for event in door.events("originator_id = ?", (stream,))]
    for place in reversed(gone):
        door.execute("delete from events where rowid = ?", (place,))
        door.shift(place, -1)
    door.miscount()
    return Planted(within=(gone[0], signed))


def swapping_places(door: Backdoor, chance: Random, signed: int) -> Planted:
    one, other = (door.events("rowid = ?", (place,))[0] for place in chance.sample(range(1, signed + 1), 2))
    places = one["position"], other["position"]
    door.execute("update events set rowid = 20000 where rowid = ?", (places[0],))
    door.execute("update events set rowid = ? where rowid = ?", places)
    door.execute("update events set rowid = ? where rowid = 20000", (places[1],))
    return at(*places)


def swapping_bodies(door: Backdoor, chance: Random, signed: int) -> Planted:
    count = len(door.events())
    one, other = (door.events("rowid = ?", (place,))[0] for place in chance.sample(range(1, count + 1), 2))
    for mine, its in ((one, other), (other, one)):
        door.put({**mine, **{column: its[column] for column in ("state", "salt", "body_hash")}})
    return at(one["position"], other["position"])


def swapping_versions(door: Backdoor, chance: Random, signed: int) -> Planted:
    stream = one_of(chance, door, signed)["originator_id"]
    events = door.events("originator_id = ?", (stream,))
    if len(events) < 2:
        return swapping_bodies(door, chance, signed)
    one, other = chance.sample(events, 2)
    for event, version in ((one, 9_999), (other, one["originator_version"]), (one, other["originator_version"])):
        door.execute("update events set originator_version = ? where rowid = ?", (version, event["position"]))
    return at(one["position"], other["position"])


def rewriting_a_stream(door: Backdoor, chance: Random, signed: int) -> Planted:
    """Another body somewhere, and all hashes from there on made to fit."""
    start = one_of(chance, door, signed)
    stream, version = start["originator_id"], start["originator_version"]
    before = FIRST
    changed = []
    for event in door.events("originator_id = ?", (stream,)):
        if event["originator_version"] == version:
            event["state"] = event["state"].replace(b"thread", b"threat")
        if event["originator_version"] >= version:
            event["salt"] = chance.randbytes(16)
            event["body_hash"] = body_hash(event["salt"], event["state"])
            changed.append(event["position"])
        event["hash"] = chain_hash(
            before,
            event["partition"],
            stream,
            event["originator_version"],
            event["topic"],
            event["at"],
            event["actor"],
            event["body_hash"],
        )
        before = event["hash"]
        door.put(event)
    return at(*(place for place in changed if place <= signed))


def rewriting_a_stream_and_the_tree(door: Backdoor, chance: Random, signed: int) -> Planted:
    """Only a checkpoint knows better, and it does not tell which event it was."""
    planted = rewriting_a_stream(door, chance, signed)
    door.regrow()
    return Planted(within=(min(planted.exactly), signed))


def slipping_a_stream_in(door: Backdoor, chance: Random, signed: int) -> Planted:
    """An event of a stream of its own, with hashes that are right, where others have made room."""
    like = one_of(chance, door, signed)
    place = like["position"]
    door.shift(place - 1, 1)
    fresh = {**like, "originator_id": "thread-new", "originator_version": 1}
    fresh["hash"] = chain_hash(
        FIRST, 0, "thread-new", 1, fresh["topic"], fresh["at"], fresh["actor"], fresh["body_hash"]
    )
    marks = ",".join("?" * (len(COLUMNS) + 1))
    values = [place, *(fresh[column] for column in COLUMNS)]
    door.execute(f"insert into events (rowid, {', '.join(COLUMNS)}) values ({marks})", values)
    return Planted(within=(place, signed))


def damaging_a_tile(door: Backdoor, chance: Random, signed: int) -> Planted:
    [(hashes,)] = door.rows("select hashes from proof_tiles where level = 0 and number = 0")
    door.execute("update proof_tiles set hashes = ? where level = 0 and number = 0", (flipped(chance, hashes),))
    return Planted(within=(1, signed))


def changing_a_checkpoint(door: Backdoor, chance: Random, signed: int) -> Planted:
    """Its text, or, of the newest, anything of it: what an older one is signed with says nothing more."""
    size, note = chance.choice(door.rows("select size, note from proof_checkpoints"))
    place = chance.randrange(len(note) - 5 if size == signed else note.index("\n\n") - 5)
    other = "A" if note[place] != "A" else "B"
    door.execute(
        "update proof_checkpoints set note = ? where size = ?", (note[:place] + other + note[place + 1 :], size)
    )
    return Planted(within=(1, signed))


def dropping_the_newest_checkpoint(door: Backdoor, chance: Random, signed: int) -> Planted:
    door.execute("delete from proof_checkpoints where size = ?", (signed,))
    return Planted(within=(1, signed))


EVERY_STORE: list[Deed] = [
    changing("state", flipped),
    changing("state", shorter),
    changing("state", lambda chance, value: None),
    changing("salt", flipped),
    changing("salt", lambda chance, value: None),
    changing("body_hash", flipped),
    changing("hash", flipped),
    changing("topic", lambda chance, value: chance.choice(("thread.deleted", "", value.upper()))),
    changing("at", lambda chance, value: value + chance.choice((-1, 1, 60_000_000))),
    changing("actor", lambda chance, value: chance.choice([one for one in ("key_3", "", None) if one != value])),
    changing("partition", lambda chance, value: chance.randint(1, 5)),
    changing("originator_id", lambda chance, value: chance.choice(("thread-9", value + " ", ""))),
    changing("originator_version", lambda chance, value: value + chance.randint(1_000, 2_000)),
    dropping_one,
    dropping_some,
    moving_one_away,
    cutting_the_tail,
    cutting_the_unsigned_tail,
    cutting_the_tail_and_the_tree,
    cutting_the_tail_of_a_stream,
    removing_a_stream_and_closing_up,
    swapping_places,
    swapping_bodies,
    swapping_versions,
    rewriting_a_stream,
    rewriting_a_stream_and_the_tree,
    slipping_a_stream_in,
    damaging_a_tile,
    changing_a_checkpoint,
    dropping_the_newest_checkpoint,
]
# SQLite takes a value of any kind in any column.
ONLY_SQLITE: list[Deed] = [
    changing("state", lambda chance, value: value.decode()),
    changing("salt", lambda chance, value: 7),
    changing("body_hash", lambda chance, value: "x" * 32),
    changing("hash", lambda chance, value: "x" * 32),
    changing("topic", lambda chance, value: value.encode()),
    changing("at", lambda chance, value: "yesterday"),
    changing("actor", lambda chance, value: b"\xff"),
    changing("originator_id", lambda chance, value: value.encode()),
    changing("originator_version", lambda chance, value: "one"),
]
