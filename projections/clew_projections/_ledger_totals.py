"""What the billing ledger is asked for: totals, in all and by group, as of any position.

Times grow with positions, so whatever was spent between two times was spent between two positions. Where running
totals answer, they are sought at both ends; for other questions the entries between are added up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import TypeAlias

from clew.log import Reader
from clew_projections._ledger import COUNTED, NOTHING, AccountKind, Total, running_total
from clew_projections._ledger_entries import Scope, Span, added_up, by_entries
from clew_projections._ledger_times import Unit, floor, following, time_key

# Seeking so many running totals takes a tenth of a second. Beyond that the entries are added up.
_SOUGHT_MAX = 20_000
# The tenant of an account, its part and its name.
_Account: TypeAlias = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Group:
    """`key` is None for calls that have none: those of no assistant, without such a tag, that made no step."""

    key: str | None
    total: Total


def span(reader: Reader, since: int | None = None, until: int | None = None, as_of: int | None = None) -> Span:
    """`since` (included) and `until` (not) are in microseconds since 1970, `as_of` is a position."""
    times = [at - 1 for at in (since, until) if at is not None]
    found = reader.positions_at(times) if times else []
    after = found[0] if since is not None else 0
    upto = found[-1] if until is not None else reader.head()
    upto = min(upto, as_of) if as_of is not None else upto
    return Span(min(after, upto), upto)


def spending(
    reader: Reader,
    *,
    tenant: str | None = None,
    thread_id: str | None = None,
    run_id: str | None = None,
    assistant_id: str | None = None,
    since: int | None = None,
    until: int | None = None,
    as_of: int | None = None,
) -> Total:
    """What was spent in all by whom, from `since` until before `until` (microseconds), as of a position."""
    scope = Scope(tenant=tenant, thread_id=thread_id, run_id=run_id, assistant_id=assistant_id)
    return total(reader, scope, span(reader, since, until, as_of))


def total(reader: Reader, scope: Scope, within: Span) -> Total:
    accounts = _accounts(scope)
    if accounts is None:
        return added_up(reader, scope, within, "null").get(None, NOTHING)
    spent = NOTHING
    for _, found in _spent(reader, accounts, within):
        spent = spent.plus(found)
    return spent


def grouped(reader: Reader, scope: Scope, within: Span, by: str) -> list[Group]:
    """By tenant, thread, run, step, assistant, model, provider, tag (all tags that a call bears), tag:LABEL, hour, day
    or month. Their totals are the total of all; the order is that of the keys.
    """
    if by in ("hour", "day", "month"):
        found = _by_time(reader, scope, within, by)  # type: ignore[arg-type]
    else:
        found = _by_account(reader, scope, within, by) or by_entries(reader, scope, within, by)
    groups = [Group(key, spent) for key, spent in found.items() if spent.calls]
    return sorted(groups, key=lambda group: (group.key is not None, group.key or ""))


def providers(reader: Reader) -> list[str]:
    """Whoever was called, by name."""
    rows = reader.rows("select distinct part from ledger_accounts where kind = 'model' order by part")
    return [row[0] for row in rows]


# Running totals


@dataclass(frozen=True, slots=True)
class _Accounts:
    """Those of one kind that fit: `sql` gives kind, tenant, part and name of each."""

    kind: AccountKind
    sql: str
    parameters: tuple[object, ...]

    def count(self, reader: Reader) -> int:
        found: int = reader.rows(f"select count(*) from ({self.sql}) a", self.parameters)[0][0]
        return found


def _accounts(scope: Scope) -> _Accounts | None:
    """The accounts whose totals together are those of the scope; None when there are none."""
    if scope.names_only("tenant", "provider", "model"):
        return _listed("model", tenant=scope.tenant, part=scope.provider, name=scope.model)
    if scope.thread_id is not None and scope.names_only("tenant", "thread_id"):
        return _threads(scope)
    if scope.assistant_id is not None and scope.names_only("tenant", "assistant_id"):
        return _listed("assistant", tenant=scope.tenant, name=scope.assistant_id)
    if len(scope.tags) == 1 and scope.names_only("tenant", "tags"):
        ((label, value),) = scope.tags
        return _listed("tag", tenant=scope.tenant, part=label, name=value)
    return None


def _listed(kind: AccountKind, **equals: str | None) -> _Accounts:
    wanted = {name: value for name, value in equals.items() if value is not None}
    conditions = "".join(f" and {name} = ?" for name in wanted)
    sql = f"select kind, tenant, part, name from ledger_accounts where kind = ?{conditions}"
    return _Accounts(kind, sql, (kind, *wanted.values()))


def _threads(scope: Scope) -> _Accounts:
    given = {"tenant": scope.tenant, "thread_id": scope.thread_id}
    wanted = {name: value for name, value in given.items() if value is not None}
    conditions = " and ".join(f"{name} = ?" for name in wanted) or "1 = 1"
    sql = f"select 'thread' as kind, tenant, '' as part, thread_id as name from ledger_threads where {conditions}"
    return _Accounts("thread", sql, tuple(wanted.values()))


def _balances(reader: Reader, accounts: _Accounts, points: Sequence[int]) -> list[tuple[_Account, int, Total]]:
    """What each account had spent as of each of the positions: the account, the place of the point, the total."""
    account = "b.kind = a.kind and b.tenant = a.tenant and b.part = a.part and b.name = a.name"
    sums = ", ".join(("calls", *COUNTED))
    if reader.tongue.name == "postgres":
        # A planner without statistics might join from the wrong end; this one it cannot.
        newest = (
            f"cross join lateral (select * from ledger_balances b where {account} and b.since <= p.column2"
            " order by b.since desc limit 1) b"
        )
    else:
        before = f"select max(b.since) from ledger_balances b where {account} and b.since <= p.column2"
        newest = f"cross join ledger_balances b on {account} and b.since = ({before})"
    listed = ", ".join(f"({place}, cast(? as bigint))" for place in range(len(points)))
    rows = reader.rows(
        f"select a.tenant, a.part, a.name, p.column1, {sums} from ({accounts.sql}) a"
        f" cross join (values {listed}) p {newest}",
        (*accounts.parameters, *points),
    )
    return [((row[0], row[1], row[2]), row[3], running_total(*row[4:])) for row in rows]


def _spent(reader: Reader, accounts: _Accounts, within: Span) -> Iterable[tuple[_Account, Total]]:
    """What each account spent within the span."""
    found: dict[_Account, Total] = {}
    before: dict[_Account, Total] = {}
    for account, place, spent in _balances(reader, accounts, (within.upto, *([within.after] if within.after else []))):
        (before if place else found)[account] = spent
    for account, spent in found.items():
        yield account, spent.minus(before[account]) if account in before else spent


def _by_account(reader: Reader, scope: Scope, within: Span, by: str) -> dict[str | None, Total] | None:
    """None when no accounts answer, or when there are more of them than there were calls."""
    accounts, key = _accounts_by(scope, by)
    if accounts is None:
        return None
    spent = total(reader, scope, within)
    if spent.calls < accounts.count(reader):
        return None
    found: dict[str | None, Total] = {}
    for account, its in _spent(reader, accounts, within):
        name = key(account)
        found[name] = found[name].plus(its) if name in found else its
    if accounts.kind in ("assistant", "tag"):
        # Not every call has one.
        found[None] = reduce(Total.minus, found.values(), spent)
    return found


def _accounts_by(scope: Scope, by: str) -> tuple[_Accounts | None, Callable[[_Account], str]]:
    if by in ("tenant", "provider", "model") and scope.names_only("tenant", "provider", "model"):
        keys: dict[str, Callable[[_Account], str]] = {
            "tenant": lambda account: account[0],
            "provider": lambda account: account[1],
            "model": lambda account: f"{account[1]}/{account[2]}",
        }
        return _accounts(scope), keys[by]
    if by == "thread" and scope.names_only("tenant", "thread_id"):
        return _threads(scope), lambda account: account[2]
    if by == "assistant" and scope.names_only("tenant", "assistant_id"):
        return _listed("assistant", tenant=scope.tenant, name=scope.assistant_id), lambda account: account[2]
    if by.startswith("tag:") and scope.names_only("tenant"):
        return _listed("tag", tenant=scope.tenant, part=by.removeprefix("tag:")), lambda account: account[2]
    return None, lambda account: account[2]


def _by_time(reader: Reader, scope: Scope, within: Span, unit: Unit) -> dict[str | None, Total]:
    if within.upto == within.after:
        return {}
    begun, ended = reader.times_of((within.after + 1, within.upto))
    bounds = [floor(begun, unit)]
    accounts = _accounts(scope)
    sought = 0
    if accounts is not None:
        sought_max = _SOUGHT_MAX // max(1, accounts.count(reader))
        while bounds[-1] <= ended and sought <= sought_max:
            bounds.append(following(bounds[-1], unit))
            sought += 1
    if accounts is None or sought > sought_max:
        return by_entries(reader, scope, within, unit)
    points = [within.after, *reader.positions_at([bound - 1 for bound in bounds[1:-1]]), within.upto]
    spent = [NOTHING] * len(points)
    at_points: dict[_Account, dict[int, Total]] = {}
    for account, place, its in _balances(reader, accounts, points):
        at_points.setdefault(account, {})[place] = its
    for found in at_points.values():
        for before, place in pairwise(range(len(points))):
            spent[place] = spent[place].plus(found.get(place, NOTHING)).minus(found.get(before, NOTHING))
    return {time_key(bound, unit): spent[place] for place, bound in enumerate(bounds[:-1], start=1)}
