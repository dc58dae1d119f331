"""How items and audits look in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.text import Text

from clew.cli.common import clock, short
from clew.engine.auditing import Audit, StepRecord, ToolRecord
from clew.events.content import Content, plain_text
from clew.events.items import Item, MessageItem, ReasoningItem, SummaryItem, ToolCallItem, ToolResultItem

_STATUS_STYLES = {
    "completed": "green",
    "failed": "red",
    "expired": "red",
    "incomplete": "yellow",
    "cancelled": "yellow",
}
_OUTCOME_STYLES = {"returned": "green", "failed": "red", "in_doubt": "bold magenta", "settled": "magenta"}


def print_item(console: Console, item: Item) -> None:
    match item:
        case MessageItem(role=role, content=content):
            style = "bold blue" if role == "user" else "bold green"
            console.print(f"[{style}]{role:>9}[/]  {escape(_said(content))}")
        case ToolCallItem(name=name, arguments=arguments):
            console.print(f"[yellow]     call[/]  {escape(name)}({escape(short(arguments))})")
        case ToolResultItem(output=output, is_error=is_error):
            style = "red" if is_error else "yellow"
            console.print(f"[{style}]   result[/]  {escape(short(output))}")
        case ReasoningItem(provider=provider):
            console.print(f"[dim]reasoning  kept for {escape(provider)}[/]")
        case SummaryItem(content=content):
            console.print(f"[dim]  summary  {escape(_said(content))}[/]")


def _said(content: Content) -> str:
    rest = sum(part.type not in ("text",) for part in content)
    return plain_text(content) + (f" [{rest} other part{'s' if rest > 1 else ''}]" if rest else "")


def print_audit(console: Console, audit: Audit) -> None:
    style = _STATUS_STYLES.get(audit.status, "cyan")
    took = f", {(audit.ended_at - audit.queued_at) / 1e6:.2f} s" if audit.ended_at else ""
    config = audit.config
    head = Text.from_markup(
        f"[bold]{audit.run_id}[/]  [{style}]{audit.status}[/]{took}\n"
        f"thread {audit.thread_id}, queued {clock(audit.queued_at)} through {audit.dialect}\n"
        f"model {escape(config.provider)}/{escape(config.model)}"
        f", truncation {config.truncation.strategy}, {len(config.tools)} tools\n"
        f"used {audit.usage.input} tokens in ({audit.usage.cached} cached), {audit.usage.output} out"
    )
    if audit.error:
        head.append(f"\n{audit.error}", style="red")
    console.print(Panel(head, title="run", title_align="left", border_style=style))
    for number, step in enumerate(audit.steps, 1):
        _print_step(console, number, step)
    console.print("[bold]what happened to the run[/]")
    for note in audit.notes:
        survived = "lost" in note.what or "doubt" in note.what
        mark = "[magenta]●[/]" if survived else "[dim]·[/]"
        console.print(f"  {mark} [dim]{clock(note.at)}[/]  {escape(note.what)}")


def _print_step(console: Console, number: int, step: StepRecord) -> None:
    tokens = step.tokens
    about = "" if tokens.exact else "about "
    console.print(f"\n[bold]step {number}[/]  [dim]{step.model_call_id}[/]")
    console.print(
        f"  [cyan]shown[/]     {step.manifest.items} items, {about}{tokens.total} tokens"
        f" (instructions {tokens.instructions}, tools {tokens.tools}, items {tokens.items})"
    )
    if step.truncated is not None:
        cut = step.truncated
        console.print(
            f"  [yellow]left out[/]  {cut.items_left_out} items by {cut.strategy}: {cut.limit_name} is {cut.limit};"
            f" {cut.tokens_before} tokens became {cut.tokens_after}"
        )
    for attempt in step.attempts:
        if attempt.outcome != "answered":
            took = f" after {attempt.duration_ms:.0f} ms" if attempt.duration_ms else ""
            why = escape(f"{attempt.code}: {attempt.message}") if attempt.code else "no answer yet"
            console.print(f"  [red]attempt {attempt.attempt}[/] {attempt.outcome}{took}: {why}")
    if step.finish_reason is not None and step.usage is not None:
        first = f", first after {step.first_token_ms:.0f} ms" if step.first_token_ms else ""
        console.print(
            f"  [cyan]answered[/]  {step.usage.input} tokens in, {step.usage.output} out,"
            f" {step.duration_ms or 0:.0f} ms{first} ({step.finish_reason})"
        )
    for said in step.says:
        console.print(f"  [green]says[/]      {escape(short(said, 300))}")
    for tool in step.tools:
        _print_tool(console, tool)


def _print_tool(console: Console, tool: ToolRecord) -> None:
    style = _OUTCOME_STYLES.get(tool.outcome, "cyan")
    effect = f", {tool.effect}" if tool.effect else ""
    times = f", started {tool.attempts} times" if tool.attempts > 1 else ""
    took = f" in {tool.duration_ms:.0f} ms" if tool.duration_ms is not None else ""
    console.print(
        f"  [yellow]tool[/]      {escape(tool.name)}({escape(short(tool.arguments, 120))})"
        f"  [{style}]{tool.outcome}[/]{took} [dim]by {tool.executor}{effect}{times}[/]"
    )
    if tool.reason:
        console.print(f"             [magenta]{escape(tool.reason)}[/]")
    if tool.output:
        console.print(f"             [dim]{escape(short(tool.output, 160))}[/]")
