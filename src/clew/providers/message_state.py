"""What a server of chat completions wants to have back with an answer that it gave.

Some servers think before they answer and keep no state: what they thought comes with the answer, and must come back
with it in the next request, or tool use fails or gets worse. It comes as members of the message that OpenAI's format
does not have: `reasoning_content` (DeepSeek, Moonshot, Xiaomi MiMo, vLLM), `reasoning_details` (OpenRouter),
`thinking_blocks` (LiteLLM, of Claude), and `extra_content` of the message or of a tool call (Gemini's endpoint in
OpenAI's format, where it holds signatures).
LiteLLM has such signatures in the ids of tool calls, so that an id longer than OpenAI takes is kept in this way, too.
`reasoning` (Groq, Cerebras, newer vLLM) is kept, and not wanted back.

In the log they are blocks of one `reasoning.recorded`: each is a JSON object with one member of the message, and with
`tool_call`, the number of the call in its answer, where it belongs to one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from clew import exact_json
from clew.events.items import ReasoningItem
from clew.providers.base import Prompt
from clew.providers.text import TextPieces, written
from clew.providers.tool_call_deltas import ToolCall, merged
from clew.providers.valid_calls import ID_CHARS_MAX

TEXTS: Final = ("reasoning_content", "reasoning")
LISTS: Final = ("reasoning_details", "thinking_blocks")
EXTRA: Final = "extra_content"
TOOL_CALL: Final = "tool_call"
CALL_ID: Final = "id"
_MEMBERS = frozenset((*TEXTS, *LISTS, EXTRA))

# Long ids of vLLM hold nothing; those of Kimi have the name of the function, which its template reads.
_RANDOM_ID = re.compile(r"chatcmpl-tool-[0-9a-f]{32}")
# Pieces of fewer characters than this may begin as a later piece does by accident.
_SAME_CHARS_MIN = 3

# What of a block in a list comes in pieces, by its type. All else comes once.
_IN_PIECES = {"reasoning.text": "text", "reasoning.summary": "summary", "thinking": "thinking"}


class MessageState:
    """Collects these members from a message, or from the pieces of one."""

    def __init__(self) -> None:
        self._texts: dict[str, TextPieces] = {}
        self._lists: dict[str, list[Any]] = {}
        self._extra: dict[str, Any] = {}

    def add(self, said: dict[str, Any], *, whole: bool = False) -> bool:
        """Takes a piece of a message, or a `whole` one; returns whether anything was thought in it."""
        if _MEMBERS.isdisjoint(said):
            return False
        anything = False
        for name in TEXTS:
            text = said.get(name)
            if isinstance(text, str):
                self._texts.setdefault(name, TextPieces()).add(text)
                anything = anything or bool(text)
        for name in LISTS:
            blocks = said.get(name)
            if isinstance(blocks, list) and blocks:
                known, anything = self._lists.setdefault(name, []), True
                for block in blocks:
                    known.append(block) if whole else _add_piece(known, block)
        extra = said.get(EXTRA)
        if isinstance(extra, dict):
            self._extra = merged(self._extra, extra)
        return anything

    def blocks(self, calls: list[ToolCall]) -> tuple[str, ...]:
        """Returns the blocks of an answer with these calls.

        An empty text is kept, too: servers that want it back refuse a message of which the member is missing.
        """
        texts = self._texts.items()
        found: list[dict[str, Any]] = [{name: str(text)} for name, text in texts if text or name == TEXTS[0]]
        found += [{name: blocks} for name, blocks in self._lists.items()]
        if self._extra:
            found.append({EXTRA: self._extra})
        for number, call in enumerate(calls):
            if call.extra is not None:
                found.append({TOOL_CALL: number, EXTRA: call.extra})
            if len(call.id) > ID_CHARS_MAX and not _RANDOM_ID.fullmatch(call.id):
                found.append({TOOL_CALL: number, CALL_ID: call.id})
        return tuple(map(written, found))


def _add_piece(blocks: list[Any], piece: Any) -> None:
    """Adds a piece of a block to the blocks before it. Pieces of one block have one index: texts follow each other, all
    else is added. A signature holds for the whole text, so that pieces may not go back as they came."""
    last = blocks[-1] if blocks else None
    name = _IN_PIECES.get(str(piece.get("type"))) if isinstance(piece, dict) else None
    if name is None or not isinstance(last, dict) or not _goes_on(last, piece):
        blocks.append(dict(piece) if isinstance(piece, dict) else piece)
        return
    before, more = last.get(name), piece.get(name)
    last.update({key: value for key, value in piece.items() if value is not None or key not in last})
    if isinstance(before, str) and isinstance(more, str):
        # MiniMax sends in each piece all that came before it, too.
        is_grown = len(more) > len(before) >= _SAME_CHARS_MIN and more.startswith(before)
        last[name] = more if is_grown else before + more
    elif isinstance(before, str):
        last[name] = before


def _goes_on(last: dict[str, Any], piece: dict[str, Any]) -> bool:
    """Whether a piece belongs to the block before it, which nothing has ended yet."""
    same = (last.get("type"), last.get("index")) == (piece.get("type"), piece.get("index"))
    other_id = None not in (last.get("id"), piece.get("id")) and last.get("id") != piece.get("id")
    return same and not other_id and not last.get("signature")


# What goes back. Renderers are made of this, so it is never changed.


def sent_back(blocks: Sequence[str]) -> tuple[str, ...]:
    """Returns those of an answer's blocks that its server wants to have back."""
    return tuple(block for block in blocks if not _is_unwanted(exact_json.object_in(block)))


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
        members = exact_json.object_in(block)
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


def _is_unwanted(members: dict[str, Any]) -> bool:
    return not any(name in members for name in (TEXTS[0], *LISTS, EXTRA, CALL_ID))
