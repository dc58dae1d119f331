"""How items look in a terminal."""

from __future__ import annotations

from rich.console import Console

from clew.cli.common import safe, short
from clew.events.content import Content, plain_text
from clew.events.items import Item, MessageItem, ReasoningItem, SummaryItem, ToolCallItem, ToolResultItem


def print_item(console: Console, item: Item) -> None:
    match item:
        case MessageItem(role=role, content=content):
            style = "bold blue" if role == "user" else "bold green"
            console.print(f"[{style}]{role:>9}[/]  {safe(_said(content))}")
        case ToolCallItem(name=name, arguments=arguments):
            console.print(f"[yellow]     call[/]  {safe(name)}({safe(short(arguments))})")
        case ToolResultItem(output=output, is_error=is_error):
            style = "red" if is_error else "yellow"
            console.print(f"[{style}]   result[/]  {safe(short(output))}")
        case ReasoningItem(provider=provider):
            console.print(f"[dim]reasoning  kept for {safe(provider)}[/]")
        case SummaryItem(content=content):
            console.print(f"[dim]  summary  {safe(_said(content))}[/]")


def _said(content: Content) -> str:
    rest = sum(part.type not in ("text",) for part in content)
    return plain_text(content) + (f" [{rest} other part{'s' if rest > 1 else ''}]" if rest else "")
