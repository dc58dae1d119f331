"""Commands that a thread may be given: mostly sensible ones, now and then a stale or a senseless one.

Facts that come in with a command (which messages there are, how a run ended) are true, as the edge makes sure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias

from clew.events import Event
from clew.events.content import text
from clew.events.message import MessageAppended, MessageEdited, MessageRemoved, Role
from clew.events.model import ContextTokens, ItemRange, LeftOut, Manifest
from clew.events.run import Limits, RunConfig, RunOver, RunQueued
from clew.events.tool import Effect, SettledOutcome, ToolCalled
from clew.events.usage import Usage
from clew.rules import commands as c
from clew.rules.state import ActiveRun, Thread
from tests.rules.example import CLAIM, tokens

_LATER = 10**9
Maker: TypeAlias = Callable[[Thread], c.ThreadCommand]


@dataclass
class World:
    """What the edge knows of one thread: its messages, its runs and how they ended, the calls that were made."""

    thread_id: str
    random: Random
    messages: dict[str, tuple[Role, int]] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    made: int = 0

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
                case ToolCalled(tool_call_id=id):
                    self.calls.append(id)
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
            messages=self._new_messages(),
        )

    def _metadata(self) -> dict[str, str]:
        return {label: self.random.choice("xyz") for label in "ab" if self.random.random() < 0.5}

    def _new_messages(self) -> tuple[c.NewMessage, ...]:
        return tuple(
            c.NewMessage(
                message_id=self.new_id("msg"),
                role=self.random.choice(("user", "user", "assistant", "system")),
                content=text("word " * self.random.randrange(4)),
                metadata=self._metadata(),
                tokens=tokens(self.random.randrange(30)),
            )
            for _ in range(self.random.randrange(3))
        )

    def _append(self, thread: Thread) -> c.ThreadCommand:
        return c.AppendMessages(thread_id=self.thread_id, messages=self._new_messages())

    def _queue(self, thread: Thread) -> c.ThreadCommand:
        limits = Limits(completion_tokens=self.random.choice((None, 20)), steps=self.random.choice((None, 2)))
        return c.QueueRun(
            thread_id=self.thread_id,
            run_id=self.new_id("run"),
            dialect="openai",
            config=RunConfig(
                provider="scripted",
                model="m",
                asked_model="m",
                instructions=self.random.choice(("", "Be kind.")),
                limits=limits,
            ),
            expires_at=self.random.choice((None, _LATER)),
            metadata=self._metadata(),
            additional_messages=self._new_messages(),
        )

    def _change(self, thread: Thread) -> c.ThreadCommand:
        if self.random.random() < 0.1:
            return c.DeleteThread(thread_id=self.thread_id)
        if self.runs and self.random.random() < 0.4:
            run_id = self.random.choice(list(self.runs))
            return c.ChangeRun(thread_id=self.thread_id, run_id=run_id, metadata=self._metadata())
        return c.ChangeThread(
            thread_id=self.thread_id,
            metadata=self.random.choice((None, self._metadata())),
            tool_resources={"r": 1} if self.random.random() < 0.5 else None,
        )

    def _message(self, thread: Thread) -> c.ThreadCommand:
        if not self.messages:
            return self._append(thread)
        id = self.random.choice(list(self.messages))
        role, count = self.messages[id]
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
            return c.StartRun(thread_id=here, run_id=run_id, claim=CLAIM)
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
        choice = self.random.randrange(10)
        if waiting and choice < 7:
            return self._answer(thread)
        if waiting and choice < 9:
            return self._model_failure(thread)
        if failed and choice < 5:
            return c.RetryModelCall(
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
            cut = c.Cut(
                strategy="auto",
                left_out=(left,),
                items=1,
                tokens_before=9,
                tokens_after=1,
                limit=5,
                limit_name="max_prompt_tokens",
            )
        return c.BeginModelCall(
            thread_id=self.thread_id,
            run_id=self._run_id(thread),
            fence=self._fence(thread),
            claim=CLAIM if queued != (self.random.random() < 0.05) else None,
            model_call_id=self.new_id("mc"),
            provider="scripted",
            model="m",
            manifest=Manifest(shown=(), items=0),
            tokens=ContextTokens(instructions=0, tools=0, items=0, exact=True),
            renderer="scripted/1",
            digest="d",
            max_output_tokens=None,
            cut=cut,
        )

    def _model_failure(self, thread: Thread) -> c.ThreadCommand:
        final = self.random.random() < 0.3
        return c.FailModelCall(
            thread_id=self.thread_id,
            run_id=self._run_id(thread),
            fence=self._fence(thread),
            code="timeout",
            message="no answer",
            retryable=not final,
            final=final,
            usage=self.random.choice((None, Usage(input=1))),
        )

    def _answer(self, thread: Thread) -> c.ThreadCommand:
        step, run = self.new_id("step"), thread.run
        calls = tuple(
            c.AnsweredCall(
                tool_call_id=self.new_id("call"),
                step_id=step,
                name="look",
                arguments="{}",
                executor=self.random.choice(("client", "server")),
                tokens=tokens(2),
            )
            for _ in range(self.random.randrange(4))
        )
        message = c.AnsweredMessage(
            message_id=self.new_id("msg"),
            step_id=self.new_id("step"),
            content=text("Hi"),
            assistant_id=None,
            tokens=tokens(2),
        )
        has_message = not calls or self.random.random() < 0.5
        return c.RecordAnswer(
            thread_id=self.thread_id,
            run_id=self._run_id(thread),
            fence=self._fence(thread),
            model_call_id=run.model_call.model_call_id if run is not None and run.model_call is not None else "mc_1",
            step_id=step if calls else message.step_id,
            model="m",
            finish_reason=self.random.choice(("stop", "stop", "stop", "stop", "length", "content_filter")),
            usage=self.random.choice((None, Usage(input=3, output=2))),
            usage_reported=None,
            provider_ids={},
            first_token_ms=None,
            duration_ms=1.0,
            reasoning_provider="scripted",
            reasoning_id=self.new_id("rs"),
            reasoning=self.random.choice(((), ('{"a":1}',))),
            message=message if has_message else None,
            calls=calls,
        )

    def _call_id(self, thread: Thread) -> str:
        if thread.run is not None and thread.run.calls and self.random.random() < 0.95:
            return self.random.choice(thread.run.calls).tool_call_id
        return self.random.choice(["call_never", *self.calls])

    def _tool(self, thread: Thread) -> c.ThreadCommand:
        here, run_id, fence, id = self.thread_id, self._run_id(thread), self._fence(thread), self._call_id(thread)
        choice = self.random.randrange(10)
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
        open_calls = [call.tool_call_id for call in thread.run.unanswered] if thread.run is not None else []
        ids = open_calls if self.random.random() < 0.9 else open_calls[1:]
        return c.SubmitToolOutputs(
            thread_id=self.thread_id,
            run_id=run_id,
            outputs=tuple(c.ToolOutput(tool_call_id=id, output="42", tokens=tokens(1)) for id in ids),
            past_status=self._past(run_id),
        )
