"""What each item of a thread has cost by being sent to models again and again.

Every call pays for its whole input: instructions, tools, and all items that it was shown. Its input's amount is shared
among them by their tokens, as we counted them. A call costs so much a token, its rate, and what an item has cost is
its tokens times the rates of the calls that it was shown to. Calls name items in ranges, so rates are added to ranges,
and a thread is told in about the time that it takes to read it, however many calls have shown however many items.

Nothing is lost in rounding. Rates are rounded down, to 18 places more than amounts have, and what that leaves of a
call's amount, which is far less than any amount can be, goes to its instructions. In the end all parts are put in a
row, and each is given what its end in the row is, rounded, more than the one before it was: so they add up to what
was paid, to the last digit, and each is within one last digit of what it is.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from clew.billing.records import CarriedItem, CarriedOthers, CarriedRecord
from clew.engine.counting import text_tokens
from clew.errors import NotFound
from clew.events.items import Item
from clew.log import Reader
from clew.prices import shown
from clew_projections import billing_ledger, thread_view
from clew_projections.billing_ledger import BilledContext, Range
from clew_projections.thread_view import ItemRow, ItemVersion

# Rates are in attos for a token, times this.
_SCALE = 10**18


@dataclass(slots=True)
class ItemCost:
    """`row` is the item as it was last. `times` counts the calls that were shown it; what was paid for the first of
    them is `first_attos`, and for all of them `attos`."""

    row: ItemRow
    times: int = 0
    attos: int = 0
    first_attos: int = 0

    @property
    def resent_attos(self) -> int:
        return self.attos - self.first_attos


@dataclass(slots=True)
class Carried:
    """Instructions, tools and items are all of `input_attos`. Calls without a price have shown items, too, for nothing
    that anybody knows."""

    calls: int = 0
    unpriced_calls: int = 0
    input_attos: int = 0
    instructions_attos: int = 0
    tools_attos: int = 0
    items: list[ItemCost] = field(default_factory=list)


class _Ranges:
    """Numbers added to ranges of places, and the sums at places.

    Sums are made when all is added. Where they are asked for in between, `sought` keeps Fenwick's tree of the
    differences besides, which knows a sum at any time and takes longer to add to.
    """

    def __init__(self, size: int, *, sought: bool) -> None:
        self._differences = [0] * (size + 1)
        self._tree = [0] * (size + 2) if sought else []
        self._sums: list[int] = []

    def add(self, first: int, last: int, value: int) -> None:
        self._differences[first] += value
        self._differences[last + 1] -= value
        if self._tree:
            self._add(first + 1, value)
            self._add(last + 2, -value)

    def _add(self, place: int, value: int) -> None:
        tree = self._tree
        while place < len(tree):
            tree[place] += value
            place += place & -place

    def all_is_added(self) -> None:
        self._sums = list(accumulate(self._differences))

    def at(self, place: int) -> int:
        if self._sums:
            return self._sums[place]
        tree, total = self._tree, 0
        place += 1
        while place:
            total += tree[place]
            place &= place - 1
        return total


class _Places:
    """The items of a thread in a row, and which of them stand in a range."""

    def __init__(self, versions: Sequence[ItemVersion]) -> None:
        self.versions: list[list[ItemVersion]] = []
        numbers: dict[str, list[int]] = defaultdict(list)
        starts: dict[str, int] = {}
        for version in versions:
            stream, number = version.row.stream, version.row.number
            if not numbers[stream] or numbers[stream][-1] != number:
                starts.setdefault(stream, len(self.versions))
                numbers[stream].append(number)
                self.versions.append([])
            self.versions[-1].append(version)
        self._numbers, self._starts = numbers, starts

    def of(self, ranges: Sequence[Range]) -> list[tuple[int, int]]:
        """First and last place, of those ranges that have any."""
        found = []
        for stream, first, last in ranges:
            numbers = self._numbers.get(stream)
            if numbers:
                start = self._starts[stream]
                low, high = start + bisect_left(numbers, first), start + bisect_right(numbers, last) - 1
                if low <= high:
                    found.append((low, high))
        return found


class _Sweep:
    """Goes through the calls in their order, and through what items have been beside them.

    `rates` are those of the calls that an item was shown to, `cleared_rates` of those of them that may have been shown
    a note in its place, and `note_rates` what the notes cost those.
    """

    def __init__(self, places: _Places, *, sought: bool) -> None:
        size = len(places.versions)
        self.places = places
        kinds = [_Ranges(size, sought=sought) for _ in range(4)]
        self.rates, self.cleared_rates, self.note_rates, self.times = kinds
        self._kinds = kinds
        self.items = [ItemCost(versions[-1].row) for versions in places.versions]
        self._notes: dict[str, int] = {}
        # From each place, the next one that no call was shown yet: found by following, and made shorter on the way.
        self._unseen = list(range(size + 1))

    def show(self, context: BilledContext, rate: int) -> None:
        shown = self.places.of(context.shown)
        cleared = _within(self.places.of(context.cleared), shown)
        note_tokens = self._note_tokens(context.note) if cleared else 0
        for first, last in shown:
            self.rates.add(first, last, rate)
            self.times.add(first, last, 1)
        for first, last in cleared:
            self.cleared_rates.add(first, last, rate)
            self.note_rates.add(first, last, rate * note_tokens)
        for first, last in shown:
            place = self._next(first)
            while place <= last:
                version = _as_of(self.places.versions[place], context.as_of)
                if version is not None:
                    tokens = version.row.tokens
                    if version.row.kind == "result" and any(low <= place <= high for low, high in cleared):
                        tokens = min(tokens, note_tokens)
                    self.items[place].first_attos = rate * tokens
                    self._unseen[place] = place + 1
                place = self._next(place + 1)

    def _note_tokens(self, note: str) -> int:
        if note not in self._notes:
            self._notes[note] = text_tokens(note).count
        return self._notes[note]

    def _next(self, place: int) -> int:
        root = place
        while self._unseen[root] != root:
            root = self._unseen[root]
        while self._unseen[place] != root:
            self._unseen[place], place = root, self._unseen[place]
        return root

    def all_is_shown(self) -> None:
        for ranges in self._kinds:
            ranges.all_is_added()

    def settle(self, place: int, version: ItemVersion, sign: int) -> None:
        """What all calls up to now were shown of an item is counted as this version of it; or, with a minus, is not:
        it was another version then."""
        tokens = version.row.tokens
        paid = self.rates.at(place) * tokens
        if version.row.kind == "result":
            paid -= max(0, self.cleared_rates.at(place) * tokens - self.note_rates.at(place))
        item = self.items[place]
        item.attos += sign * paid
        item.times += sign * self.times.at(place)


def _within(cleared: Sequence[tuple[int, int]], shown: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The parts of the one that are in the other, too."""
    pairs = [(max(a, c), min(b, d)) for a, b in cleared for c, d in shown]
    return [(low, high) for low, high in pairs if low <= high]


def _as_of(versions: Sequence[ItemVersion], position: int) -> ItemVersion | None:
    return next(
        (one for one in versions if one.since <= position and (one.until is None or one.until > position)), None
    )


def carried(reader: Reader, thread_id: str, as_of: int | None = None) -> Carried:
    """Of all calls of the thread up to a position. What a fork's calls were shown of its parent is told as of them."""
    upto = reader.head() if as_of is None else as_of
    contexts = billing_ledger.billed_contexts(reader, thread_id, upto)
    history = thread_view.segments(reader, thread_id, as_of)
    places = _Places(thread_view.versions(reader, history, upto))
    # Versions that begin or end while calls go on are settled at those positions, in between.
    turns = sorted(_turns(places), key=lambda turn: turn[0])
    sweep = _Sweep(places, sought=bool(turns))
    found = Carried(items=sweep.items)
    next_turn = 0
    for context in contexts:
        while next_turn < len(turns) and turns[next_turn][0] <= context.as_of:
            _, place, version, sign = turns[next_turn]
            sweep.settle(place, version, sign)
            next_turn += 1
        found.calls += 1
        found.unpriced_calls += not context.priced
        found.input_attos += context.input_attos
        tokens = context.instructions + context.tools + context.items
        rate = context.input_attos * _SCALE // tokens if tokens else 0
        found.tools_attos += rate * context.tools
        sweep.show(context, rate)
    sweep.all_is_shown()
    for _, place, version, sign in turns[next_turn:]:
        sweep.settle(place, version, sign)
    for place, versions in enumerate(places.versions):
        if versions[-1].until is None:
            sweep.settle(place, versions[-1], 1)
    return _rounded(found)


def _turns(places: _Places) -> list[tuple[int, int, ItemVersion, int]]:
    """Where what was shown of an item before is another version's (-1), and where a version ends (+1)."""
    found = []
    for place, versions in enumerate(places.versions):
        if len(versions) > 1 or versions[0].until is not None:
            for version in versions:
                found.append((version.since, place, version, -1))
                if version.until is not None:
                    found.append((version.until, place, version, 1))
    return found


def _rounded(found: Carried) -> Carried:
    """From sums of rates to attos, see above."""
    items = sum(item.attos for item in found.items)
    found.instructions_attos = found.input_attos * _SCALE - found.tools_attos - items
    end = before = 0

    def part(exact: int) -> int:
        nonlocal end, before
        end += exact
        rounded = (2 * end + _SCALE) // (2 * _SCALE)
        before, given = rounded, rounded - before
        return given

    found.instructions_attos = part(found.instructions_attos)
    found.tools_attos = part(found.tools_attos)
    for item in found.items:
        item.attos = part(item.attos)
        item.first_attos = min(item.attos, (2 * item.first_attos + _SCALE) // (2 * _SCALE))
    return found


def carried_record(reader: Reader, thread_id: str, *, limit: int, as_of: int | None = None) -> CarriedRecord:
    """The items that cost most by being sent again, in that order. Raises `NotFound`."""
    if not reader.version(thread_id, as_of):
        raise NotFound(noun="thread", id=thread_id)
    found = carried(reader, thread_id, as_of)
    sent = sorted((item for item in found.items if item.times), key=lambda item: (-item.resent_attos, -item.attos))
    others = sent[limit:]
    return CarriedRecord(
        thread_id=thread_id,
        as_of=reader.head() if as_of is None else as_of,
        calls=found.calls,
        unpriced_calls=found.unpriced_calls,
        currency=billing_ledger.CURRENCY,
        input_amount=_money(found.input_attos),
        instructions_amount=_money(found.instructions_attos),
        tools_amount=_money(found.tools_attos),
        resent_amount=_money(sum(item.resent_attos for item in sent)),
        items=[_item(item) for item in sent[:limit]],
        others=CarriedOthers(items=len(others), **_amounts(others)) if others else None,
    )


def said_in(reader: Reader, found: CarriedRecord) -> list[Item | None]:
    """The listed items themselves, as they were as of then; None for those that are not there any more."""
    history = thread_view.segments(reader, found.thread_id, found.as_of)
    rows = [thread_view.item(reader, history, item.kind, item.item_id, found.as_of) for item in found.items]
    items = iter(thread_view.items(reader, [row for row in rows if row is not None]))
    return [None if row is None else next(items) for row in rows]


def _item(item: ItemCost) -> CarriedItem:
    row = item.row
    return CarriedItem(
        stream=row.stream,
        number=row.number,
        kind=row.kind,
        item_id=row.item_id,
        tokens=row.tokens,
        times=item.times,
        **_amounts([item]),
    )


def _amounts(items: Sequence[ItemCost]) -> dict[str, str]:
    return {
        "amount": _money(sum(item.attos for item in items)),
        "first_amount": _money(sum(item.first_attos for item in items)),
        "resent_amount": _money(sum(item.resent_attos for item in items)),
    }


def _money(attos: int) -> str:
    return shown(billing_ledger.from_attos(attos))
