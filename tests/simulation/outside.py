"""The world outside the processes, which outlives them: what tools did, and a model that answers by the dice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson

from clew.engine.counting import tool_tokens
from clew.engine.tools import ServerTool, Toolbox, ToolCallInfo
from clew.errors import ProviderFailed
from clew.events.run import Tool
from clew.events.tool import SettledOutcome
from clew.events.usage import Usage
from clew.providers.base import Answer, CalledTool, CallPiece, Piece, TextPiece
from clew.providers.scripted import Scripted
from tests.simulation.history import History
from tests.simulation.loop import OWNER

_TOOL_SECONDS_MAX = 0.15
_SLOW_SECONDS = 0.6
_TIMEOUT_SECONDS = 0.3
# What the model uses, where it is billed: not quite as much of a prompt as is expected, and all of an answer.
_TOKENS_A_MESSAGE = 8
ANSWER_TOKENS = 48


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that a tool really did. `at` is the database's clock."""

    key: str
    tool: str
    process: str
    at: int


@dataclass
class Outside:
    """`calm`: nothing goes wrong any more, and the model comes to an end. `billed`: each of its answers is as long as
    it may be. `asked` is how often it was."""

    random: Random
    history: History
    now: Callable[[], int]
    deeds: list[Deed] = field(default_factory=list)
    calm: bool = False
    billed: bool = False
    made: int = 0
    asked: int = 0

    def do(self, info: ToolCallInfo, tool: str) -> str:
        owner = OWNER.get()
        assert owner is not None, "tools are called by processes"
        loop = asyncio.get_running_loop()
        self.deeds.append(Deed(info.idempotency_key, tool, owner.name, self.now()))
        self.history.note(loop.time(), f"{owner.name} does {tool} {info.idempotency_key} attempt {info.attempt}")
        return f"{tool} done"

    def next_call_id(self) -> str:
        self.made += 1
        return f"call_{self.made}"


OUTSIDE: ContextVar[Outside] = ContextVar("outside")


async def _somewhere(info: ToolCallInfo, tool: str, seconds_max: float = _TOOL_SECONDS_MAX) -> str:
    """A way there, the deed, and a way back."""
    outside = OUTSIDE.get()
    await asyncio.sleep(outside.random.random() * seconds_max)
    done = outside.do(info, tool)
    if outside.random.random() < 0.1:
        raise ValueError("the answer cannot be read")
    await asyncio.sleep(outside.random.random() * seconds_max)
    return done


def look(info: ToolCallInfo) -> str:
    return OUTSIDE.get().do(info, "look")


async def put(info: ToolCallInfo) -> str:
    return await _somewhere(info, "put")


async def pay(info: ToolCallInfo) -> str:
    return await _somewhere(info, "pay")


async def mail(info: ToolCallInfo) -> str:
    return await _somewhere(info, "mail")


async def ship(info: ToolCallInfo) -> str:
    return await _somewhere(info, "ship")


async def dial(info: ToolCallInfo) -> str:
    return await _somewhere(info, "dial", _SLOW_SECONDS)


def has_shipped(key: str) -> tuple[SettledOutcome, str]:
    outside = OUTSIDE.get()
    if outside.random.random() < 0.2:
        raise ValueError("the shipper does not answer")
    if any(deed.key == key for deed in outside.deeds):
        return "happened", "it was shipped"
    return "did_not_happen", ""


SERVER_TOOLS = (
    ServerTool("look", look, "pure"),
    ServerTool("put", put, "idempotent"),
    ServerTool("pay", pay, "once"),
    ServerTool("mail", mail, "once", in_doubt="tell_model"),
    ServerTool("ship", ship, "once", probe=has_shipped),
    ServerTool("dial", dial, "once", timeout_seconds=_TIMEOUT_SECONDS, in_doubt="tell_model"),
)
TOOLBOX = Toolbox(SERVER_TOOLS)
_CLIENT_TOOL = "fetch"
_NAMES = tuple(tool.name for tool in SERVER_TOOLS)
OFFERED = tuple(Tool(type="function", name=name) for name in (*_NAMES, _CLIENT_TOOL))
_TOKENS_OF_TOOLS = tool_tokens(OFFERED, "m")


class Model(Scripted):
    """Renders as the scripted one does; what it answers is chance."""

    def __init__(self, outside: Outside) -> None:
        super().__init__()
        self._outside = outside

    async def call(self, body: bytes) -> AsyncGenerator[Piece]:
        random, calm = self._outside.random, self._outside.calm
        self._outside.asked += 1
        await asyncio.sleep(random.random() * 0.05)
        luck = random.random()
        if not calm and luck < 0.08:
            raise ProviderFailed("simulated", code="rate_limit_exceeded", retryable=luck < 0.06)
        yield TextPiece("Well")
        await asyncio.sleep(random.random() * (1.5 if luck > 0.85 and not calm else 0.1))
        if not calm and luck < 0.12:
            raise ProviderFailed("simulated", code="broken_stream", retryable=True)
        answer = self._answer(body, [] if calm else self._calls())
        for index, call in enumerate(answer.tool_calls):
            yield CallPiece(index, call.tool_call_id, call.name, call.arguments)
        yield answer

    def _calls(self) -> list[str]:
        random = self._outside.random
        if random.random() < 0.4:
            return []
        return random.choices((*_NAMES, _CLIENT_TOOL), k=random.choice((1, 1, 2, 3)))

    def _answer(self, body: bytes, names: list[str]) -> Answer:
        cut = not self._outside.calm and self._outside.random.random() < 0.03
        calls = tuple(CalledTool(self._outside.next_call_id(), name, "{}") for name in names)
        return Answer(
            text="Well" if not calls else None,
            refusal=None,
            tool_calls=calls,
            reasoning=(),
            finish_reason="length" if cut else "tool_calls" if calls else "stop",
            model=str(orjson.loads(body)["model"]),
            usage=self._usage(orjson.loads(body)),
            usage_reported=None,
            provider_ids={},
        )

    def _usage(self, request: dict[str, Any]) -> Usage:
        if not self._outside.billed:
            return Usage(input=7, output=3)
        prompt = _TOKENS_OF_TOOLS + _TOKENS_A_MESSAGE * len(request["messages"])
        return Usage(input=prompt, output=request["max_completion_tokens"])
