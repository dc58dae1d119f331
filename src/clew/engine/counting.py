"""Counting the tokens of what is appended, once, so that nobody counts it again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import lru_cache

from clew import exact_json
from clew.events.content import Attachment, Content, Metadata, Refusal, Text, Tokens
from clew.events.items import Item
from clew.events.message import Role
from clew.events.run import Tool
from clew.ids import new_id
from clew.rules.parts import NewMessage
from clew.tokens import count_text, encoding_name_for
from clew.tokens.encodings import ranks_of

# A thread's items are counted before it is known which model will read them.
_COMMON_MODEL = "gpt-4o"
# Counting the tokens of a text of this length takes about as long as a whole request otherwise does.
_COUNTED_HERE_CHARS_MAX = 16_000
# What a picture costs depends on its size and on the provider; this is a middling one.
_IMAGE_TOKENS = 765


def text_tokens(text: str, model: str = _COMMON_MODEL) -> Tokens:
    counted = count_text(text, model)
    return Tokens(encoding=counted.encoding, count=counted.count, exact=counted.exact)


def content_tokens(content: Content) -> Tokens:
    """An estimate as soon as there is something that is not text."""
    if len(content) == 1 and isinstance(content[0], Text):
        return text_tokens(content[0].text)
    count, exact, encoding = 0, True, "o200k_base"
    for part in content:
        if isinstance(part, (Text, Refusal)):
            counted = text_tokens(part.text)
            count, exact, encoding = count + counted.count, exact and counted.exact, counted.encoding
        else:
            count, exact = count + _IMAGE_TOKENS, False
    return Tokens(encoding=encoding, count=count, exact=exact)


def reasoning_tokens(blocks: tuple[str, ...], reported: int, model: str) -> Tokens:
    """An estimate: what the provider says that reasoning took, else what its blocks have as text."""
    counted = count_text("".join(blocks), model) if not reported else None
    count, encoding = (counted.count, counted.encoding) if counted is not None else (reported, "o200k_base")
    return Tokens(encoding=encoding, count=count, exact=False)


def new_message(
    role: Role,
    content: Content,
    *,
    attachments: tuple[Attachment, ...] = (),
    metadata: Metadata | None = None,
) -> NewMessage:
    """A message on its way into a thread, with its id and its count."""
    return NewMessage(
        message_id=new_id("msg"),
        role=role,
        content=content,
        attachments=attachments,
        metadata=metadata,
        tokens=content_tokens(content),
    )


def counted_exactly(items: Iterable[Item], model: str) -> bool:
    """Whether the counts of these items are what `model` makes of them. What has no tokens was not counted."""
    encoding, exact = encoding_name_for(model)
    ranks = ranks_of(encoding)
    return exact and all(
        not item.tokens or (item.encoding is not None and ranks_of(item.encoding) == ranks) for item in items
    )


async def counted_message(role: Role, content: Content, *, metadata: Metadata | None = None) -> NewMessage:
    """The same, and the loop is not held up by a long text."""
    chars = sum(len(part.text) for part in content if isinstance(part, Text))
    if chars <= _COUNTED_HERE_CHARS_MAX:
        return new_message(role, content, metadata=metadata)
    return await asyncio.to_thread(new_message, role, content, metadata=metadata)


async def counted_text(text: str) -> Tokens:
    return text_tokens(text) if len(text) <= _COUNTED_HERE_CHARS_MAX else await asyncio.to_thread(text_tokens, text)


@lru_cache(maxsize=1_024)
def instruction_tokens(instructions: str, model: str) -> Tokens:
    return text_tokens(instructions, model)


def tool_tokens(tools: tuple[Tool, ...], model: str) -> int:
    """An estimate: providers write definitions in a form of their own before they count."""
    return _tool_tokens(exact_json.dumps([tool.model_dump(exclude_none=True) for tool in tools]), model) if tools else 0


@lru_cache(maxsize=256)
def _tool_tokens(definitions: bytes, model: str) -> int:
    return count_text(definitions.decode(), model).count
