"""Bytes that were once written stay readable for ever.

`recorded/<kind>.json` holds stored bodies of that kind, one a line: the fullest and the barest. They are never
edited. A shape that changes gets an upcaster in `events/older.py`, and the new shape a line of its own.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from clew.events import Event
from clew.events.older import UPCASTERS
from clew.log import codec

RECORDED = Path(__file__).with_name("recorded")


def recorded() -> list[tuple[str, bytes]]:
    return [(file.stem, line) for file in sorted(RECORDED.glob("*.json")) for line in file.read_bytes().splitlines()]


def test_every_kind_was_recorded() -> None:
    missing = sorted(kind for kind in kinds() if not (RECORDED / f"{kind}.json").is_file())
    assert not missing, f"write tests/events/recorded/<kind>.json, one stored body a line, for: {', '.join(missing)}"


def test_nothing_is_recorded_that_nobody_can_read() -> None:
    orphans = sorted(file.name for file in RECORDED.iterdir() if file.stem not in kinds() or file.suffix != ".json")
    assert not orphans, f"no event is called so: {', '.join(orphans)}"


@pytest.mark.parametrize(("kind", "state"), recorded())
def test_what_was_recorded_is_still_read(kind: str, state: bytes) -> None:
    event = codec.decode(kind, state)
    assert type(event) is Event.kinds[kind]


@pytest.mark.parametrize(("kind", "state"), recorded())
def test_what_is_read_is_written_as_it_was(kind: str, state: bytes) -> None:
    if kind not in UPCASTERS:
        assert codec.encode(codec.decode(kind, state)) == state


def test_the_fullest_of_each_kind_fills_every_field() -> None:
    for kind in kinds():
        lines = (RECORDED / f"{kind}.json").read_bytes().splitlines()
        seen = {name for line in lines for name in codec.decode(kind, line).model_fields_set}
        assert seen == set(Event.kinds[kind].model_fields), f"{kind} was never recorded with all of its fields"


def kinds() -> set[str]:
    """Those of Clew: tests may have made some of their own."""
    return {kind for kind, event in Event.kinds.items() if event.__module__.startswith("clew.")}
