"""What items of a thread have been over time, for whoever accounts for what was shown when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from clew.log import Reader
from clew_projections._items import ITEMS, ItemRow, Segment, walk


@dataclass(frozen=True, slots=True)
class ItemVersion:
    """An item as it was from position `since` on, and before `until`; None is for ever."""

    row: ItemRow
    since: int
    until: int | None


def versions(reader: Reader, history: Sequence[Segment], upto: int) -> list[ItemVersion]:
    """All that items of a thread have been, up to a position: those of one item stand together, in order of time.

    What the thread inherited is as it was where the thread left it, but for what it says otherwise itself.
    """
    own = history[-1].stream
    others = [segment for segment in history if segment.stream != own]
    inherited = list(walk(reader, others, newest_first=False, page=1_000)) if others else []
    found = _as_said_otherwise(reader, own, inherited, upto)
    rows = reader.rows(
        f"select {', '.join(ITEMS.names)}, since, until from items where stream = ? and since <= ?"
        " order by number, since",
        (own, upto),
    )
    for *columns, since, until in rows:
        found.append(ItemVersion(ItemRow(*columns), since, until if until is not None and until <= upto else None))
    return found


def _as_said_otherwise(reader: Reader, owner: str, inherited: Sequence[ItemRow], upto: int) -> list[ItemVersion]:
    sayings: dict[tuple[str, str], list[Any]] = {}
    if inherited:
        for row in reader.rows(
            "select kind, item_id, position, tokens, removed, since, until from item_overrides"
            " where owner = ? and since <= ? order by since",
            (owner, upto),
        ):
            sayings.setdefault((row[0], row[1]), []).append(tuple(row)[2:])
    found = []
    for row in inherited:
        since = 0
        for position, tokens, removed, begins, ends in sayings.get((row.kind, row.item_id), ()):
            if begins > since:
                found.append(ItemVersion(row, since, begins))
            since = ends if ends is not None and ends <= upto else upto + 1
            if not removed:
                new = {"position": position, "tokens": tokens}
                changed = replace(row, **{name: value for name, value in new.items() if value is not None})
                found.append(ItemVersion(changed, begins, since if since <= upto else None))
        if since <= upto:
            found.append(ItemVersion(row, since, None))
    return found
