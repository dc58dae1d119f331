"""How a difference looks in a terminal."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.table import Table as Grid

from clew import exact_json
from clew.audit.diffs import CallDiff, Diff, ItemDiff
from clew.audit.records import ItemRecord
from clew.audit.sides import Numbers, Side
from clew.cli.common import safe, short

_MARKS = {"added": "[green]+[/]", "removed": "[red]-[/]", "changed": "[yellow]~[/]"}
# (label, field, how it is written)
_NUMBERS = (
    ("items", "items", "{:,}"),
    ("tokens of items", "tokens", "{:,}"),
    ("runs", "runs", "{:,}"),
    ("model calls", "model_calls", "{:,}"),
    ("tool calls", "tool_calls", "{:,}"),
    ("tokens in", "input", "{:,}"),
    ("of them cached", "cached", "{:,}"),
    ("tokens out", "output", "{:,}"),
    ("seconds", "seconds", "{:,.2f}"),
    ("model seconds", "model_seconds", "{:,.3f}"),
    ("tool seconds", "tool_seconds", "{:,.3f}"),
)


def print_diff(console: Console, found: Diff) -> None:
    console.print(f"[red]a[/]  {_named(found.a)}\n[green]b[/]  {_named(found.b)}", soft_wrap=True)
    if found.same:
        console.print(f"nothing differs in {found.common} items")
    for setting in found.settings:
        console.print(
            f"[yellow]~[/] [bold]{safe(setting.name)}[/]  {_value(setting.a)} [dim]became[/] {_value(setting.b)}"
        )
    if found.items:
        console.print(f"\n[bold]items[/]  [dim]{found.common} are the same[/]")
    for item in found.items:
        _print_item(console, item)
    if found.calls:
        console.print("\n[bold]tool calls[/]")
    for call in found.calls:
        _print_call(console, call)
    console.print()
    console.print(_numbers(found.a.numbers, found.b.numbers))


def _named(side: Side) -> str:
    at = (
        f"[dim]of {safe(side.thread_id)}, {side.status}[/]" if side.kind == "run" else f"[dim]version {side.version}[/]"
    )
    return f"[bold]{safe(side.point)}[/]  {side.kind} {at}"


def _print_item(console: Console, item: ItemDiff) -> None:
    if item.a is not None and item.b is not None:
        console.print(f"{_MARKS['changed']} {_who(item.a)}  [red]{safe(short(item.a.text, 200))}[/]")
        console.print(f"  {' ' * len(_plain_who(item.a))}  [green]{safe(short(item.b.text, 200))}[/]")
        return
    one = item.a or item.b
    assert one is not None
    console.print(f"{_MARKS[item.change]} {_who(one)}  {safe(short(one.text, 200))}")


def _who(item: ItemRecord) -> str:
    return f"[cyan]{safe(_plain_who(item))}[/]"


def _plain_who(item: ItemRecord) -> str:
    who = f"call {item.name}" if item.kind == "call" else item.role or item.kind
    return f"{item.number:>4} {short(who, 30)}"


def _print_call(console: Console, call: CallDiff) -> None:
    console.print(f"{_MARKS[call.change]} [bold]{safe(call.name)}[/]")
    for name, (a, b) in call.arguments.items():
        if call.change == "changed":
            console.print(f"    {safe(name) or 'arguments'}: [red]{_value(a)}[/] [dim]became[/] [green]{_value(b)}[/]")
        else:
            console.print(f"    {safe(name) or 'arguments'}: {_value(b if a is None else a)}")
    if call.a_result != call.b_result:
        console.print(
            f"    [dim]result[/] [red]{_value(call.a_result)}[/] [dim]became[/] [green]{_value(call.b_result)}[/]"
        )


def _value(value: Any) -> str:
    return "[dim]nothing[/]" if value is None else safe(short(exact_json.dumps(value).decode(), 120))


def _numbers(a: Numbers, b: Numbers) -> Grid:
    grid = Grid("", "a", "b", "", box=None)
    for label, name, written in _NUMBERS:
        before, after = getattr(a, name), getattr(b, name)
        sign = f"{after - before:+,.3f}".rstrip("0").rstrip(".")
        sign = "" if sign in ("+0", "-0") else sign
        grid.add_row(label, written.format(before), written.format(after), sign)
    for currency in sorted(a.costs.amounts.keys() | b.costs.amounts.keys()):
        amounts = [Decimal(side.costs.amounts.get(currency, "0")) for side in (a, b)]
        change = amounts[1] - amounts[0]
        sign = f"{change.normalize():+f}" if change else ""
        grid.add_row(f"cost in {currency}", *(f"{amount:f}" for amount in amounts), sign)
    for label, name in (("calls without a price", "unpriced"), ("calls of unknown cost", "unknown")):
        before, after = getattr(a.costs, name), getattr(b.costs, name)
        if before or after:
            grid.add_row(label, str(before), str(after), f"{after - before:+}" if after != before else "")
    return grid
