"""Assembling a context under each strategy, of threads short and very long, and counting what is appended.

What is read should be what is shown and not what the thread has: the ratio of the longest thread to the shortest is
given for each strategy, and 1 is flat. The floor is plain sqlite3 reading as many rows as the widest window has.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path
from typing import Any

if not __package__:  # Run as a file, Python looks for modules beside it and not in the repository.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from benchmarks.common import (
    Figures,
    Floor,
    body_of,
    engine_without_worker,
    files_in,
    options,
    percentile,
    report,
    rounded,
    timed,
    warm_up,
)
from benchmarks.turns import Texts, make_texts
from clew.engine.context import Context, ContextTooLarge, assemble
from clew.engine.counting import text_tokens
from clew.engine.engine import Engine
from clew.events.base import Event
from clew.events.content import text
from clew.events.message import MessageAppended, Role
from clew.events.model import ModelAnswered, ModelCalled
from clew.events.run import RunCompleted, RunConfig, RunQueued, RunStarted, Truncation
from clew.events.thread import ThreadCompacted, ThreadCreated
from clew.events.tool import ToolCalled, ToolReturned
from clew.events.usage import NO_USAGE
from clew.ids import new_id
from clew.tokens.encodings import encoder
from clew_projections import thread_view

# As of a small model's window; what is shown is about 60 items.
WINDOW_TOKENS = 8_000
STRATEGIES = {
    "auto": Truncation(),
    "last_messages": Truncation(strategy="last_messages", n=50),
    "token_budget": Truncation(strategy="token_budget", n=WINDOW_TOKENS),
    "clear_tool_results": Truncation(strategy="clear_tool_results", n=3),
    "none": Truncation(strategy="none"),
    "summarise": Truncation(strategy="summarise"),
}
_CHUNK_EVENTS = 2_000
# What a summary leaves as it is.
_AFTER_SUMMARY_ITEMS = 30


def config_of(truncation: Truncation) -> RunConfig:
    return RunConfig(
        provider="benchmark", model="gpt-4o", asked_model="gpt-4o", instructions="Be short.", truncation=truncation
    )


def turns(texts: Texts) -> Iterator[list[Event]]:
    """Turns for ever: every third calls a tool. What no context is made of is left out."""
    run_config = config_of(Truncation())
    turn = 0
    while True:
        place = turn % len(texts.questions)
        turn += 1
        said: list[Event] = [_message("user", texts.questions[place])]
        if turn % 3:
            yield [*said, _message("assistant", texts.answers[place])]
            continue
        run_id, call_id = new_id("run"), new_id("call")
        of: dict[str, Any] = {"run_id": run_id, "fence": 1, "model_call_id": new_id("mc")}
        step = new_id("step")
        said += [
            RunQueued(run_id=run_id, dialect="clew", config=run_config),
            RunStarted(run_id=run_id, worker="w", attempt=1, fence=1, lease_seconds=30.0),
            ModelCalled(**of, provider="benchmark", model="gpt-4o", attempt=1),
            ModelAnswered(**of, attempt=1, step_id=step, model="gpt-4o", finish_reason="tool_calls", duration_ms=1.0),
            ToolCalled(
                **of,
                step_id=step,
                tool_call_id=call_id,
                name="search",
                arguments=texts.arguments[place],
                executor="server",
                tokens=text_tokens(texts.arguments[place]),
            ),
            ToolReturned(
                run_id=run_id,
                fence=1,
                step_id=step,
                tool_call_id=call_id,
                output=texts.results[place],
                tokens=text_tokens(texts.results[place]),
            ),
            _message("assistant", texts.answers[place]),
            RunCompleted(run_id=run_id),
        ]
        yield said


def _message(role: Role, said: str) -> MessageAppended:
    return MessageAppended(message_id=new_id("msg"), role=role, content=text(said), tokens=text_tokens(said))


async def build(engine: Engine, texts: Texts, length: int) -> str:
    """A thread of at least so many messages."""
    thread_id = new_id("thread")
    waiting: list[Event] = [ThreadCreated(tenant="default", dialect="clew")]
    version = count = 0
    for turn in turns(texts):
        waiting += turn
        count += sum(isinstance(event, MessageAppended) for event in turn)
        if len(waiting) >= _CHUNK_EVENTS or count >= length:
            await engine.log.append(thread_id, waiting, after=version)
            version += len(waiting)
            waiting = []
        if count >= length:
            return thread_id
    raise AssertionError("turns come for ever")


async def summarised(engine: Engine, thread_id: str) -> None:
    """As if a model had summarised all but the newest items."""
    with engine.log.reading() as reader:
        history = thread_view.segments(reader, thread_id)
        messages = thread_view.walk(reader, history, messages_only=True)
        last = list(islice(messages, _AFTER_SUMMARY_ITEMS))[-1]
        version = reader.version(thread_id)
    said = "They looked for flights, and found some. " * 40
    compacted = ThreadCompacted(
        item_id=new_id("sum"),
        summary=text(said),
        first_item=2,
        last_item=last.number,
        tokens=text_tokens(said),
        items=version,
        tokens_before=version,
    )
    appended = await engine.log.append(thread_id, [compacted], after=version)
    engine.desk.committed(appended.events)


class Assembling:
    """One strategy on one thread. A refusal is an outcome, too."""

    def __init__(self, engine: Engine, thread_id: str, truncation: Truncation) -> None:
        self._engine, self._thread_id = engine, thread_id
        self._config = config_of(truncation)
        self._thread = engine.desk.thread(thread_id)
        self.found: Context | None = None

    def warm(self) -> None:
        with self._engine.log.reading() as reader:
            try:
                self.found = assemble(reader, self._thread_id, self._thread, self._config, NO_USAGE, WINDOW_TOKENS)
            except ContextTooLarge:
                self.found = None

    def cold(self) -> None:
        """As for a thread that nobody has looked at for long: every body is read and decoded."""
        self._engine.log.cache.clear()
        self.warm()

    def figures(self, cold: Sequence[float], warm: Sequence[float]) -> Figures:
        self.warm()
        shown = self.found
        return {
            "p50_ms": rounded(statistics.median(cold) * 1000),
            "p99_ms": rounded(percentile(cold, 99) * 1000),
            "again_p50_ms": rounded(statistics.median(warm) * 1000),
            "items": shown.manifest.items if shown is not None else 0,
            "tokens": shown.tokens.total if shown is not None else 0,
            "items_left_out": shown.cut.items if shown is not None and shown.cut is not None else 0,
            "results_cleared": shown.cut.items_cleared if shown is not None and shown.cut is not None else 0,
        }


def in_turns(assembling: Sequence[Assembling], times: int) -> list[Figures]:
    """Each once, then each again: what else the machine does then befalls all of them alike."""
    cold: list[list[float]] = [[] for _ in assembling]
    warm: list[list[float]] = [[] for _ in assembling]
    for _ in range(times):
        for number, one in enumerate(assembling):
            cold[number] += timed(one.cold, 1)
            warm[number] += timed(one.warm, 1)
    return [one.figures(*seconds) for one, *seconds in zip(assembling, cold, warm, strict=True)]


async def measure(folder: Path, lengths: Sequence[int], times: int, texts: Texts) -> list[Figures]:
    """Of all lengths together."""
    found: list[Figures] = [{"messages": length} for length in lengths]
    async with AsyncExitStack() as stack:
        open_ones = [
            await stack.enter_async_context(engine_without_worker(folder / f"{length}.db")) for length in lengths
        ]
        threads = [await build(engine, texts, length) for engine, length in zip(open_ones, lengths, strict=True)]
        places = list(zip(open_ones, threads, strict=True))
        for name, truncation in (*STRATEGIES.items(), ("auto_with_a_summary", STRATEGIES["auto"])):
            assembling = [Assembling(engine, thread_id, truncation) for engine, thread_id in places]
            if name == "summarise":
                for figures, one in zip(found, assembling, strict=True):
                    figures["summary_planned_ms"] = rounded(statistics.median(timed(one.cold, 5)) * 1000)
                for engine, thread_id in places:
                    await summarised(engine, thread_id)
                assembling = [Assembling(engine, thread_id, truncation) for engine, thread_id in places]
            for figures, of_it in zip(found, in_turns(assembling, times), strict=True):
                figures[name] = of_it
    for figures, length in zip(found, lengths, strict=True):
        widest = max(one["items"] for one in figures.values() if isinstance(one, dict))
        figures["raw_newest_ms"] = raw(folder / f"{length}-raw.db", texts, length, widest, times)
    return found


def raw(path: Path, texts: Texts, length: int, items: int, times: int) -> float:
    """Plain sqlite3 reading the newest so many rows of a thread of that length."""
    floor, said = Floor(path), [*texts.questions, *texts.answers]
    floor.fill("thread", [body_of("user", said[number % len(said)]) for number in range(length)])
    seconds = timed(lambda: floor.newest("thread", items), times)
    floor.close()
    return rounded(statistics.median(seconds) * 1000)


def counting(texts: Texts) -> Figures:
    """Milliseconds a KB, of what is counted when it is appended, beside tiktoken alone."""
    said = [*texts.questions, *texts.answers, *texts.arguments, *texts.results]
    kilobytes = sum(len(one.encode()) for one in said) / 1024
    encode = encoder("o200k_base").encode_ordinary
    return {
        "o200k_base_ms_per_kb": _per_kilobyte(lambda one: text_tokens(one, "gpt-4o"), said, kilobytes),
        "cl100k_base_ms_per_kb": _per_kilobyte(lambda one: text_tokens(one, "gpt-4"), said, kilobytes),
        "estimate_ms_per_kb": _per_kilobyte(lambda one: text_tokens(one, "some-model"), said, kilobytes),
        "tiktoken_alone_ms_per_kb": _per_kilobyte(encode, said, kilobytes),
    }


def _per_kilobyte(count: Callable[[str], object], said: Sequence[str], kilobytes: float) -> float:
    def all_of_them() -> None:
        for one in said:
            count(one)

    all_of_them()
    return rounded(statistics.median(timed(all_of_them, 5)) * 1000 / kilobytes)


async def run(folder: Path, lengths: Sequence[int], times: int) -> None:
    texts = make_texts()
    warm_up()
    began = time.perf_counter()
    found = await measure(folder, sorted(lengths), times, texts)
    counted = counting(texts)
    names = [*STRATEGIES, "auto_with_a_summary"]
    report(
        "context",
        {"lengths": sorted(lengths), "times": times, "window_tokens": WINDOW_TOKENS},
        threads=found,
        longest_to_shortest={name: rounded(found[-1][name]["p50_ms"] / found[0][name]["p50_ms"]) for name in names},
        counting=counted,
        seconds=rounded(time.perf_counter() - began),
        floor={
            "newest_items_ms": found[-1]["raw_newest_ms"],
            "tiktoken_alone_ms_per_kb": counted["tiktoken_alone_ms_per_kb"],
        },
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__, times=(100, "how often each context is assembled"))
    parser.add_argument("--lengths", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="messages")
    chosen = parser.parse_args(arguments)
    with files_in(chosen.folder) as folder:
        asyncio.run(run(folder, chosen.lengths, chosen.times))


if __name__ == "__main__":
    main()
