"""Conversations for the bill: real contexts under all kinds of truncation, with answers that have a price.

The desk and the assembling of contexts are the real ones; only the model is played, so that its usage is known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any, cast

from clew.engine.context import Context, ContextTooLarge, assemble
from clew.engine.counting import new_message, text_tokens
from clew.events import ThreadStreamEvent
from clew.events.content import text
from clew.events.message import MessageAppended
from clew.events.model import ModelCalled
from clew.events.run import RunConfig, Truncation
from clew.events.usage import NO_USAGE, Usage
from clew.prices import Override, Prices
from clew.rules import commands as c
from clew.rules import model_commands as m
from clew.rules import parts as p
from clew.rules.state import Thread
from clew.rules.thread import thread_rules
from clew_projections import thread_view
from tests.projections.living import House
from tests.rules.example import CLAIM

# Prices that do not come out even.
PRICES = Prices(
    (
        Override(
            table="talk/1",
            provider="scripted",
            model="m*",
            since=None,
            when={},
            prices={"input": Decimal("2.7"), "cache_read": Decimal("0.27"), "output": Decimal("10.3")},
        ),
    )
)


@dataclass
class Talk:
    """One thread of a house. `fresh` numbers whatever is new."""

    house: House
    thread_id: str
    random: Random
    fresh: int = 0
    runs: list[str] = field(default_factory=list)

    def _new(self, prefix: str) -> str:
        self.fresh += 1
        return f"{prefix}_{self.thread_id}x{self.fresh}"

    async def do(self, command: Any, *, new: bool = False) -> None:
        await self.house.desk.on_thread(self.thread_id, lambda: command, new=new)

    async def begin(self) -> Talk:
        await self.do(
            c.CreateThread(thread_id=self.thread_id, tenant="acme", dialect="test", metadata={}, tool_resources={}),
            new=True,
        )
        await self.say()
        return self

    async def say(self, words: int | None = None) -> None:
        said = "word " * (words if words is not None else self.random.randrange(1, 60))
        await self.do(c.AppendMessages(thread_id=self.thread_id, messages=(new_message("user", text(said)),)))

    def rows(self) -> list[thread_view.ItemRow]:
        with self.house.log.reading() as reader:
            history = thread_view.segments(reader, self.thread_id)
            return list(thread_view.walk(reader, history, newest_first=False))

    async def change(self) -> None:
        """Edit or remove a message, or a tool's result; inherited ones, too."""
        rows = [row for row in self.rows() if row.kind in ("message", "result")]
        if not rows:
            return
        row, words = self.random.choice(rows), "other " * self.random.randrange(1, 60)
        if row.kind == "result":
            await self.do(
                c.ReplaceToolOutput(
                    thread_id=self.thread_id,
                    tool_call_id=row.item_id,
                    output=words,
                    is_error=False,
                    had_result=True,
                    tokens=text_tokens(words),
                    tokens_before=row.tokens,
                )
            )
        elif self.random.random() < 0.3 and len(rows) > 2:
            role = self._role(row)
            await self.do(
                c.RemoveMessage(thread_id=self.thread_id, message_id=row.item_id, role=role, tokens=row.tokens)
            )
        else:
            await self.do(
                c.EditMessage(
                    thread_id=self.thread_id,
                    message_id=row.item_id,
                    content=text(words),
                    tokens=text_tokens(words),
                    tokens_before=row.tokens,
                )
            )

    def _role(self, row: thread_view.ItemRow) -> Any:
        with self.house.log.reading() as reader:
            event = reader.event(row.created).event
        assert isinstance(event, MessageAppended)
        return event.role

    def config(self) -> RunConfig:
        n = self.random.choice((1, 3, 40, 200))
        strategy: Any = self.random.choice(("auto", "last_messages", "token_budget", "clear_tool_results", "none"))
        numbered = strategy in ("last_messages", "token_budget", "clear_tool_results")
        return RunConfig(
            provider="scripted",
            model=self.random.choice(("m1", "m2", "unknown")),
            asked_model="m",
            instructions=self.random.choice(("", "Be kind, and brief.")),
            truncation=Truncation(strategy=strategy, n=n if numbered else None),
        )

    async def run(self, config: RunConfig | None = None, calls: int | None = None) -> None:
        """Some model calls, all but the last with tool calls; now and then one fails first, billed or lost."""
        run_id, config = self._new("run"), config or self.config()
        self.runs.append(run_id)
        await self.do(
            c.QueueRun(
                thread_id=self.thread_id,
                run_id=run_id,
                dialect="test",
                config=config,
                expires_at=None,
                metadata={"user": self.random.choice(("ada", "bob"))},
            )
        )
        fence = 0
        left = calls if calls is not None else self.random.choice((1, 1, 2, 3))
        while left:
            context = self._assembled(config)
            if context is None:
                await self._give_up(run_id, fence)
                return
            await self._call(run_id, fence, config, context)
            fence = fence or 1
            left -= 1
            if calls is None and self.random.random() < 0.25:
                await self._fail(run_id, fence, config, context)
            await self._answer(run_id, fence, config, context, tools=bool(left))
            if left:
                await self._submit(run_id)
                await self.do(c.StartRun(thread_id=self.thread_id, run_id=run_id, fence=fence, claim=CLAIM))
                fence += 1

    def _assembled(self, config: RunConfig) -> Context | None:
        with self.house.log.reading() as reader:
            try:
                return assemble(reader, self.thread_id, self.house.desk.thread(self.thread_id), config, NO_USAGE, None)
            except ContextTooLarge:
                return None

    async def _give_up(self, run_id: str, fence: int) -> None:
        if not fence:
            await self.do(c.StartRun(thread_id=self.thread_id, run_id=run_id, fence=0, claim=CLAIM))
        failure = c.FailRun(
            thread_id=self.thread_id, run_id=run_id, fence=fence or 1, code="invalid_prompt", message="too large"
        )
        await self.do(failure)

    async def _call(self, run_id: str, fence: int, config: RunConfig, context: Context) -> None:
        await self.do(
            m.BeginModelCall(
                thread_id=self.thread_id,
                run_id=run_id,
                fence=fence,
                claim=None if fence else CLAIM,
                model_call_id=self._new("mc"),
                provider=config.provider,
                model=config.model,
                manifest=context.manifest,
                tokens=context.tokens,
                renderer="scripted/1",
                digest="d",
                max_output_tokens=context.max_output_tokens,
                cut=context.cut,
            )
        )

    def _used(self, context: Context, config: RunConfig) -> dict[str, Any]:
        """The provider counts a little otherwise than we do, and has some of it in its cache."""
        given = context.tokens.total + self.random.randrange(1, 9)
        usage = Usage(input=given, cached=self.random.choice((0, given // 3)), output=self.random.randrange(1, 90))
        return {"usage": usage, "price": PRICES.price(config.provider, config.model, usage, 1)}

    async def _fail(self, run_id: str, fence: int, config: RunConfig, context: Context) -> None:
        lost = self.random.random() < 0.5
        await self.do(
            m.FailModelCall(
                thread_id=self.thread_id,
                run_id=run_id,
                fence=fence,
                code="lost" if lost else "timeout",
                message="no answer",
                retryable=True,
                final=False,
                usage_unknown=lost,
                **({} if lost else self._used(context, config)),
            )
        )
        call = self._model_call_id()
        await self.do(
            m.RetryModelCall(
                thread_id=self.thread_id,
                run_id=run_id,
                fence=fence,
                model_call_id=call,
                provider=config.provider,
                model=config.model,
            )
        )

    def _model_call_id(self) -> str:
        with self.house.log.reading() as reader:
            (newest,) = reader.stream(self.thread_id, kinds=("model.called",), newest_first=True, limit=1)
        assert isinstance(newest.event, ModelCalled)
        return newest.event.model_call_id

    async def _answer(self, run_id: str, fence: int, config: RunConfig, context: Context, *, tools: bool) -> None:
        said = "so " * self.random.randrange(1, 40)
        step = self._new("step")
        call = p.AnsweredCall(
            tool_call_id=self._new("call"),
            step_id=step,
            name="look",
            arguments="{}",
            executor="client",
            tokens=text_tokens("look {}"),
        )
        message = p.AnsweredMessage(
            message_id=self._new("msg"),
            step_id=self._new("step"),
            content=text(said),
            assistant_id=None,
            tokens=text_tokens(said),
        )
        await self.do(
            m.RecordAnswer(
                thread_id=self.thread_id,
                run_id=run_id,
                fence=fence,
                model_call_id=self._model_call_id(),
                step_id=step if tools else message.step_id,
                model=config.model,
                finish_reason="tool_calls" if tools else "stop",
                usage_reported=None,
                provider_ids={},
                first_token_ms=None,
                duration_ms=1.0,
                reasoning=None,
                message=None if tools else message,
                calls=(call,) if tools else (),
                **self._used(context, config),
            )
        )

    async def _submit(self, run_id: str) -> None:
        run = self.house.desk.thread(self.thread_id).run
        assert run is not None
        outputs = []
        for call in run.unanswered:
            said = "found " * self.random.randrange(1, 120)
            outputs.append(p.ToolOutput(tool_call_id=call.tool_call_id, output=said, tokens=text_tokens(said)))
        await self.do(
            c.SubmitToolOutputs(thread_id=self.thread_id, run_id=run_id, outputs=tuple(outputs), past_status=None)
        )

    async def fork(self, thread_id: str) -> Talk:
        """From any of its versions at which no run was under way."""
        with self.house.log.reading() as reader:
            events = reader.stream(self.thread_id)
        states: list[Thread] = [thread_rules.initial]
        for recorded in events:
            states.append(thread_rules.evolve(states[-1], cast("ThreadStreamEvent", recorded.event)))
        version = self.random.choice([n for n, state in enumerate(states) if n and state.run is None])
        child = Talk(self.house, thread_id, self.random)
        fork = c.ForkThread(
            thread_id=thread_id,
            parent=self.thread_id,
            parent_version=version,
            parent_position=events[version - 1].position,
            inherited=states[version],
            dialect="test",
            metadata={},
            tool_resources={},
        )
        await child.do(fork, new=True)
        return child


async def hold(house: House, random: Random, turns: int) -> list[Talk]:
    """A few threads, some of them forks, that people talk on, edit and let run."""
    talks = [await Talk(house, "talk0", random).begin()]
    for turn in range(1, turns + 1):
        talk = random.choice(talks)
        chance = random.random()
        if chance < 0.1 and len(talks) < 4:
            talks.append(await talk.fork(f"talk{turn}"))
        elif chance < 0.35:
            await talk.change()
        elif chance < 0.6:
            await talk.say()
        else:
            await talk.say()
            await talk.run()
    return talks
