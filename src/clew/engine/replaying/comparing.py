"""Comparing an event with the one that was recorded: all of it but what was measured.

Ids that the engine makes are other ones each time; they must stand for each other, one for one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import JsonValue

from clew import exact_json
from clew.events.base import Event
from clew.log import codec

_MADE = re.compile(r"^(mc|msg|step|rs|sum)_[0-9A-Za-z]{24}$")
# `until` is how long a run waits for a budget, by the clock.
_MEASURED = frozenset(("duration_ms", "first_token_ms", "until"))
# Positions in the log: compared by what of the thread stands before them.
_POSITIONS = frozenset(("as_of",))
# Logs of the first versions do not say these; where they are silent there is nothing to compare.
_SAID_SINCE = frozenset(("usage_unknown", "not_rendered", "model"))
_NOTHING = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """`version` is the number of the event in its thread. `field` is "kind" where the events are different ones.

    `recorded` None is an event that was not there, `today` None one that does not come any more.
    """

    version: int
    kind: str
    field: str
    recorded: JsonValue
    today: JsonValue

    def __str__(self) -> str:
        return f"event {self.version} ({self.kind}), {self.field}: recorded {self.recorded!r}, today {self.today!r}"


@dataclass(slots=True)
class Names:
    """Which of today's ids stands for which recorded one."""

    today: dict[str, str] = field(default_factory=dict)
    recorded: dict[str, str] = field(default_factory=dict)

    def same(self, recorded: str, today: str) -> bool:
        """Whether they stand for each other; from now on, if neither was heard of before."""
        if recorded in self.today or today in self.recorded:
            return self.today.get(recorded) == today
        if recorded != today and not _alike(recorded, today):
            return False
        self.today[recorded] = today
        self.recorded[today] = recorded
        return True

    def translated(self, event: Event) -> Event:
        """A recorded event in today's ids."""
        state = codec.encode(event)
        plain = exact_json.loads(state)
        renamed = _renamed(plain, self.today)
        return event if renamed == plain else codec.decode(event.kind, exact_json.dumps(renamed))


def _alike(recorded: str, today: str) -> bool:
    one, other = _MADE.match(recorded), _MADE.match(today)
    return one is not None and other is not None and one[1] == other[1]


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, list):
        return [_renamed(one, names) for one in value]
    if isinstance(value, dict):
        return {key: _renamed(one, names) for key, one in value.items()}
    return value


Before = Callable[[int], int]


def differences(
    version: int, recorded: Event, today: Event, names: Names, then: Before, now: Before
) -> Iterator[Difference]:
    """Field by field. `then` and `now` say how many events of the thread stand at or before a position of each log."""
    if type(recorded) is not type(today):
        yield Difference(version, recorded.kind, "kind", recorded.kind, today.kind)
        return
    before, after = (event.model_dump(mode="json") for event in (recorded, today))
    for path, one, other in _leaves("", before, after):
        last = path.rpartition(".")[2].rstrip("0123456789[]")
        if last in _MEASURED and (one is None) == (other is None):
            continue
        if path.partition(".")[0] == "price":
            # What a call cost is by the table of its day, and no table changes what the engine does.
            continue
        if last in _SAID_SINCE and not one:
            continue
        if last in _POSITIONS and _same_place(version, one, other, then, now):
            continue
        if last.endswith(("_id", "_ids")) and isinstance(one, str) and isinstance(other, str):
            if names.same(one, other):
                continue
        elif one == other:
            continue
        yield Difference(version, recorded.kind, path, _shown(one), _shown(other))


def _same_place(version: int, one: Any, other: Any, then: Before, now: Before) -> bool:
    if one is _NOTHING or other is _NOTHING:
        return False
    if one is None:
        # Logs of the first version do not say, so there is nothing to compare.
        return True
    return then(one) == (version - 1 if other is None else now(other))


def _leaves(path: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in (*one, *(key for key in other if key not in one)):
            inner = f"{path}.{key}" if path else key
            yield from _leaves(inner, one.get(key, _NOTHING), other.get(key, _NOTHING))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            yield from _leaves(f"{path}[{number}]", mine, theirs)
    else:
        yield path, one, other


def _shown(value: Any) -> JsonValue:
    shown: JsonValue = None if value is _NOTHING else value
    return shown
