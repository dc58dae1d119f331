"""What a client sends as its messages, flattened: one entry a block, each with its link of the chain.

Where a turn is split, whether a text is a string or a block, where a mark for the cache stands: none of it matters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from clew.dialects.anthropic_messages.errors import not_offered, rejected
from clew.dialects.anthropic_messages.requests import MessageIn
from clew.engine.files import file_exists
from clew.events.message import Role
from clew_projections import recognition
from clew_projections.recognition import Chain, Link

# What we call ourselves where a block must say which server made a call.
SERVER_NAME = "clew"

Kind: TypeAlias = Literal["said", "thought", "called", "returned"]
_THOUGHTS = ("thinking", "redacted_thinking")
_REFUSED = (
    *("compaction", "fallback", "container_upload", "tool_addition", "tool_removal", "mcp_tool_listing"),
    "browser_state",
)


@dataclass(frozen=True, slots=True)
class Entry:
    """`at` is where the request has it, `turn` the number of its message. `link` None: there is nothing in it."""

    kind: Kind
    role: Role
    block: dict[str, Any]
    turn: int
    at: str
    link: Link | None
    by_server: bool = False


def entries_of(messages: Sequence[MessageIn]) -> list[Entry]:
    """Raises `Rejected` for what no conversation has."""
    found: list[Entry] = []
    served: set[str] = set()
    for turn, message in enumerate(messages):
        content, role = message["content"], message["role"]
        if isinstance(content, str):
            block = {"type": "text", "text": content}
            found.append(Entry("said", role, block, turn, f"messages.{turn}.content", _said(role, block)))
            continue
        for number, given in enumerate(content):
            found.append(_entry(role, dict(given), turn, f"messages.{turn}.content.{number}", served))
    return found


def _entry(role: Role, block: dict[str, Any], turn: int, at: str, served: set[str]) -> Entry:
    """`served` are the calls that our server made; what came of another server's is kept as it is."""
    kind = block["type"]
    if kind in _REFUSED:
        raise not_offered(at, f"a block of type {kind!r}")
    if kind in _THOUGHTS:
        _only(role, "assistant", kind, at)
        return Entry("thought", role, block, turn, at, recognition.said(role, block))
    if kind == "tool_use":
        _only(role, "assistant", kind, at)
        link = recognition.called(block["id"], block["name"], block["input"])
        return Entry("called", role, block, turn, at, link)
    if kind == "tool_result":
        _only(role, "user", kind, at)
        return _result(role, block, turn, at, by_server=False)
    if kind == "mcp_tool_use" and block["server_name"] == SERVER_NAME:
        served.add(block["id"])
        link = recognition.called(block["id"], block["name"], block["input"], by_server=True)
        return Entry("called", role, block, turn, at, link, by_server=True)
    if kind == "mcp_tool_result" and block["tool_use_id"] in served:
        return _result(role, block, turn, at, by_server=True)
    _check(role, block, kind, at)
    return Entry("said", role, block, turn, at, _said(role, block))


def _result(role: Role, block: dict[str, Any], turn: int, at: str, *, by_server: bool) -> Entry:
    parts = blocks_of_result(block)
    for number, part in enumerate(parts):
        if part["type"] in _REFUSED:
            raise not_offered(f"{at}.content.{number}", f"a block of type {part['type']!r}")
        _check(role, part, part["type"], f"{at}.content.{number}")
    link = recognition.returned(block["tool_use_id"], parts, bool(block.get("is_error")), by_server=by_server)
    return Entry("returned", role, block, turn, at, link, by_server=by_server)


def blocks_of_result(block: dict[str, Any]) -> list[dict[str, Any]]:
    content = block.get("content") or []
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


def _check(role: Role, block: dict[str, Any], kind: str, at: str) -> None:
    source: Any = block.get("source")
    if isinstance(source, dict) and source.get("type") == "file" and not file_exists(source["file_id"]):
        raise not_offered(f"{at}.source", "a file that was uploaded")
    if kind == "document" and isinstance(source.get("content"), list):
        for number, part in enumerate(source["content"]):
            _check(role, part, part["type"], f"{at}.source.content.{number}")
    if role == "system" and kind != "text":
        raise rejected(f"{at}: a system message holds text only")
    if role == "assistant" and kind == "document":
        raise rejected(f"{at}: `document` blocks are not allowed in assistant messages")
    if role == "user" and kind == "text" and block.get("citations"):
        raise rejected(f"{at}.citations: citations are not allowed in user messages")


def _only(role: Role, wanted: Role, kind: str, at: str) -> None:
    if role != wanted:
        raise rejected(f"{at}: `{kind}` blocks can only be in `{wanted}` messages")


def _said(role: Role, block: dict[str, Any]) -> Link | None:
    return recognition.said(role, block)


def answers(entries: Sequence[Entry], tenant: str) -> Iterator[tuple[int, Chain]]:
    """Behind which entry each answer of the assistant ends, and the chain up to there."""
    chain = recognition.beginning(tenant)
    for number, entry in enumerate(entries):
        if entry.link is not None:
            chain = chain.with_link(entry.link)
        following = entries[number + 1] if number + 1 < len(entries) else None
        if entry.role == "assistant" and (following is None or following.role != "assistant"):
            yield number + 1, chain
