"""Pages of lists. Cursors are ids of objects; newest first unless asked otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.datastructures import QueryParams

from clew.dialects.openai_assistants.errors import rejected
from clew.dialects.openai_assistants.handling import checked_id
from clew.dialects.openai_assistants.objects import Object
from clew.dialects.openai_assistants.wrong import out_of_range, wrong_choice

T = TypeVar("T")

_LIMIT_DEFAULT, _LIMIT_MAX = 20, 100


@dataclass(frozen=True, slots=True)
class Page:
    """What was asked for. `after` and `before` are ids, not included, in the order that was asked for."""

    limit: int
    newest_first: bool
    after: str | None
    before: str | None

    @property
    def backwards(self) -> bool:
        """Only `before` is given: the page that ends there is wanted, so it is read from its end."""
        return self.before is not None and self.after is None


def page_of(query: QueryParams, kind: str) -> Page:
    """`kind` is the name that the ids of the objects in the list go by, such as `run_id`. Raises `Rejected`."""
    order = query.get("order") or "desc"
    if order not in ("asc", "desc"):
        raise wrong_choice("order", order, ["asc", "desc"])
    cursors = [checked_id(name, value, kind) if (value := query.get(name)) else None for name in ("after", "before")]
    return Page(_limit(query.get("limit")), order == "desc", *cursors)


def _limit(given: str | None) -> int:
    if not given:
        return _LIMIT_DEFAULT
    try:
        limit = int(given)
    except ValueError:
        message = "Invalid type for 'limit': expected an integer, but got a string instead."
        raise rejected(message, param="limit", code="invalid_type") from None
    if limit > _LIMIT_MAX:
        raise out_of_range("limit", limit, above=True, limit=_LIMIT_MAX)
    if limit < 1:
        raise out_of_range("limit", limit, above=False, limit=1)
    return limit


def by_position(
    page: Page, position_of: Callable[[str], int], read: Callable[..., Sequence[T]]
) -> tuple[list[T], bool]:
    """One page of what is ordered by position, and whether there is more.

    `position_of` finds a cursor (and raises `NotFound`); `read` is a question of a read model that takes
    `after` and `before` as positions, `newest_first` and `limit`.
    """
    first = position_of(page.after) if page.after is not None else None
    last = position_of(page.before) if page.before is not None else None
    low, high = (last, first) if page.newest_first else (first, last)
    found = read(after=low, before=high, newest_first=page.newest_first is not page.backwards, limit=page.limit + 1)
    return in_order(page, found)


def in_order(page: Page, found: Sequence[T]) -> tuple[list[T], bool]:
    """What was read, one more than asked for if there is more, as it is shown."""
    shown = list(found[: page.limit])
    return (shown[::-1] if page.backwards else shown), len(found) > page.limit


def list_object(data: list[Object], has_more: bool) -> Any:
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }
