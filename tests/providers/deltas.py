"""Entries of `tool_calls` as servers send them, and what is made of them: what the tests of streamed calls share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from clew.providers.base import Answer, CallPiece, Piece
from tests.providers.kinds import MISTRAL, OPENAI, Kind, chunk

CHATS = pytest.mark.parametrize("kind", [OPENAI, MISTRAL], ids=str)
ABSENT: Any = object()


def part(arguments: Any = ABSENT, *, index: Any = ABSENT, id: Any = ABSENT, name: Any = ABSENT) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    sent = {"index": index, "id": id, "type": "function"}
    kept = {key: value for key, value in sent.items() if value is not ABSENT}
    return {**kept, "function": {key: value for key, value in function.items() if value is not ABSENT}}


def asking(kind: Kind, *tools: str) -> bytes:
    """A request that offers these tools."""
    offered = ",".join(f'{{"type":"function","function":{{"name":"{name}"}}}}' for name in tools)
    return kind.stream.replace(b'"messages":[]', b'"messages":[],"tools":[%s]' % offered.encode())


def received(kind: Kind, deltas: Sequence[Any], *tools: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The calls of the answer, and those that the pieces make: names and arguments."""
    chunks = [one if isinstance(one, list) else [one] for one in deltas]
    replied = kind.streamed(*(chunk(tool_calls=calls) for calls in chunks), chunk("tool_calls"))
    pieces = kind.received(replied, asking(kind, *(tools or ("search", "get_weather"))))
    answer = pieces[-1]
    assert isinstance(answer, Answer)
    ids = [called.tool_call_id for called in answer.tool_calls]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    assert [piece.tool_call_id for piece in pieces if isinstance(piece, CallPiece) and piece.tool_call_id] == ids
    return [(called.name, called.arguments) for called in answer.tool_calls], shown(pieces)


def shown(pieces: Sequence[Piece]) -> list[tuple[str, str]]:
    found: dict[int, tuple[str, str]] = {}
    for piece in pieces:
        if isinstance(piece, CallPiece):
            name, arguments = found.get(piece.index, (piece.name or "", ""))
            found[piece.index] = name, arguments + piece.arguments
    return [found[index] for index in sorted(found)]


ONE = [("search", '{"q": "clew"}')]
TWO = [("search", '{"q": "a"}'), ("search", '{"q": "b"}')]
A, B = '{"q": "a"}', '{"q": "b"}'
BEGIN, GO, END = '{"q": ', '"clew', '"}'
