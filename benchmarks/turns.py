"""The turns that the benchmarks append, as messages one by one or as runs, and the text that they are made of.

A turn is a question of 200 characters and an answer of 600; every third turn calls a tool whose result has 1 KB.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clew.desk import Desk
from clew.engine.counting import new_message, text_tokens
from clew.events.content import text
from clew.events.message import Role
from clew.events.model import ContextTokens, ItemRange, Manifest
from clew.events.run import RunConfig, Tool
from clew.events.usage import Usage
from clew.ids import new_id
from clew.rules.commands import AppendMessages, CreateThread, QueueRun, SubmitToolOutputs, ThreadCommand
from clew.rules.model_commands import BeginModelCall, RecordAnswer
from clew.rules.parts import AnsweredCall, AnsweredMessage, Claim, ToolOutput

QUESTION_CHARS = 200
ANSWER_CHARS = 600
RESULT_CHARS = 1_024
TOOL_EVERY = 3
MESSAGES_A_TURN_MAX = 4
_VARIANTS = 256

_VOCABULARY = (
    "the of and to in that is was he for it with as his on be at by had not are but from or have an they which one you "
    "were her all she there would their we him been has when who will more no if out so said what up its about into "
    "than them can only other new some could time these two may then do first any my now such like our over man me "
    "even most made after also did many before must through back years where much your way well down should because "
    "each just those people how too little state good very make world still own see men work long get here between "
    "both life being under never day same another know while last might us great old year off come since against go "
    "came right used take three flight booking reservation passenger airline airport departure arrival ticket refund "
    "baggage economy business cabin seat payment certificate gift card insurance membership gold silver regular "
    "cancel change upgrade confirm policy itinerary connection delayed weather Boston Seattle Chicago Tuesday morning "
    "user account address number total cost dollars available options cheapest direct request please thank you"
)
_WORDS = _VOCABULARY.split()


@dataclass(frozen=True, slots=True)
class Texts:
    """Enough variants of each text that no two neighbours are the same."""

    questions: Sequence[str]
    answers: Sequence[str]
    arguments: Sequence[str]
    results: Sequence[str]


def make_texts(seed: int = 7) -> Texts:
    chance = random.Random(seed)
    return Texts(
        questions=[_prose(chance, QUESTION_CHARS) for _ in range(_VARIANTS)],
        answers=[_prose(chance, ANSWER_CHARS) for _ in range(_VARIANTS)],
        arguments=[_arguments(chance) for _ in range(_VARIANTS)],
        results=[_result(chance) for _ in range(_VARIANTS)],
    )


def _prose(chance: random.Random, chars: int) -> str:
    """Sentences, so that tokens are counted in the time that real text takes."""
    said: list[str] = []
    length = 0
    while length < chars:
        words = chance.choices(_WORDS, k=chance.randint(6, 16))
        sentence = f"{' '.join(words).capitalize()}{chance.choice('...?!')}"
        said.append(sentence)
        length += len(sentence) + 1
    return " ".join(said)[:chars]


def _arguments(chance: random.Random) -> str:
    origin, destination = chance.sample(["BOS", "SEA", "ORD", "JFK", "LAX", "DEN"], 2)
    return json.dumps({"origin": origin, "destination": destination, "date": f"2024-05-{chance.randint(10, 31)}"})


def _result(chance: random.Random) -> str:
    flights = [
        {
            "flight_number": f"HAT{chance.randint(100, 299)}",
            "status": "available",
            "departs": f"{chance.randint(0, 23):02}:{chance.randint(0, 59):02}:00",
            "prices": {"economy": chance.randint(80, 300), "business": chance.randint(300, 900)},
            "note": _prose(chance, 60),
        }
        for _ in range(9)
    ]
    return json.dumps(flights)[:RESULT_CHARS]


def messages(texts: Texts, turn: int) -> Iterator[tuple[Role, str]]:
    """A turn as messages, each to be appended by itself. The call and its result are messages of the assistant."""
    place = turn % _VARIANTS
    yield "user", texts.questions[place]
    if turn % TOOL_EVERY == 0:
        yield "assistant", texts.arguments[place]
        yield "assistant", texts.results[place]
    yield "assistant", texts.answers[place]


async def begin(desk: Desk) -> str:
    """A new thread."""
    thread_id = new_id("thread")
    command = CreateThread(thread_id=thread_id, tenant="default", dialect="clew", metadata={}, tool_resources={})
    await desk.on_thread(thread_id, lambda: command, new=True)
    return thread_id


async def say(desk: Desk, thread_id: str, *said: tuple[Role, str]) -> None:
    """Append messages in one command. Their tokens are counted here, as at the edge of a server."""

    def make() -> AppendMessages:
        new = tuple(new_message(role, text(what)) for role, what in said)
        return AppendMessages(thread_id=thread_id, messages=new)

    await desk.on_thread(thread_id, make, actor="benchmark")


_SEARCH = Tool(
    type="function",
    name="search_direct_flight",
    description="Search direct flights between two cities on a date.",
    parameters={
        "type": "object",
        "properties": {"origin": {"type": "string"}, "destination": {"type": "string"}, "date": {"type": "string"}},
        "required": ["origin", "destination", "date"],
    },
)
_CONFIG = RunConfig(
    provider="benchmark",
    model="gpt-4o",
    asked_model="gpt-4o",
    instructions="You are an airline's agent. Be short and exact. Search before you promise.",
    tools=(_SEARCH,),
)
_DIGEST = "0" * 64


@dataclass(slots=True)
class RunTurn:
    """A turn driven through the rules as the worker drives it; no model is called and no context assembled."""

    thread_id: str
    texts: Texts
    turn: int
    run_id: str = ""
    fence: int = 0
    model_call_id: str = ""

    async def play(self, desk: Desk) -> int:
        """Gives the number of appends that it took."""
        count = 0
        for command in self.commands():
            await self._do(desk, command)
            count += 1
        return count

    async def _do(self, desk: Desk, command: ThreadCommand) -> None:
        done = await desk.on_thread(self.thread_id, lambda: command, actor="benchmark")
        assert done.events, f"{type(command).__name__} came to nothing"

    def commands(self) -> Iterator[ThreadCommand]:
        place = self.turn % _VARIANTS
        self.run_id = new_id("run")
        question = new_message("user", text(self.texts.questions[place]))
        yield AppendMessages(thread_id=self.thread_id, messages=(question,))
        yield QueueRun(
            thread_id=self.thread_id, run_id=self.run_id, dialect="clew", config=_CONFIG, expires_at=None, metadata={}
        )
        if self.turn % TOOL_EVERY == 0:
            yield self._begin_model_call()
            call = self._call(self.texts.arguments[place])
            yield self._answer(None, (call,))
            result = self.texts.results[place]
            output = ToolOutput(tool_call_id=call.tool_call_id, output=result, tokens=text_tokens(result))
            yield SubmitToolOutputs(thread_id=self.thread_id, run_id=self.run_id, outputs=(output,), past_status=None)
        yield self._begin_model_call()
        yield self._answer(self._message(self.texts.answers[place]), ())

    def _begin_model_call(self) -> BeginModelCall:
        self.model_call_id = new_id("mc")
        command = BeginModelCall(
            thread_id=self.thread_id,
            run_id=self.run_id,
            fence=self.fence,
            claim=Claim(worker="benchmark", lease_seconds=30.0),
            model_call_id=self.model_call_id,
            provider="benchmark",
            model="gpt-4o",
            manifest=Manifest(shown=(ItemRange(stream=self.thread_id, first=2, last=40),), items=20),
            tokens=ContextTokens(instructions=20, tools=60, items=2_000, exact=False),
            renderer="benchmark/1",
            digest=_DIGEST,
            max_output_tokens=None,
            cut=None,
        )
        self.fence += 1
        return command

    def _call(self, arguments: str) -> AnsweredCall:
        return AnsweredCall(
            tool_call_id=new_id("call"),
            step_id=new_id("step"),
            name=_SEARCH.name,
            arguments=arguments,
            executor="client",
            tokens=text_tokens(_SEARCH.name + arguments),
        )

    def _message(self, said: str) -> AnsweredMessage:
        return AnsweredMessage(
            message_id=new_id("msg"),
            step_id=new_id("step"),
            content=text(said),
            assistant_id=None,
            tokens=text_tokens(said),
        )

    def _answer(self, message: AnsweredMessage | None, calls: tuple[AnsweredCall, ...]) -> RecordAnswer:
        return RecordAnswer(
            thread_id=self.thread_id,
            run_id=self.run_id,
            fence=self.fence,
            model_call_id=self.model_call_id,
            step_id=message.step_id if message is not None else calls[0].step_id,
            model="gpt-4o-2024-08-06",
            finish_reason="stop" if message is not None else "tool_calls",
            usage=Usage(input=2_080, output=130),
            usage_reported={"prompt_tokens": 2_080, "completion_tokens": 130, "total_tokens": 2_210},
            provider_ids={"response": "chatcmpl-benchmark"},
            first_token_ms=310.5,
            duration_ms=1_210.25,
            reasoning=None,
            message=message,
            calls=calls,
        )
