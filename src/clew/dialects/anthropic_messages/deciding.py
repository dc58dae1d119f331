"""What a request comes to: a new thread, more of one, or a fork; each in one append, with the run that answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from clew.desk import Done, Key
from clew.dialects.anthropic_messages.deltas import Delta, Result, result_tokens, unexpected
from clew.dialects.anthropic_messages.errors import rejected
from clew.dialects.anthropic_messages.manners import DIALECT
from clew.dialects.anthropic_messages.recognising import Spot
from clew.engine import forking
from clew.engine.engine import Engine
from clew.errors import NotFound, ThreadBusy
from clew.events.content import Metadata
from clew.events.run import RunConfig
from clew.ids import DEFAULT_TENANT, new_id
from clew.log import Reader
from clew.rules.commands import CreateThread, QueueRun, SubmitToolOutputs, ThreadCommand
from clew.rules.parts import NewItem, NewResult, ToolOutput
from clew.rules.state import ActiveRun, Thread
from clew.serving.finding import config_of, the_run
from clew_projections import thread_view

ACTOR = DIALECT
_OF_THE_RUN = ("assistant_id", "assistant_version", "assistant_name", "tool_resources")


class Moved(Exception):
    """The thread is not where it was when it was looked at: look again."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request wants put into a thread, and how it wants to be answered."""

    delta: Delta
    config: RunConfig
    metadata: Metadata


async def begin(engine: Engine, wish: Wish, key: Key | None) -> Done[Thread]:
    """A new thread."""
    if wish.delta.results:
        raise unexpected(wish.delta.results[0])
    thread_id = new_id("thread")
    command = CreateThread(
        thread_id=thread_id,
        tenant=DEFAULT_TENANT,
        dialect=DIALECT,
        metadata={},
        tool_resources={},
        messages=wish.delta.items,
        run=_run(thread_id, wish, (), None),
    )
    return await engine.desk.on_thread(thread_id, lambda: command, actor=ACTOR, key=key, new=True)


async def fork(engine: Engine, spot: Spot, wish: Wish, key: Key | None) -> Done[Thread]:
    """The thread as it was at the spot goes on otherwise, in a thread of its own."""
    thread_id = new_id("thread")
    with engine.log.reading() as reader:
        state = engine.desk.thread_at(reader, spot.place.stream, spot.place.number)
        open_ids = _open(state.run) if state.run is not None else []
        _all_or_nothing(open_ids, wish.delta.results)
        answers = [
            forking.Answer(one.tool_call_id, one.output, one.is_error, one.content) for one in wish.delta.results
        ]
        try:
            command = forking.fork_command(
                reader,
                engine.desk,
                spot.thread_id,
                thread_id,
                at=spot.place,
                dialect=DIALECT,
                edits=answers,
                given=wish.delta.items,
                run=_run(thread_id, wish, (), spot.matched_by),
            )
        except NotFound as missing:
            raise _unknown(wish.delta.results, missing) from missing
    return await engine.desk.on_thread(thread_id, lambda: command, actor=ACTOR, key=key, new=True)


async def go_on(engine: Engine, spot: Spot, wish: Wish, key: Key | None) -> Done[Thread]:
    """More of the thread itself. Raises `Moved`, and `ThreadBusy` while a run is at work on it."""
    thread_id = spot.thread_id

    def make() -> ThreadCommand:
        version, thread = engine.desk.thread_and_version(thread_id)
        if version == spot.seen and thread.run is None and not wish.delta.results:
            # As most turns are: there is nothing to look up.
            return _run(thread_id, wish, wish.delta.items, spot.matched_by)
        with engine.log.reading() as reader:
            if reader.version(thread_id) != spot.seen:
                raise Moved
            run = engine.desk.thread(thread_id).run
            if run is None:
                results = _brought(reader, thread_id, wish.delta.results)
                return _run(thread_id, wish, (*results, *wish.delta.items), spot.matched_by)
            return _with_waiting(reader, thread_id, run, wish, spot.matched_by)

    return await engine.desk.on_thread(thread_id, make, actor=ACTOR, key=key)


def _with_waiting(reader: Reader, thread_id: str, run: ActiveRun, wish: Wish, matched_by: str) -> ThreadCommand:
    """A run that waits for these results goes on; a client that gives none goes on without it."""
    if run.status != "requires_action":
        raise ThreadBusy(thread_id=thread_id, run_id=run.run_id, wish="run")
    open_ids = [call.tool_call_id for call in run.awaited]
    if not wish.delta.results:
        if not wish.delta.items:
            raise _unanswered(open_ids)
        return replace(_run(thread_id, wish, wish.delta.items, matched_by), instead_of=run.run_id)
    _all_or_nothing(open_ids, wish.delta.results)
    return SubmitToolOutputs(
        thread_id=thread_id,
        run_id=run.run_id,
        outputs=tuple(
            ToolOutput(
                tool_call_id=one.tool_call_id,
                output=one.output,
                content=one.content,
                is_error=one.is_error,
                tokens=result_tokens(one),
            )
            for one in wish.delta.results
        ),
        past_status=None,
        messages=wish.delta.items,
        config=_from_here_on(reader, thread_id, wish.config, run),
        matched_by=matched_by,
    )


def _from_here_on(reader: Reader, thread_id: str, config: RunConfig, run: ActiveRun) -> RunConfig:
    """Steps are counted from the beginning of the run, and limited for each request.

    Whose run it is, and what it may use in all, was said where it was begun, maybe in another API.
    """
    begun = config_of(reader, the_run(reader, thread_id, run.run_id))
    steps = config.limits.steps
    limits = run.limits.model_copy(update={"steps": None if steps is None else run.steps + steps})
    kept = {name: getattr(begun, name) for name in _OF_THE_RUN}
    return config.model_copy(update={**kept, "limits": limits})


def _open(run: ActiveRun) -> list[str]:
    return [call.tool_call_id for call in run.unanswered]


def _all_or_nothing(open_ids: Sequence[str], results: Sequence[Result]) -> None:
    """Raises `Rejected` unless all open calls are answered, or none is."""
    if not results or not open_ids:
        return
    missing = [one for one in open_ids if one not in {result.tool_call_id for result in results}]
    if missing:
        raise _unanswered(missing)
    for result in results:
        if result.tool_call_id not in open_ids:
            raise unexpected(result)


def _unanswered(open_ids: Sequence[str]) -> Exception:
    return rejected(
        "messages: `tool_use` ids were found without `tool_result` blocks immediately after:"
        f" {', '.join(open_ids)}. Each `tool_use` block must have a corresponding `tool_result` block in the next"
        " message."
    )


def _brought(reader: Reader, thread_id: str, results: Sequence[Result]) -> tuple[NewItem, ...]:
    """Results of calls whose run did not wait for them: they take the place of what was said of them then."""
    history = thread_view.segments(reader, thread_id)
    found: list[NewItem] = []
    for result in results:
        if thread_view.item(reader, history, "call", result.tool_call_id) is None:
            raise unexpected(result)
        before = thread_view.item(reader, history, "result", result.tool_call_id)
        found.append(
            NewResult(
                tool_call_id=result.tool_call_id,
                output=result.output,
                content=result.content,
                is_error=result.is_error,
                tokens=result_tokens(result),
                had_result=before is not None,
                tokens_before=before.tokens if before is not None else 0,
            )
        )
    return tuple(found)


def _unknown(results: Sequence[Result], missing: NotFound) -> Exception:
    return next((unexpected(result) for result in results if result.tool_call_id == missing.id), missing)


def _run(thread_id: str, wish: Wish, items: tuple[NewItem, ...], matched_by: str | None) -> QueueRun:
    """A run that may wait for its client for ever: whoever has a conversation comes back when it suits him."""
    return QueueRun(
        thread_id=thread_id,
        run_id=new_id("run"),
        dialect=DIALECT,
        config=wish.config,
        expires_at=None,
        metadata=wish.metadata,
        additional_messages=items,
        matched_by=matched_by,
    )
