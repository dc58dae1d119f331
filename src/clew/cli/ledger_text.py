"""How the bill looks in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import assert_never

from rich.console import Console
from rich.table import Table as Grid

from clew.billing.forecasting import Forecast
from clew.billing.questions import not_in_the_amount
from clew.billing.records import CarriedRecord, EntryList, EntryRecord, Ledger, Spent
from clew.cli.common import clock, safe, short
from clew.events.content import plain_text
from clew.events.items import Item, MessageItem, ReasoningItem, SummaryItem, ToolCallItem, ToolResultItem

# Where there is room for ids, numbers and a long bar.
_WIDE_CELLS = 110
_EIGHTHS = " ▏▎▍▌▋▊▉"
_NUMBERS = ("calls", "input_tokens", "cached_tokens", "output_tokens")


def print_ledger(console: Console, found: Ledger) -> None:
    """Groups with a bar each, so that one sees where the money goes; the total stands below."""
    grid = _grid(found.group_by or "", "calls", "input", "cached", "output", found.total.currency)
    grid.add_column("")
    cells = 24 if console.width >= _WIDE_CELLS else 8
    largest = max((_size(group) for group in found.groups), default=Decimal(0))
    for group in found.groups:
        key = "[dim](none)[/]" if group.key is None else safe(short(group.key, 60))
        grid.add_row(key, *_numbers(group), f"[cyan]{bar(_size(group), largest, cells)}[/]{_mark(group)}")
    if found.others is not None:
        grid.add_row("[dim](others)[/]", *_numbers(found.others), _mark(found.others))
    grid.add_row("[bold]total[/]", *(f"[bold]{number}[/]" for number in _numbers(found.total)), _mark(found.total))
    console.print(grid)
    missing = not_in_the_amount(found.total.unpriced_calls, found.total.lost_calls)
    if missing:
        console.print(f"[yellow]*[/] {missing}")


def _grid(name: str, *numbers: str) -> Grid:
    """A name, which may take several lines where there is no room, and numbers, which are never cut."""
    grid = Grid(box=None, header_style="bold", pad_edge=False)
    grid.add_column(name, overflow="fold", min_width=12)
    for number in numbers:
        grid.add_column(number, justify="right", no_wrap=True)
    return grid


def _size(spent: Spent) -> Decimal:
    return Decimal(spent.amount)


def _numbers(spent: Spent) -> list[str]:
    return [*(f"{getattr(spent, name):,}" for name in _NUMBERS), money(spent.amount)]


def _mark(spent: Spent) -> str:
    return " [yellow]*[/]" if spent.unpriced_calls or spent.lost_calls else ""


def money(amount: str) -> str:
    """Four places, or as many more as it takes to say something. Whoever needs all of them asks for JSON or CSV."""
    value = Decimal(amount)
    if value and abs(value) < Decimal("0.01"):
        return f"{value:.2g}" if abs(value) < Decimal("0.000001") else f"{value:.6f}"
    return f"{value:,.4f}"


def bar(size: Decimal, largest: Decimal, cells: int) -> str:
    """A bar as long as its part of the largest, to an eighth of a cell; something is never shown as nothing."""
    if size <= 0 or largest <= 0:
        return ""
    eighths = max(1, int(size / largest * cells * 8))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def print_entries(console: Console, page: EntryList) -> None:
    grid = Grid(box=None, header_style="bold", pad_edge=False)
    grid.add_column("position", no_wrap=True)
    grid.add_column("at (UTC)", no_wrap=True)
    for name in ("model", "run"):
        grid.add_column(name, overflow="fold", min_width=8)
    for name in ("input", "cached", "output", "amount"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("")
    for entry in page.entries:
        grid.add_row(
            str(entry.position),
            clock(entry.at)[5:],
            safe(short(f"{entry.provider}/{entry.model}", 40)),
            safe(entry.run_id),
            f"{entry.input_tokens:,}",
            f"{entry.cached_tokens:,}",
            f"{entry.output_tokens:,}",
            money(entry.amount) if entry.amount is not None else "",
            _said_of(entry),
        )
    console.print(grid)
    if page.next is not None:
        console.print("[dim]there are more; --csv FILE writes them all[/]")


def _said_of(entry: EntryRecord) -> str:
    said = [] if entry.outcome == "answered" else [entry.outcome]
    said += [entry.cost] if entry.cost in ("unpriced", "lost") else []
    said += [entry.purpose] if entry.purpose != "answer" else []
    return f"[dim]{safe(', '.join(said))}[/]" if said else ""


def print_saved(console: Console, found: Ledger) -> None:
    grid = _grid(found.group_by or "", "left out", "not paid", "cached", "not paid", f"{found.total.currency} paid")
    for group in found.groups:
        grid.add_row("[dim](none)[/]" if group.key is None else safe(short(group.key, 60)), *_savings(group))
    if found.others is not None:
        grid.add_row("[dim](others)[/]", *_savings(found.others))
    grid.add_row("[bold]total[/]", *(f"[bold]{number}[/]" for number in _savings(found.total)))
    console.print(grid)
    console.print(
        "[dim]not paid: for tokens that truncation left out, and for those that the provider had cached,"
        " at the full input price of their calls[/]"
    )


def _savings(spent: Spent) -> list[str]:
    return [
        f"{spent.left_out_tokens:,}",
        money(spent.saved_by_truncation),
        f"{spent.cached_tokens:,}",
        money(spent.saved_by_caching),
        money(spent.amount),
    ]


def print_carried(console: Console, found: CarriedRecord, said: Sequence[Item | None]) -> None:
    console.print(
        f"[bold]{safe(found.thread_id)}[/]: {found.calls:,} calls have cost {money(found.input_amount)}"
        f" {found.currency} for their input; {money(found.resent_amount)} of it was for sending items again"
    )
    grid = Grid(box=None, header_style="bold", pad_edge=False, expand=True)
    grid.add_column("item", no_wrap=True)
    for name in ("tokens", "sent", "first", "again", ""):
        grid.add_column(name, justify="right" if name else "left", no_wrap=True)
    grid.add_column("", no_wrap=True, overflow="ellipsis", ratio=1)
    largest = max((Decimal(item.resent_amount) for item in found.items), default=Decimal(0))
    for item, what in zip(found.items, said, strict=True):
        grid.add_row(
            f"{item.kind} {item.number}",
            f"{item.tokens:,}",
            f"{item.times:,}",
            money(item.first_amount),
            money(item.resent_amount),
            f"[cyan]{bar(Decimal(item.resent_amount), largest, 10)}[/]",
            f"[dim]{safe(short(_words(what), 60))}[/]",
        )
    if found.others is not None:
        others = found.others
        grid.add_row(
            f"[dim]{others.items:,} others[/]", "", "", money(others.first_amount), money(others.resent_amount), "", ""
        )
    grid.add_row("[dim]instructions[/]", "", "", "", money(found.instructions_amount), "", "")
    grid.add_row("[dim]tools[/]", "", "", "", money(found.tools_amount), "", "")
    console.print(grid)
    if found.unpriced_calls:
        console.print(f"[yellow]*[/] {not_in_the_amount(found.unpriced_calls, 0)}")


def _words(item: Item | None) -> str:
    match item:
        case MessageItem(role=role, content=content):
            return f"{role}: {plain_text(content)}"
        case SummaryItem(content=content):
            return plain_text(content)
        case ToolCallItem(name=name, arguments=arguments):
            return f"{name}({arguments})"
        case ToolResultItem(output=output):
            return output
        case ReasoningItem(provider=provider):
            return f"kept for {provider}"
        case None:
            return "(removed)"
        case _:
            assert_never(item)


def print_forecast(console: Console, found: Forecast) -> None:
    call = found.next_call
    left_out = f", {found.items_left_out:,} left out" if found.items_left_out else ""
    console.print(
        f"[bold]next run on {safe(found.thread_id)}[/] with {safe(found.provider)}/{safe(found.model)},"
        f" truncation {found.strategy}\n"
        f"first call   {found.items:,} items{left_out}: {call.input_tokens:,} tokens in"
        f" ({call.counted_tokens:,} as we count), {call.cached_tokens:,} of them cached;"
        f" {'an unknown number' if call.output_tokens is None else f'{call.output_tokens:,}'} out"
    )
    if found.summary_amount is not None:
        console.print(f"before it    a summary, {money(found.summary_amount)} {found.currency}")
    if call.amount is None or call.amount_uncached is None or found.amount is None:
        console.print("[yellow]*[/] no table has a price for this model")
    else:
        console.print(
            f"             {money(call.amount)} {found.currency}, {money(call.amount_uncached)} if nothing is cached"
        )
        console.print(f"whole run    {money(found.amount)} {found.currency} with {found.calls} calls, as is usual here")
    console.print(f"[dim]learnt from the {found.learnt_from_calls} newest answers of this thread[/]")
