"""What a server of chat completions wants to have back with an answer that it gave.

Some servers think before they answer and keep no state: what they thought comes with the answer, and must come back
with it in the next request, or tool use fails or gets worse. It comes as members of the message that OpenAI's format
does not have: `reasoning_content` (DeepSeek, Moonshot, Xiaomi MiMo, vLLM), `reasoning_details` (OpenRouter), and
`extra_content` of the message or of a tool call (Gemini's endpoint in OpenAI's format, where it holds signatures).
LiteLLM has such signatures in the ids of tool calls, so that an id much longer than ids are is kept in this way, too.
`reasoning` (Groq, Cerebras, newer vLLM) is kept, and not wanted back.

In the log they are blocks of one `reasoning.recorded`: each is a JSON object with one member of the message, and with
`tool_call`, the number of the call in its answer, where it belongs to one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from clew import exact_json
from clew.events.items import ReasoningItem
from clew.providers.base import Prompt
from clew.providers.text import TextPieces, written
from clew.providers.tool_call_deltas import ToolCall, merged

TEXTS: Final = ("reasoning_content", "reasoning")
DETAILS: Final = "reasoning_details"
EXTRA: Final = "extra_content"
TOOL_CALL: Final = "tool_call"
CALL_ID: Final = "id"
_MEMBERS = frozenset((*TEXTS, DETAILS, EXTRA))

# Ids of vLLM have 46 characters, and hold nothing.
_CALL_ID_CHARS_MAX = 64

# What of a detail comes in pieces, by its type. All else comes once.
_IN_PIECES = {"reasoning.text": "text", "reasoning.summary": "summary"}


class MessageState:
    """Collects these members from a message, or from the pieces of one."""

    def __init__(self) -> None:
        self._texts: dict[str, TextPieces] = {}
        self._details: list[Any] = []
        self._extra: dict[str, Any] = {}

    def add(self, said: dict[str, Any]) -> bool:
        """Takes a message, or a piece of one; returns whether anything was thought in it."""
        if _MEMBERS.isdisjoint(said):
            return False
        anything = False
        for name in TEXTS:
            text = said.get(name)
            if isinstance(text, str):
                self._texts.setdefault(name, TextPieces()).add(text)
                anything = anything or bool(text)
        details = said.get(DETAILS)
        if isinstance(details, list):
            for detail in details:
                self._add_detail(detail)
            anything = anything or bool(details)
        extra = said.get(EXTRA)
        if isinstance(extra, dict):
            self._extra = merged(self._extra, extra)
        return anything

    def _add_detail(self, detail: Any) -> None:
        """OpenRouter sends a block in pieces that have one index: texts follow each other, all else is added. A
        signature holds for the whole text, so that pieces may not go back as they came."""
        last = self._details[-1] if self._details else None
        name = _IN_PIECES.get(str(detail.get("type"))) if isinstance(detail, dict) else None
        if name is None or not isinstance(last, dict) or not _goes_on(last, detail):
            self._details.append(dict(detail) if isinstance(detail, dict) else detail)
            return
        before, more = last.get(name), detail.get(name)
        last.update({key: value for key, value in detail.items() if value is not None or key not in last})
        if isinstance(before, str) and isinstance(more, str):
            last[name] = before + more
        elif isinstance(before, str):
            last[name] = before

    def blocks(self, calls: list[ToolCall]) -> tuple[str, ...]:
        """Returns the blocks of an answer with these calls.

        An empty text is kept, too: servers that want it back refuse a message of which the member is missing.
        """
        texts = self._texts.items()
        found: list[dict[str, Any]] = [{name: str(text)} for name, text in texts if text or name == TEXTS[0]]
        if self._details:
            found.append({DETAILS: self._details})
        if self._extra:
            found.append({EXTRA: self._extra})
        for number, call in enumerate(calls):
            if call.extra is not None:
                found.append({TOOL_CALL: number, EXTRA: call.extra})
            if len(call.id) > _CALL_ID_CHARS_MAX:
                found.append({TOOL_CALL: number, CALL_ID: call.id})
        return tuple(map(written, found))


def _goes_on(last: dict[str, Any], detail: dict[str, Any]) -> bool:
    """Whether a piece belongs to the block before it, which nothing has ended yet."""
    same = (last.get("type"), last.get("index")) == (detail.get("type"), detail.get("index"))
    return same and not last.get("signature")


# What goes back. Renderers are made of this, so it is never changed.


def sent_back(blocks: Sequence[str]) -> tuple[str, ...]:
    """Returns those of an answer's blocks that its server wants to have back."""
    return tuple(block for block in blocks if not _is_unwanted(_members(block)))


def going_back(item: ReasoningItem, prompt: Prompt) -> list[dict[str, Any]]:
    """Returns what of an item goes back: members of its message, and with `tool_call`, of one of its calls."""
    return [members for members, why_not in _sorted(item, prompt) if why_not is None]


def kept_back(item: ReasoningItem, prompt: Prompt) -> list[str]:
    """Returns why something of an item does not go back, each reason once."""
    return list(dict.fromkeys(why_not for _, why_not in _sorted(item, prompt) if why_not is not None))


def _sorted(item: ReasoningItem, prompt: Prompt) -> Iterator[tuple[dict[str, Any], str | None]]:
    """The blocks of an item, each with the reason why it does not go back, if there is one."""
    if item.provider != prompt.config.provider:
        yield {}, f"reasoning of {item.provider} is not for {prompt.config.provider}"
        return
    if item.origin is None:
        # Whatever it was called on the way, it was kept by one name then.
        yield {}, "it was recorded by an older version, which did not send it back"
        return
    for block in item.blocks:
        members = _members(block)
        yield members, _why_not(members, item, prompt)


def _why_not(members: dict[str, Any], item: ReasoningItem, prompt: Prompt) -> str | None:
    if _is_unwanted(members):
        return "servers that call it so do not want it back"
    if item.model == prompt.config.model:
        return None
    if TEXTS[0] in members and item.origin == prompt.origin:
        # It is not signed, and DeepSeek wants what any of its models has thought.
        return None
    return f"reasoning of {item.model} at {item.origin} is not for {prompt.config.model} at {prompt.origin}"


def _members(block: str) -> dict[str, Any]:
    try:
        known = exact_json.loads(block)
    except ValueError:
        known = None
    return known if isinstance(known, dict) else {}


def _is_unwanted(members: dict[str, Any]) -> bool:
    return not any(name in members for name in (TEXTS[0], DETAILS, EXTRA, CALL_ID))
