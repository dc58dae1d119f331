"""How an audit looks in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from clew.audit.costs import Costs
from clew.audit.records import Attempt, Audit, ItemRecord, StepRecord, ToolRecord, Truncated
from clew.cli.common import clock, plain, safe, short

_STATUS_STYLES = {
    "completed": "green",
    "failed": "red",
    "expired": "red",
    "incomplete": "yellow",
    "cancelled": "yellow",
}
_OUTCOME_STYLES = {"returned": "green", "failed": "red", "in_doubt": "bold magenta", "settled": "magenta"}
_NOTE_MARKS = {
    "crash": "[magenta]●[/]",
    "doubt": "[magenta]●[/]",
    "cancel": "[yellow]●[/]",
    "client": "[cyan]·[/]",
    "run": "[dim]·[/]",
}
_NOT_FOLLOWED = {
    "failed": "the summary failed",
    "no_provider": "who is to summarise is not known to this server",
    "no_room": "nothing could be summarised within the limits",
}
# Of the items that are new in a step, so many are listed; the JSON has all.
_ITEMS_LISTED = 6


def print_audit(console: Console, audit: Audit) -> None:
    _print_head(console, audit)
    known: set[int] = set()
    for step in audit.steps:
        _print_step(console, audit, step, known)
        known |= set(step.shown)
    console.print("\n[bold]what happened to the run[/]")
    for note in audit.notes:
        console.print(f"  {_NOTE_MARKS[note.kind]} [dim]{clock(note.at)}[/]  {safe(note.what)}")
    _print_workers(console, audit)
    _print_totals(console, audit)


def _print_head(console: Console, audit: Audit) -> None:
    style = _STATUS_STYLES.get(audit.status, "cyan")
    took = f", {(audit.ended_at - audit.queued_at) / 1e6:.2f} s" if audit.ended_at else ""
    config = audit.config
    head = Text.from_markup(
        f"[bold]{safe(audit.run_id)}[/]  [{style}]{audit.status}[/]{took}\n"
        f"thread {safe(audit.thread_id)}, queued {clock(audit.queued_at)} through {safe(audit.dialect)}\n"
        f"model {safe(config.provider)}/{safe(config.model)}"
        f", truncation {config.truncation.strategy}, {len(config.tools)} tools\n"
        f"used {audit.usage.input} tokens in ({audit.usage.cached} cached), {audit.usage.output} out"
        f"{_cost(audit.totals.costs)}"
    )
    if audit.cancelled_by:
        head.append(f"\ncancelled by {plain(audit.cancelled_by)}", style="yellow")
    if audit.error:
        head.append(f"\n{plain(audit.error)}", style="red")
    console.print(Panel(head, title="run", title_align="left", border_style=style))


def _print_step(console: Console, audit: Audit, step: StepRecord, known: set[int]) -> None:
    tokens = step.tokens
    about = "" if tokens.exact else "about "
    by = f" by {safe(step.worker)}" if step.worker else ""
    console.print(f"\n[bold]step {step.number}[/]  [dim]{step.model_call_id}, fence {step.fence}{by}[/]")
    if step.summarises is not None:
        asked = step.summarises
        who = safe(f"{step.asked_provider}/{step.asked_model}")
        console.print(
            f"  [magenta]summary[/]   of what is shown, by {who}, about {asked.tokens} tokens long:"
            f" {safe(asked.limit_name)} is {asked.limit}"
        )
    console.print(
        f"  [cyan]shown[/]     {step.manifest.items} items, {about}{tokens.total} tokens"
        f" (instructions {tokens.instructions}, tools {tokens.tools}, items {tokens.items})"
    )
    new = [place for place in step.shown if place not in known]
    if len(new) < len(step.shown):
        console.print(f"             [dim]{len(step.shown) - len(new)} as in the step before, and[/]")
    for place in new[:_ITEMS_LISTED]:
        console.print(f"             [dim]{safe(_item_line(audit.items[place]))}[/]")
    if len(new) > _ITEMS_LISTED:
        console.print(f"             [dim]… {len(new) - _ITEMS_LISTED} more[/]")
    _print_left_out(console, step)
    if step.proven:
        console.print(f"  [cyan]sent[/]      [green]proven[/] [dim]{step.digest[:16]}… by {safe(step.renderer)}[/]")
    else:
        console.print(f"  [cyan]sent[/]      [red]not proven[/]: {safe(step.why_not or '')}")
    _print_answer(console, step)
    for tool in step.tools:
        _print_tool(console, tool)


def _item_line(item: ItemRecord) -> str:
    who = {"call": f"call {item.name}", "result": "result"}.get(item.kind, item.role or item.kind)
    return f"{item.number:>4}  {who:<10} {short(item.text, 90)}{' (cleared)' if item.cleared else ''}"


def _print_left_out(console: Console, step: StepRecord) -> None:
    cut = step.truncated
    if cut is not None:
        console.print(
            f"  [yellow]left out[/]  {cut.items_left_out} items{_cleared(cut)} by {cut.strategy}: {cut.limit_name} is"
            f" {cut.limit}; {cut.tokens_before} tokens became {cut.tokens_after}"
        )
        if cut.instead_of is not None:
            instead = f"instead of {cut.instead_of.strategy}: {_NOT_FOLLOWED[cut.instead_of.reason]}"
            console.print(f"             [magenta]{safe(instead)}[/]")
        for one in cut.cleared:
            console.print(f"             [dim]{safe(f'{one.first} to {one.last} of {one.stream}')}: results cleared[/]")
    for left in step.manifest.left_out:
        where = f"{left.items.first} to {left.items.last} of {left.items.stream}"
        console.print(f"             [dim]{safe(where)}: {safe(left.reason)}[/]")
    for missing in step.manifest.not_rendered:
        console.print(f"  [yellow]not sent[/]  [dim]{safe(str(missing))}[/]")


def _cleared(cut: Truncated) -> str:
    return f" and {cut.items_cleared} results shown cleared" if cut.items_cleared else ""


def _print_answer(console: Console, step: StepRecord) -> None:
    for attempt in step.attempts:
        if attempt.outcome != "answered":
            console.print(_attempt_line(attempt))
    if step.finish_reason is not None and step.usage is not None:
        first = f", first after {step.first_token_ms:.0f} ms" if step.first_token_ms else ""
        which = f", attempt {step.attempts[-1].attempt}" if len(step.attempts) > 1 else ""
        console.print(
            f"  [cyan]answered[/]  {step.usage.input} tokens in, {step.usage.output} out,"
            f" {step.duration_ms or 0:.0f} ms{first} ({safe(step.finish_reason)}{which}){_cost(step.costs)}"
        )
    if step.compacted is not None:
        made = step.compacted
        console.print(
            f"  [magenta]stands[/]    for {made.items} items from now on;"
            f" {made.tokens_before} tokens became {made.tokens}"
        )
        console.print(f"             [dim]{safe(short(made.text, 300))}[/]")
    if step.reasoning_blocks:
        console.print(f"  [dim]reasoned   {step.reasoning_blocks} blocks[/]")
    for said in step.says:
        cut = f" [yellow](cut short: {safe(step.incomplete)})[/]" if step.incomplete else ""
        console.print(f"  [green]says[/]      {safe(short(said, 300))}{cut}")


def _cost(costs: Costs) -> str:
    return f", cost {costs.told}" if costs.told else ""


def _attempt_line(attempt: Attempt) -> str:
    took = f" after {attempt.duration_ms:.0f} ms" if attempt.duration_ms else ""
    why = safe(f"{attempt.code}: {attempt.message}") if attempt.code else "no answer yet"
    asked = f"; asked to wait {attempt.retry_after_seconds:g} s" if attempt.retry_after_seconds else ""
    style = "magenta" if attempt.code == "lost" else "red"
    return f"  [{style}]attempt {attempt.attempt}[/] {attempt.outcome}{took}: {why}{asked}"


def _print_tool(console: Console, tool: ToolRecord) -> None:
    style = _OUTCOME_STYLES.get(tool.outcome, "cyan")
    effect = f", {tool.effect}" if tool.effect else ""
    times = f", started {tool.attempts} times" if tool.attempts > 1 else ""
    took = f" in {tool.duration_ms:.0f} ms" if tool.duration_ms is not None else ""
    if tool.executor == "client" and tool.answered_at is not None:
        took = f" after {(tool.answered_at - tool.called_at) / 1e6:.2f} s"
    console.print(
        f"  [yellow]tool[/]      {safe(tool.name)}({safe(short(tool.arguments, 120))})"
        f"  [{style}]{tool.outcome}[/]{took} [dim]by {tool.executor}{effect}{times}[/]"
    )
    for doubt in tool.doubts:
        settled = f"; {safe(doubt.by or '')} settled it: {doubt.outcome}" if doubt.settled_at else "; not settled yet"
        console.print(f"             [magenta]in doubt: {safe(doubt.reason)}{settled}[/]")
    if tool.reason and not tool.doubts:
        console.print(f"             [magenta]{safe(tool.reason)}[/]")
    if tool.output:
        console.print(f"             [dim]{safe(short(tool.output, 160))}[/]")


def _print_workers(console: Console, audit: Audit) -> None:
    console.print("[bold]who held it[/]")
    for held in audit.workers:
        took = f"{(held.until - held.at) / 1e6:.2f} s" if held.until else "until now"
        how = {"lost": "[magenta]lost[/]", None: "holds it"}.get(held.how, held.how)
        console.print(f"  [dim]fence {held.fence}[/]  {safe(held.worker)}  {took}, {how}")


def _print_totals(console: Console, audit: Audit) -> None:
    t = audit.totals
    survived = (
        f", [magenta]{t.crashes_survived} crash{'es' if t.crashes_survived > 1 else ''} survived[/]"
        if t.crashes_survived
        else ""
    )
    doubts = f", {t.doubts} in doubt" if t.doubts else ""
    console.print(
        f"[bold]in all[/]  {t.model_calls} model calls in {t.model_ms:.0f} ms ({t.attempts} attempts, {t.lost} lost),"
        f" {t.tool_calls} tool calls in {t.tool_ms:.0f} ms ({t.tool_failures} failed{doubts}),"
        f" {t.prompts_proven} of {t.model_calls} prompts proven{survived}"
    )
