"""Commands that a thread may be given: mostly sensible ones, now and then a stale or a senseless one.

Facts that come in with a command (which messages there are, how a run ended) are true, as the edge makes sure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from random import Random
from typing import Any, TypeAlias

from clew.events import Event
from clew.events.content import text
from clew.events.message import MessageAppended, MessageEdited, MessageRemoved, Role
from clew.events.model import ContextTokens, ItemRange, LeftOut, Manifest, Summarising
from clew.events.run import Limits, RunConfig, RunOver, RunQueued, Truncation
from clew.events.thread import ThreadSettings
from clew.events.tool import Effect, SettledOutcome, ToolCalled, ToolImported, ToolReplaced, ToolReturned
from clew.events.usage import Usage
from clew.prices import Override, Prices
from clew.rules import commands as c
from clew.rules import model_commands as m
from clew.rules import parts as p
from clew.rules.contexts import Cut
from clew.rules.state import ActiveRun, Thread
from tests.rules.budgeting import budget_command
from tests.rules.example import CLAIM, tokens
from tests.rules.imagining_calls import answered_calls, hand_off, new_items, submission, summary

_LATER = 10**9
# The model `m` has a price, `n` has none.
_PRICES = Prices(
    (
        Override(
            table="imagined/1",
            provider="scripted",
            model="m",
            since=None,
            when={},
            prices={"input": Decimal("2.5"), "cache_read": Decimal("1.25"), "output": Decimal("10.000001")},
        ),
    )
)
SUMMARISING = Summarising(form="summary/1", tokens=9, limit=50, limit_name="context_tokens")
Maker: TypeAlias = Callable[[Thread], c.ThreadCommand]


@dataclass
class World:
    """What the edge knows of one thread: its messages, its runs and how they ended, the calls that were made."""

    thread_id: str
    random: Random
    messages: dict[str, tuple[Role, int]] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    results: dict[str, int] = field(default_factory=dict)
    made: int = 0
    stored: bool = True

    def new_id(self, prefix: str) -> str:
        self.made += 1
        return f"{prefix}_{self.thread_id}x{self.made}"

    def note(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case MessageAppended(message_id=id, role=role, tokens=counted):
                    self.messages[id] = (role, counted.count if counted is not None else 0)
                case MessageEdited(message_id=id, tokens=counted):
                    self.messages[id] = (self.messages[id][0], counted.count if counted is not None else 0)
                case MessageRemoved(message_id=id):
                    del self.messages[id]
                case RunQueued(run_id=id):
                    self.runs[id] = "active"
                case RunOver(run_id=id):
                    self.runs[id] = event.kind.removeprefix("run.")
                case ToolCalled(tool_call_id=id) | ToolImported(tool_call_id=id):
                    self.calls.append(id)
                case ToolReturned(tool_call_id=id, tokens=counted) | ToolReplaced(tool_call_id=id, tokens=counted):
                    self.results[id] = counted.count if counted is not None else 0
                case _:
                    pass

    def command(self, thread: Thread) -> c.ThreadCommand:
        on_thread = [self._append, self._append, self._queue, self._queue, self._change, self._message]
        on_run = [self._life, self._model, self._tool, self._outputs]
        makers: Sequence[Callable[[Thread], c.ThreadCommand]]
        if thread.run is None:
            makers = on_thread if self.random.random() < 0.85 else on_run
        elif self.random.random() < 0.75:
            makers = [self._next_on(thread.run)]
        else:
            makers = on_run if self.random.random() < 0.7 else on_thread
        return self.random.choice(makers)(thread)

    def _next_on(self, run: ActiveRun) -> Maker:
        """What would bring the run on."""
        if run.status == "cancelling":
            return self._life
        if run.status == "requires_action":
            return self._outputs
        return self._tool if run.unanswered else self._model

    def create(self) -> c.CreateThread:
        return c.CreateThread(
            thread_id=self.thread_id,
            tenant="acme",
            dialect="openai",
            metadata=self._metadata(),
            tool_resources={},
            messages=new_items(self.random, self.new_id),
            settings=self.random.choice((None, ThreadSettings(model="m"))),
            stored=self.stored,
        )

    def _metadata(self) -> dict[str, str]:
        return {label: self.random.choice("xyz") for label in "ab" if self.random.random() < 0.5}

    def _append(self, thread: Thread) -> c.ThreadCommand:
        return c.AppendMessages(thread_id=self.thread_id, messages=new_items(self.random, self.new_id))

    def _config(self) -> RunConfig:
        limits = Limits(completion_tokens=self.random.choice((None, 20)), steps=self.random.choice((None, 2)))
        return RunConfig(
            assistant_id=self.random.choice((None, "asst_1", "asst_2")),
            provider="scripted",
            model="m",
            asked_model="m",
            instructions=self.random.choice(("", "Be kind.")),
            limits=limits,
        )

    def _queue(self, thread: Thread) -> c.ThreadCommand:
        waiting = thread.run is not None and thread.run.status == "requires_action"
        return c.QueueRun(
            thread_id=self.thread_id,
            run_id=self.new_id("run"),
            dialect="openai",
            config=self._config(),
            instead_of=thread.run.run_id if thread.run is not None and waiting else None,
            expires_at=self.random.choice((None, _LATER)),
            metadata=self._metadata(),
            additional_messages=new_items(self.random, self.new_id),
        )

    def _change(self, thread: Thread) -> c.ThreadCommand:
        if self.random.random() < 0.1:
            return c.DeleteThread(thread_id=self.thread_id)
        if self.random.random() < 0.1:
            settings = ThreadSettings(model=self.random.choice("mn"))
            return c.ConfigureThread(thread_id=self.thread_id, settings=settings)
        if self.runs and self.random.random() < 0.4:
            run_id = self.random.choice(list(self.runs))
            return c.ChangeRun(thread_id=self.thread_id, run_id=run_id, metadata=self._metadata())
        return c.ChangeThread(
            thread_id=self.thread_id,
            metadata=self.random.choice((None, self._metadata())),
            tool_resources={"r": 1} if self.random.random() < 0.5 else None,
            truncation=self.random.choice((None, None, "default", Truncation(strategy="none"))),
        )

    def _message(self, thread: Thread) -> c.ThreadCommand:
        if not self.messages:
            return self._append(thread)
        id = self.random.choice(list(self.messages))
        role, count = self.messages[id]
        if self.results and self.random.random() < 0.2:
            return self._replace_output()
        return self.random.choice(
            (
                c.ChangeMessage(thread_id=self.thread_id, message_id=id, metadata=self._metadata()),
                c.EditMessage(
                    thread_id=self.thread_id,
                    message_id=id,
                    content=text("new"),
                    tokens=tokens(self.random.randrange(30)),
                    tokens_before=count,
                ),
                c.RemoveMessage(thread_id=self.thread_id, message_id=id, role=role, tokens=count),
            )
        )

    def _replace_output(self) -> c.ThreadCommand:
        call = self.random.choice(list(self.results))
        return c.ReplaceToolOutput(
            thread_id=self.thread_id,
            tool_call_id=call,
            output="otherwise",
            is_error=self.random.random() < 0.5,
            had_result=True,
            tokens=tokens(self.random.randrange(30)),
            tokens_before=self.results[call],
        )

    def _run_id(self, thread: Thread) -> str:
        if thread.run is not None and self.random.random() < 0.95:
            return thread.run.run_id
        return self.random.choice(["run_never", *self.runs])

    def _fence(self, thread: Thread) -> int:
        newest = thread.run.fence if thread.run is not None else 0
        return newest if self.random.random() < 0.93 else max(0, newest - 1)

    def _past(self, run_id: str) -> str | None:
        past = self.runs.get(run_id)
        return None if past == "active" else past

    def _life(self, thread: Thread) -> c.ThreadCommand:
        run_id, fence, choice = self._run_id(thread), self._fence(thread), self.random.randrange(12)
        here = self.thread_id
        if choice < 5:
            return c.StartRun(thread_id=here, run_id=run_id, fence=fence, claim=CLAIM)
        if choice < 6:
            return c.RequestCancel(thread_id=here, run_id=run_id, past_status=self._past(run_id))
        if choice < 9:
            return c.FinishCancel(thread_id=here, run_id=run_id)
        if choice < 10:
            return c.ExpireRun(thread_id=here, run_id=run_id, now=self.random.choice((1, _LATER)))
        if choice < 11:
            return c.FailRun(thread_id=here, run_id=run_id, fence=fence, code="server_error", message="broken")
        return c.EndIncomplete(thread_id=here, run_id=run_id, fence=fence, reason="steps")

    def _model(self, thread: Thread) -> c.ThreadCommand:
        run = thread.run
        waiting = run is not None and run.model_call is not None and run.model_call.waiting
        failed = run is not None and run.model_call is not None and not waiting
        if self.random.random() < 0.15:
            return budget_command(self.random, self.thread_id, self._run_id(thread), self._fence(thread), until=_LATER)
        choice = self.random.randrange(10)
        if waiting and choice < 7:
            return self._answer(thread)
        if waiting and choice < 9:
            return self._model_failure(thread)
        if failed and choice < 5:
            return m.RetryModelCall(
                thread_id=self.thread_id,
                run_id=self._run_id(thread),
                fence=self._fence(thread),
                model_call_id="mc_1",
                provider="scripted",
                model="m",
            )
        return self._begin(thread)

    def _begin(self, thread: Thread) -> c.ThreadCommand:
        queued = thread.run is not None and thread.run.status == "queued"
        cut = None
        if self.random.random() < 0.3:
            left = LeftOut(items=ItemRange(stream=self.thread_id, first=1, last=1), reason="max_prompt_tokens")
            cut = Cut(
                strategy="auto",
                left_out=(left,),
                items=1,
                tokens_before=9,
                tokens_after=1,
                limit=5,
                limit_name="max_prompt_tokens",
            )
        return m.BeginModelCall(
            thread_id=self.thread_id,
            run_id=self._run_id(thread),
            fence=self._fence(thread),
            claim=CLAIM if queued != (self.random.random() < 0.05) else None,
            model_call_id=self.new_id("mc"),
            provider="scripted",
            model=self.random.choice("mn"),
            manifest=Manifest(shown=(), items=0),
            tokens=ContextTokens(instructions=self.random.randrange(9), tools=0, items=0, exact=True),
            renderer="scripted/1",
            digest="d",
            max_output_tokens=None,
            cut=cut,
            summarises=SUMMARISING if self.random.random() < 0.2 else None,
            changes=thread.changes if self.random.random() < 0.9 else thread.changes + 1,
        )

    def _model_failure(self, thread: Thread) -> c.ThreadCommand:
        final, usage = self.random.random() < 0.3, self._usage()
        return m.FailModelCall(
            thread_id=self.thread_id,
            run_id=self._run_id(thread),
            fence=self._fence(thread),
            code="timeout",
            message="no answer",
            retryable=not final,
            final=final,
            usage_unknown=usage is None and self.random.random() < 0.5,
            **self._used(usage, "m"),
        )

    def _usage(self) -> Usage | None:
        if self.random.random() < 0.2:
            return None
        given = self.random.randrange(1, 2_000)
        return Usage(input=given, cached=self.random.choice((0, given // 2)), output=self.random.randrange(300))

    def _used(self, usage: Usage | None, model: str) -> dict[str, Any]:
        price = _PRICES.price("scripted", model, usage, 1, {}) if usage is not None else None
        return {"usage": usage, "price": price}

    def _answer(self, thread: Thread) -> c.ThreadCommand:
        step, run = self.new_id("step"), thread.run
        asked = run.model_call.purpose if run is not None and run.model_call is not None else "answer"
        if (asked == "summary") == (self.random.random() < 0.9):
            call = run.model_call.model_call_id if run is not None and run.model_call is not None else "mc_1"
            return summary(self.random, self.new_id, self.thread_id, self._run_id(thread), self._fence(thread), call)
        calls = answered_calls(self.random, self.new_id, step)
        message = p.AnsweredMessage(
            message_id=self.new_id("msg"),
            step_id=self.new_id("step"),
            content=text("Hi"),
            assistant_id=None,
            tokens=tokens(2),
        )
        model = self.random.choice("mmn")
        has_message = not calls or self.random.random() < 0.5
        thought = p.AnsweredReasoning(item_id=self.new_id("rs"), provider="scripted", blocks=('{"a":1}',))
        return m.RecordAnswer(
            thread_id=self.thread_id,
            run_id=self._run_id(thread),
            fence=self._fence(thread),
            model_call_id=run.model_call.model_call_id if run is not None and run.model_call is not None else "mc_1",
            step_id=step if calls else message.step_id,
            model=model,
            finish_reason=self.random.choice(("stop", "stop", "stop", "stop", "length", "content_filter")),
            **self._used(self._usage(), model),
            usage_reported=None,
            provider_ids={},
            first_token_ms=None,
            duration_ms=1.0,
            reasoning=self.random.choice((None, thought)),
            message=message if has_message else None,
            calls=calls,
        )

    def _call_id(self, thread: Thread) -> str:
        if thread.run is not None and thread.run.calls and self.random.random() < 0.95:
            return self.random.choice(thread.run.calls).tool_call_id
        return self.random.choice(["call_never", *self.calls])

    def _tool(self, thread: Thread) -> c.ThreadCommand:
        here, run_id, fence, id = self.thread_id, self._run_id(thread), self._fence(thread), self._call_id(thread)
        choice = self.random.randrange(12)
        if choice >= 10:
            return hand_off(self.random, self.new_id, here, run_id, fence, id)
        if choice < 3:
            effects: tuple[Effect, ...] = ("pure", "idempotent", "once")
            effect = self.random.choice(effects)
            return c.StartTool(
                thread_id=here, run_id=run_id, fence=fence, tool_call_id=id, effect=effect, idempotency_key=id
            )
        if choice < 6:
            failure = self.random.choice((None, None, "error", "timeout"))
            return c.FinishTool(
                thread_id=here,
                run_id=run_id,
                fence=fence,
                tool_call_id=id,
                output="42",
                failure=failure,
                tokens=self.random.choice((None, tokens(3))),
            )
        if choice < 8:
            return c.DoubtTool(thread_id=here, run_id=run_id, fence=fence, tool_call_id=id, reason="died")
        outcomes: tuple[SettledOutcome, ...] = ("happened", "did_not_happen", "unknown")
        outcome = self.random.choice(outcomes)
        return c.SettleTool(
            thread_id=here, run_id=run_id, tool_call_id=id, outcome=outcome, output="so it is told", by="key_1"
        )

    def _outputs(self, thread: Thread) -> c.ThreadCommand:
        run_id = self._run_id(thread)
        submitted = submission(self.random, self.thread_id, run_id, thread.run, self._past(run_id))
        messages = new_items(self.random, self.new_id) if self.random.random() < 0.3 else ()
        return replace(submitted, messages=messages, config=self._config() if self.random.random() < 0.4 else None)
