"""Answers that may be: what a run's events say of them, and the previews that are heard between those."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson

from clew.bus import AnswerDropped, CallPreview, Preview, ReasoningPreview, TextPreview
from clew.events.base import Event, Recorded
from clew.events.content import text
from clew.events.message import MessageAppended
from clew.events.model import (
    ContextAssembled,
    ContextTokens,
    Manifest,
    ModelAnswered,
    ModelCalled,
    ModelFailed,
    ReasoningRecorded,
)
from clew.events.run import (
    RunActionRequired,
    RunCancelled,
    RunCompleted,
    RunExpired,
    RunFailed,
    RunIncomplete,
    RunStarted,
)
from clew.events.tool import ToolCalled, ToolInDoubt, ToolReturned
from clew.events.usage import Usage

THREAD, RUN = "thread_06Z8ixdFfoDgvSh1Rx32mrga", "run_06Z8ixdFfoDgvSh1Rx32mrgb"
OF: dict[str, Any] = {"run_id": RUN, "fence": 1}
STEP, MESSAGE_STEP = "step_06Z8ixdFfoDgvSh1Rx32mrgc", "step_06Z8ixdFfoDgvSh1Rx32mrgd"
_WORDS = ("So", " be", " it", ".\n", " Ünd", " 'x'", ' "y"')
_TOKENS = ContextTokens(instructions=3, tools=0, items=9, exact=True)


def called(model_call_id: str, attempt: int = 1) -> ModelCalled:
    return ModelCalled(**OF, model_call_id=model_call_id, provider="anthropic", model="m", attempt=attempt)


def answered(model_call_id: str, finish: str = "stop", attempt: int = 1) -> ModelAnswered:
    about: dict[str, Any] = {"step_id": STEP, "model": "m", "duration_ms": 1.0, "usage": Usage(input=20, output=5)}
    return ModelAnswered(**OF, model_call_id=model_call_id, attempt=attempt, finish_reason=finish, **about)


def failed(model_call_id: str, *, final: bool, attempt: int = 1) -> ModelFailed:
    about: dict[str, Any] = {"code": "broken_stream", "message": "broke", "retryable": not final}
    return ModelFailed(**OF, model_call_id=model_call_id, attempt=attempt, final=final, **about)


def dropped(model_call_id: str) -> AnswerDropped:
    return AnswerDropped(RUN, model_call_id, f"msg_{model_call_id}", MESSAGE_STEP, STEP)


@dataclass
class Imagined:
    """`heard` in an order in which it may be heard. Each model call's answer is a list of blocks, in its order."""

    random: Random
    heard: list[Event | Preview] = field(default_factory=list)
    calls: int = 0
    # Whether something was shown of an answer that broke off: no stream can take it back.
    broke_off: bool = False

    def recorded(self) -> list[Recorded[Event]]:
        return [one for one in numbered(self.heard) if isinstance(one, Recorded)]

    def some(self, count: int) -> list[str]:
        return [self.random.choice(_WORDS) for _ in range(self.random.randrange(1, count + 1))]

    def model_call(self, *, last: bool) -> list[dict[str, Any]]:
        """One model call, with attempts that break off before it; gives the blocks that it came to."""
        call = f"mc_06Z8ixdFfoDgvSh1Rx32mr{self.calls:02}"
        self.calls += 1
        assembled = ContextAssembled(
            **OF, model_call_id=call, manifest=Manifest(shown=(), items=1), tokens=_TOKENS, renderer="r", digest="d"
        )
        self.heard.append(assembled)
        for attempt in range(1, self.random.choice((1, 1, 1, 2)) + 1):
            blocks = self.blocks(calls_server=not last)
            previews = list(self.previews(call, blocks))[: self.random.randrange(30)]
            early = self.random.randrange(2) if previews else 0
            self.heard += [*previews[:early], called(call, attempt), *previews[early:]]
            if self.random.random() < 0.15:
                self.heard += self.random.sample([dropped(call), failed(call, final=False, attempt=attempt)], 2)
                self.broke_off = self.broke_off or bool(previews)
                continue
            self.heard += self.answer(call, blocks, attempt)
            return blocks
        # The attempt that did not fail.
        self.heard += [called(call, 3), *self.answer(call, blocks, 3)]
        return blocks

    def blocks(self, *, calls_server: bool) -> list[dict[str, Any]]:
        """Thoughts, a text, calls: in that order, or in any, as models of Anthropic's may answer."""
        kinds = ["thinking"] * self.random.randrange(2) + ["text"] * self.random.randrange(2)
        kinds += ["tool_use"] * (self.random.randrange(1, 3) if calls_server else self.random.randrange(3))
        if self.random.random() < 0.4:
            kinds += self.random.choices(("thinking", "text", "redacted_thinking"), k=self.random.randrange(4))
            self.random.shuffle(kinds)
        server = self.random.randrange(len(kinds)) if calls_server else None
        kinds = kinds or ["text"]
        return [self.block(kind, by_server=calls_server and number == server) for number, kind in enumerate(kinds)]

    def block(self, kind: str, *, by_server: bool) -> dict[str, Any]:
        match kind:
            case "text":
                return {"type": "text", "text": "".join(self.some(6))}
            case "thinking":
                signature = "c2ln" * self.random.randrange(1, 4)
                return {"type": "thinking", "thinking": "".join(self.some(4)), "signature": signature}
            case "redacted_thinking":
                return {"type": "redacted_thinking", "data": "c2VjcmV0"}
            case _:
                id = f"toolu_{self.random.randrange(10**9):09}"
                arguments = self.random.choice(({}, {"city": "Paris"}, {"a": [1, {"b": None}], "ü": "\n"}))
                return {"type": "tool_use", "id": id, "name": "f", "input": arguments}

    def previews(self, call: str, blocks: list[dict[str, Any]]) -> Iterator[Preview]:
        """As a provider tells of them, and a relay passes them on: in pieces of any size."""
        before = None
        place = 0
        for block in blocks:
            match block["type"]:
                case "text":
                    if before == "text":
                        yield ReasoningPreview(RUN, call, "", "", begins=False)
                    for piece in self.pieces(block["text"]):
                        yield TextPreview(RUN, call, MESSAGE_STEP, f"msg_{call}", piece)
                case "thinking":
                    yield ReasoningPreview(RUN, call, "", "", begins=True)
                    for piece in self.pieces(block["thinking"]):
                        yield ReasoningPreview(RUN, call, piece, "", begins=False)
                    for piece in self.pieces(block["signature"]):
                        yield ReasoningPreview(RUN, call, "", piece, begins=False)
                case "tool_use":
                    yield CallPreview(RUN, call, STEP, place, block["id"], "f", "", for_client=self.is_clients(block))
                    for piece in self.pieces(written(block)):
                        yield CallPreview(RUN, call, STEP, place, None, None, piece, for_client=self.is_clients(block))
                    place += 1
                case _:
                    yield ReasoningPreview(RUN, call, "", "", begins=False)
            before = block["type"]

    def pieces(self, whole: str) -> Iterator[str]:
        while whole:
            size = self.random.randrange(1, 9)
            yield whole[:size]
            whole = whole[size:]

    def is_clients(self, block: dict[str, Any]) -> bool:
        """An even number is the client's, an odd one the server's."""
        return int(block["id"][-1]) % 2 == 0

    def answer(self, call: str, blocks: list[dict[str, Any]], attempt: int) -> list[Event]:
        """The events of an answer, in the order of the rules: reasoning, text, calls."""
        kinds = [block["type"] for block in blocks]
        uses = [block for block in blocks if block["type"] == "tool_use"]
        events: list[Event] = [answered(call, "tool_calls" if uses else "stop", attempt)]
        plain = [kind for kind in ("thinking", "text", "tool_use") for _ in range(kinds.count(kind))]
        order = kinds == plain and kinds.count("text") <= 1
        kept = [block for block in blocks if not order or block["type"] == "thinking"]
        if kept:
            raw = tuple(orjson.dumps(block).decode() for block in kept)
            events.append(
                ReasoningRecorded(**OF, model_call_id=call, item_id=f"rs_{call}", provider="anthropic", blocks=raw)
            )
        if said := "".join(block["text"] for block in blocks if block["type"] == "text"):
            about: dict[str, Any] = {"model_call_id": call, "step_id": MESSAGE_STEP}
            events.append(
                MessageAppended(message_id=f"msg_{call}", role="assistant", content=text(said), **OF, **about)
            )
        for block in uses:
            executor: Any = "client" if self.is_clients(block) else "server"
            about = {"step_id": STEP, "tool_call_id": block["id"], "name": "f", "arguments": written(block)}
            events.append(ToolCalled(**OF, model_call_id=call, executor=executor, **about))
        return events

    def results(self, blocks: list[dict[str, Any]]) -> None:
        for block in blocks:
            if block["type"] == "tool_use" and not self.is_clients(block):
                about: dict[str, Any] = {"step_id": STEP, "tool_call_id": block["id"], "output": "so", "duration_ms": 1}
                self.heard.append(ToolReturned(**OF, **about))

    def end(self, blocks: list[dict[str, Any]]) -> None:
        """What is under way ends, in whichever way it may."""
        mine = [block["id"] for block in blocks if block["type"] == "tool_use" and self.is_clients(block)]
        ends: list[Event] = [
            RunIncomplete(run_id=RUN, reason=self.random.choice(("steps", "max_completion_tokens"))),
            RunFailed(run_id=RUN, code="rate_limit_exceeded", message="no more"),
            RunCancelled(run_id=RUN),
            RunExpired(run_id=RUN),
            ToolInDoubt(**OF, step_id=STEP, tool_call_id="toolu_1", reason="died"),
        ]
        usual = RunActionRequired(**OF, tool_call_ids=tuple(mine)) if mine else RunCompleted(run_id=RUN)
        self.heard.append(usual if self.random.random() < 0.7 else self.random.choice(ends))


def written(block: dict[str, Any]) -> str:
    """A model's own way to write its arguments."""
    return orjson.dumps(block["input"], option=orjson.OPT_INDENT_2).decode()


def imagined(random: Random) -> Imagined:
    """A run from its start to its end."""
    made = Imagined(random, [RunStarted(**OF, worker="w", attempt=1, lease_seconds=30.0)])
    for left in range(random.randrange(1, 4) - 1, -1, -1):
        blocks = made.model_call(last=not left)
        made.results(blocks)
    made.end(blocks)
    return made


def numbered(heard: list[Event | Preview], first: int = 3) -> list[Recorded[Event] | Preview]:
    """Recorded events as the log has them, numbered as they come."""
    found: list[Recorded[Event] | Preview] = []
    version = first - 1
    for one in heard:
        if isinstance(one, Event):
            version += 1
            found.append(Recorded(version, THREAD, version, version * 1_000_000, None, one))
        else:
            found.append(one)
    return found
