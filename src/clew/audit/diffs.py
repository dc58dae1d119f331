"""What differs between two runs, two threads, or a thread at two points: items, tool calls, settings, numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, Literal, TypeAlias, TypeVar

import orjson
from pydantic import BaseModel

from clew import exact_json
from clew.audit.records import ItemRecord
from clew.audit.sides import Side, side
from clew.errors import Refused
from clew.log import Reader

T = TypeVar("T")
Change: TypeAlias = Literal["added", "removed", "changed"]


class ItemDiff(BaseModel):
    """`added` is only in b, `removed` only in a. Calls and results are items too."""

    change: Change
    a: ItemRecord | None = None
    b: ItemRecord | None = None


class CallDiff(BaseModel):
    """`arguments` are those that differ, each with what it is in a and in b; None where it is missing there.

    A `changed` call without arguments was answered differently. Arguments that are no JSON object are under "".
    """

    change: Change
    name: str
    a_id: str | None = None
    b_id: str | None = None
    arguments: dict[str, tuple[Any, Any]] = {}
    a_result: str | None = None
    b_result: str | None = None


class SettingDiff(BaseModel):
    name: str
    a: Any
    b: Any


class Diff(BaseModel):
    """`common` counts items that are the same on both sides. Where nothing differs the lists are empty."""

    a: Side
    b: Side
    same: bool
    common: int
    items: list[ItemDiff]
    calls: list[CallDiff]
    settings: list[SettingDiff]


def diff(reader: Reader, a: str, b: str, as_of: int | None = None) -> Diff:
    """Raises `NotFound`, `NoSuchPoint`, `Erased`, and `Refused` when a run is compared with a thread."""
    (side_a, items_a), (side_b, items_b) = side(reader, a, as_of), side(reader, b, as_of)
    if side_a.kind != side_b.kind:
        raise Refused(f"{a} is a {side_a.kind} and {b} is a {side_b.kind}; compare two of a kind")
    found = aligned(items_a, items_b, _said, _who)
    pairs = list(found)
    items = [_item_diff(one, other) for one, other in pairs if not (one and other and _said(one) == _said(other))]
    settings = _settings(side_a.settings, side_b.settings)
    return Diff(
        a=side_a,
        b=side_b,
        same=not items and not settings,
        common=len(pairs) - len(items),
        items=items,
        calls=list(_calls(items_a, items_b)),
        settings=settings,
    )


def aligned(
    a: Sequence[T], b: Sequence[T], same: Callable[[T], object], alike: Callable[[T], object]
) -> Iterator[tuple[T | None, T | None]]:
    """Pairs in order: equal ones by `same`; of what stands between them, those that are `alike`; the rest alone."""
    keys_a, keys_b = [same(one) for one in a], [same(one) for one in b]
    begin = 0
    while begin < min(len(a), len(b)) and keys_a[begin] == keys_b[begin]:
        begin += 1
    yield from zip(a[:begin], b[:begin], strict=True)
    # What is the same from the beginning, most of it as a rule, need not be searched through.
    matcher = SequenceMatcher(None, keys_a[begin:], keys_b[begin:], autojunk=False)
    for what, low_a, high_a, low_b, high_b in matcher.get_opcodes():
        part_a, part_b = a[begin + low_a : begin + high_a], b[begin + low_b : begin + high_b]
        if what == "equal":
            yield from zip(part_a, part_b, strict=True)
        else:
            yield from _paired(part_a, part_b, alike)


def _paired(a: Sequence[T], b: Sequence[T], alike: Callable[[T], object]) -> Iterator[tuple[T | None, T | None]]:
    matcher = SequenceMatcher(None, [alike(one) for one in a], [alike(one) for one in b], autojunk=False)
    for what, low_a, high_a, low_b, high_b in matcher.get_opcodes():
        if what == "equal":
            yield from zip(a[low_a:high_a], b[low_b:high_b], strict=True)
        else:
            yield from ((one, None) for one in a[low_a:high_a])
            yield from ((None, one) for one in b[low_b:high_b])


def _said(item: ItemRecord) -> tuple[object, ...]:
    return (*_who(item), item.text, item.is_error)


def _who(item: ItemRecord) -> tuple[object, ...]:
    return (item.kind, item.role, item.name)


def _item_diff(a: ItemRecord | None, b: ItemRecord | None) -> ItemDiff:
    return ItemDiff(change=_change(a, b), a=a, b=b)


def _change(a: object | None, b: object | None) -> Change:
    if a is None:
        return "added"
    return "removed" if b is None else "changed"


class _Call(BaseModel):
    id: str
    name: str
    arguments: dict[str, Any]
    result: str | None = None


def _calls(items_a: Sequence[ItemRecord], items_b: Sequence[ItemRecord]) -> Iterator[CallDiff]:
    pairs = aligned(_made(items_a), _made(items_b), _asked, lambda call: call.name)
    for a, b in pairs:
        if a is not None and b is not None and _asked(a) == _asked(b) and a.result == b.result:
            continue
        one = a or b
        assert one is not None
        yield CallDiff(
            change=_change(a, b),
            name=one.name,
            a_id=a.id if a else None,
            b_id=b.id if b else None,
            arguments=_arguments(a, b),
            a_result=a.result if a else None,
            b_result=b.result if b else None,
        )


def _made(items: Sequence[ItemRecord]) -> list[_Call]:
    """The calls with their results. The same id may come again in another run; a result belongs to the newest."""
    calls: list[_Call] = []
    by_id: dict[str, _Call] = {}
    for item in items:
        if item.kind == "call":
            by_id[item.id] = _Call(id=item.id, name=item.name or "", arguments=_object(item.text))
            calls.append(by_id[item.id])
        elif item.kind == "result" and item.id in by_id:
            by_id[item.id].result = item.text
    return calls


def _asked(call: _Call) -> tuple[str, bytes]:
    return (call.name, exact_json.dumps(call.arguments, option=orjson.OPT_SORT_KEYS))


def _object(text: str) -> dict[str, Any]:
    try:
        parsed = exact_json.loads(text)
    except ValueError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {"": text}


def _arguments(a: _Call | None, b: _Call | None) -> dict[str, tuple[Any, Any]]:
    before, after = (a.arguments if a else {}), (b.arguments if b else {})
    return {
        name: (before.get(name), after.get(name))
        for name in (before | after)
        if name not in before or name not in after or before[name] != after[name]
    }


def _settings(a: dict[str, Any], b: dict[str, Any]) -> list[SettingDiff]:
    return [SettingDiff(name=name, a=a.get(name), b=b.get(name)) for name in (a | b) if a.get(name) != b.get(name)]
