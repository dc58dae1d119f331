"""A provider whose models are small plays: what a model does is decided by its name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import orjson

from clew.errors import ProviderFailed
from clew.events.content import plain_text
from clew.events.items import Item, MessageItem, ToolCallItem, ToolResultItem
from clew.events.usage import Usage
from clew.ids import new_id
from clew.providers.base import Answer, CalledTool, CallPiece, ModelInfo, Piece, Prompt, ReasoningPiece, TextPiece

USAGE = Usage(input=20, output=5, cached=4, reasoning=2)


def answer(
    text: str | None = None,
    calls: Sequence[CalledTool] = (),
    finish: str = "stop",
    refusal: str | None = None,
    reasoning: tuple[str, ...] = (),
    stop_sequence: str | None = None,
) -> Answer:
    reason = "tool_calls" if calls and finish == "stop" else finish
    said = (text, refusal, tuple(calls), reasoning, reason)
    return Answer(*said, "fake-1", USAGE, {"prompt_tokens": 20}, {}, stop_sequence=stop_sequence)


def call(name: str, arguments: str, tool_call_id: str | None = None) -> CalledTool:
    return CalledTool(tool_call_id or new_id("call"), name, arguments)


class Fake:
    """`sent` has the requests that were made of it, oldest first. `go` lets the model `waits` go on."""

    name = "fake"
    renderer = "fake/1"

    def __init__(self) -> None:
        self.sent: list[dict[str, object]] = []
        self.go = asyncio.Event()
        self.down = False
        self._broke: set[str] = set()

    def render(self, prompt: Prompt) -> bytes:
        config = prompt.config
        return orjson.dumps(
            {
                "model": config.model,
                "stream": config.stream,
                "instructions": config.instructions,
                "tools": [tool.name for tool in config.tools],
                "tool_choice": config.tool_choice.model_dump() if config.tool_choice else None,
                "temperature": config.sampling.temperature,
                "response_format": config.response_format,
                "items": [_item(item) for item in prompt.items],
            }
        )

    async def call(self, body: bytes) -> AsyncGenerator[Piece, None]:
        request = orjson.loads(body)
        self.sent.append(request)
        async for piece in self._play(request):
            if request["stream"] or isinstance(piece, Answer):
                yield piece

    async def _play(self, request: dict[str, object]) -> AsyncGenerator[Piece, None]:
        items = request["items"]
        assert isinstance(items, list)
        results = [item["output"] for item in items if item["kind"] == "result"]
        said = [item["text"] for item in items if item.get("role") == "user"]
        model = str(request["model"])
        match model:
            case "weather" | "two-tools" | "talks-and-calls" if not results:
                for piece in _calls(model):
                    yield piece
            case "looks-up" if not results:
                yield answer(calls=[call("look_up", '{"word":"clew"}')])
            case "pays" if not results:
                yield answer(calls=[call("pay", '{"amount":3}')])
            case "pays-and-asks" if not results:
                yield answer(calls=[call("pay", '{"amount":3}'), call("get_weather", '{"city":"Paris"}')])
            case "hands-over" if to := _next_agent(request):
                yield answer("Over to you.", calls=[call(to, "{}")])
            case "repeats":
                for piece in _text(f"You said: {said[-1]}"):
                    yield piece
            case "thinks":
                yield answer(
                    "I think so.", reasoning=('{"type":"thinking","thinking":[{"type":"text","text":"Hm."}]}',)
                )
            case "signs":
                for piece in signed():
                    yield piece
            case "signs-and-calls" if not results:
                for piece in signed(between=True):
                    yield piece
            case "long":
                yield TextPiece("It was a dark")
                yield answer("It was a dark", finish="length")
            case "stops":
                yield TextPiece("It was a dark")
                yield answer("It was a dark", stop_sequence=" and")
            case "refuses":
                yield answer(refusal="I would rather not.")
            case "fails":
                raise ProviderFailed("the provider says no", code="rate_limit_exceeded", retryable=False)
            case "breaks" | "breaks-once":
                once = model == "breaks-once"
                if not once or said[-1] not in self._broke:
                    self._broke.add(said[-1])
                    yield TextPiece("I was about")
                    raise ProviderFailed("the stream broke", code="broken_stream", retryable=once)
                for piece in _text("Whole again."):
                    yield piece
            case "waits":
                yield TextPiece("Well")
                await self.go.wait()
                yield TextPiece(", now.")
                yield answer("Well, now.")
            case _:
                for piece in _text(f"It is {' and '.join(results)}." if results else f"You said: {said[-1]}"):
                    yield piece

    async def models(self) -> list[ModelInfo]:
        if self.down:
            raise ProviderFailed("no route", code="server_error", retryable=True)
        return [ModelInfo("echo", 1_700_000_000, "tests")]

    async def close(self) -> None:
        """Nothing is open."""


THOUGHT = '{"type":"thinking","thinking":"Hm, hm.","signature":"c2lnbmVk"}'
SECRET = '{"type":"redacted_thinking","data":"c2VjcmV0"}'


def signed(*, between: bool = False) -> list[Piece]:
    """What a model of Anthropic's thinks, and says: with something secret in it, and a call, or plainly."""
    pieces: list[Piece] = [
        ReasoningPiece(begins=True),
        ReasoningPiece(text="Hm, "),
        ReasoningPiece(text="hm."),
        ReasoningPiece(signature="c2lnbmVk"),
        TextPiece("So"),
        TextPiece(" be it."),
    ]
    if not between:
        return [*pieces, answer("So be it.", reasoning=(THOUGHT,))]
    made = call("get_weather", '{"city":"Paris"}')
    said = '{"type":"text","text":"So be it."}'
    used = orjson.dumps({"type": "tool_use", "id": made.tool_call_id, "name": made.name, "input": {"city": "Paris"}})
    pieces += [ReasoningPiece(), CallPiece(0, made.tool_call_id, made.name), CallPiece(0, arguments=made.arguments)]
    return [*pieces, answer("So be it.", calls=[made], reasoning=(THOUGHT, said, SECRET, used.decode()))]


def _next_agent(request: dict[str, object]) -> str | None:
    tools = request["tools"]
    assert isinstance(tools, list)
    return next((name for name in tools if name.startswith("hand_over_to_")), None)


def _item(item: Item) -> dict[str, object]:
    match item:
        case MessageItem(role=role, content=content):
            return {"kind": "message", "role": role, "text": plain_text(content)}
        case ToolCallItem(name=name, arguments=arguments):
            return {"kind": "call", "name": name, "arguments": arguments}
        case ToolResultItem(output=output, is_error=is_error):
            return {"kind": "result", "output": output, "is_error": is_error}
        case _:
            return {"kind": "other"}


def _text(text: str) -> list[Piece]:
    words = text.split(" ")
    pieces: list[Piece] = [TextPiece(word if not index else f" {word}") for index, word in enumerate(words)]
    return [*pieces, answer(text)]


def _calls(model: str) -> list[Piece]:
    first = call("get_weather", '{"city":"Paris"}')
    second = call("get_weather", '{"city":"Rome"}')
    calls = [first, second] if model == "two-tools" else [first]
    pieces: list[Piece] = [TextPiece("Let me"), TextPiece(" look.")] if model == "talks-and-calls" else []
    for index, one in enumerate(calls):
        pieces.append(CallPiece(index, one.tool_call_id, one.name))
        pieces += [CallPiece(index, arguments=one.arguments[:8]), CallPiece(index, arguments=one.arguments[8:])]
    return [*pieces, answer("Let me look." if model == "talks-and-calls" else None, calls)]
