"""The bill: questions to a ledger of a million entries in one tenant's month, and what a long thread's items carry.

Every question is also asked as of the position where half of the entries were there. The floor is the same question
to plain SQL: the same rows in one table, with an index, added up by the database.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

if not __package__:  # Run as a file, Python looks for modules beside it and not in the repository.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

import clew_projections
from benchmarks.common import Figures, files_in, options, report, rounded, spread, timed, warm_up
from clew.billing.carried import carried
from clew.billing.questions import Asked, entry_page, ledger
from clew.events.base import Event
from clew.events.content import Tokens, text
from clew.events.message import MessageAppended
from clew.events.model import ContextAssembled, ContextTokens, ItemRange, Manifest, ModelAnswered, ModelCalled
from clew.events.price import Price, PriceLine
from clew.events.run import RunCompleted, RunConfig, RunQueued
from clew.events.thread import ThreadCreated
from clew.events.usage import Usage
from clew.log import Log, Reader, open_store
from clew.projecting import Keeper, discover
from clew_projections import billing_ledger
from tests.log.clocks import clock

_TENANT = "acme"
_MONTH = 1_764_547_200_000_000  # The 1st of December 2025, in microseconds.
_MONTH_SECONDS = 31 * 86_400
_CALLS_OF_A_RUN = 50
_MODELS = ("gpt-4o", "gpt-4o-mini", "o3", "claude-opus", "claude-haiku", "mistral-large")
_ASSISTANTS, _CUSTOMERS = 50, 200
_APPENDS_AT_ONCE = 64


def answered(run_id: str, number: int, dice: random.Random) -> ModelAnswered:
    given, said = dice.randrange(200, 9_000), dice.randrange(5, 900)
    cached = given // 2 if number % 3 else 0
    lines = (
        PriceLine(kind="input", tokens=given - cached, price="2.5"),
        PriceLine(kind="cache_read", tokens=cached, price="1.25"),
        PriceLine(kind="output", tokens=said, price="10"),
    )
    amount = ((given - cached) * 250 + cached * 125 + said * 1_000) / 100
    model = _MODELS[number % len(_MODELS)]
    return ModelAnswered(
        run_id=run_id,
        fence=1,
        model_call_id=f"mc{number}",
        attempt=1,
        step_id=f"{run_id}_step{number}",
        model=model,
        finish_reason="stop",
        usage=Usage(input=given, output=said, cached=cached),
        duration_ms=1.0,
        price=Price(amount=f"{amount * 1e-6:.12f}", table="benchmark/1", provider="openai", model=model, lines=lines),
    )


def called(run_id: str, number: int) -> ModelCalled:
    return ModelCalled(
        run_id=run_id,
        fence=1,
        model_call_id=f"mc{number}",
        provider="openai",
        model=_MODELS[number % len(_MODELS)],
        attempt=1,
    )


def run_of(number: int, calls: int) -> list[Event]:
    """A thread with one run of so many calls."""
    dice, run_id = random.Random(number), f"run_{number}"
    config = RunConfig(
        provider="openai", model="gpt-4o", asked_model="gpt-4o", assistant_id=f"asst_{number % _ASSISTANTS}"
    )
    events: list[Event] = [
        ThreadCreated(tenant=_TENANT, dialect="benchmark"),
        RunQueued(run_id=run_id, dialect="benchmark", config=config, metadata={"customer": f"c{number % _CUSTOMERS}"}),
    ]
    for call in range(calls):
        events += [called(run_id, call), answered(run_id, call, dice)]
    return [*events, RunCompleted(run_id=run_id)]


async def fill(log: Log, entries: int) -> float:
    """Runs on threads of their own, evenly through the month; gives the seconds it took."""
    runs = max(1, entries // _CALLS_OF_A_RUN)
    begun = time.perf_counter()
    done = 0
    with clock(lambda: _MONTH + done * _MONTH_SECONDS * 1_000_000 // runs):
        for first in range(0, runs, _APPENDS_AT_ONCE):
            numbers = range(first, min(runs, first + _APPENDS_AT_ONCE))
            calls = entries - (runs - 1) * _CALLS_OF_A_RUN
            await asyncio.gather(
                *(
                    log.append(f"thread_{n}", run_of(n, calls if n == runs - 1 else _CALLS_OF_A_RUN), after=0)
                    for n in numbers
                )
            )
            done = numbers[-1] + 1
    return time.perf_counter() - begun


def month(by: str | None, half: int | None, limit: int | None = None) -> Callable[[Reader], object]:
    asked = Asked(since="2025-12", until="2026-01", tenant=_TENANT)
    return lambda reader: ledger(reader, asked, group_by=by, limit=limit, as_of=half)


def questions(half: int | None) -> dict[str, Callable[[Reader], object]]:
    """`half` is a position in the past, None for now."""
    day = _MONTH + 14 * 86_400_000_000
    return {
        "month": month(None, half),
        "month_by_day": month("day", half),
        "month_by_model": month("model", half),
        "month_by_assistant": month("assistant", half),
        "month_by_tag": month("tag:customer", half),
        "month_by_hour": month("hour", half),
        "month_top_20_threads": month("thread", half, 20),
        "a_day_of_the_tenant": lambda reader: billing_ledger.spending(
            reader, tenant=_TENANT, since=day, until=day + 86_400_000_000, as_of=half
        ),
        "a_thread": lambda reader: billing_ledger.spending(reader, thread_id="thread_1", as_of=half),
        "newest_100_entries": lambda reader: entry_page(
            reader, Asked(tenant=_TENANT), limit=100, newest_first=True, as_of=half
        ),
    }


def asked(log: Log, wanted: dict[str, Callable[[Reader], object]], times: int) -> Figures:
    """Each in a snapshot of its own, as a request would."""

    def ask(question: Callable[[Reader], object]) -> None:
        with log.reading() as reader:
            question(reader)

    found = {}
    for name, question in wanted.items():
        ask(question)
        found[name] = spread(timed(lambda question=question: ask(question), times))  # type: ignore[misc]
    return found


def floor(path: Path, log: Log, times: int) -> Figures:
    """Plain sqlite3: a table of the entries, an index by tenant and time, amounts in one whole number."""
    connection = sqlite3.connect(path)
    connection.execute("create table entries (tenant text, at integer, input integer, output integer, amount integer)")
    with log.reading() as reader:
        rows = reader.rows("select tenant, at, input_tokens, output_tokens, amount_nano from ledger_entries")
    connection.executemany("insert into entries values (?,?,?,?,?)", map(tuple, rows))
    connection.execute("create index entries_when on entries (tenant, at)")
    connection.commit()
    end = _MONTH + _MONTH_SECONDS * 1_000_000
    sums = "count(*), sum(input), sum(output), sum(amount) from entries where tenant = ? and at >= ? and at < ?"
    found = {}
    for name, sql in (
        ("month", f"select {sums}"),
        ("month_by_day", f"select at / 86400000000, {sums} group by 1"),
    ):
        seconds = timed(lambda sql=sql: connection.execute(sql, (_TENANT, _MONTH, end)).fetchall(), times)  # type: ignore[misc]
        found[f"{name}_ms"] = spread(seconds)["p50_ms"]
    connection.close()
    return found


async def long_thread(log: Log, messages: int) -> None:
    """Users and models take turns, and each call is shown all that was said before it."""
    events: list[Event] = [ThreadCreated(tenant=_TENANT, dialect="benchmark")]
    dice, shown = random.Random(1), 0
    for turn in range(messages // 2):
        run_id, counted = f"run_long_{turn}", dice.randrange(5, 400)
        config = RunConfig(provider="openai", model="gpt-4o", asked_model="gpt-4o")
        events += [
            _message(f"msg_u{turn}", "user", counted),
            RunQueued(run_id=run_id, dialect="benchmark", config=config),
        ]
        shown += counted
        manifest = Manifest(
            shown=(ItemRange(stream="thread_long", first=2, last=len(events) - 1),),
            items=2 * turn + 1,
            as_of=None,
        )
        events += [
            ContextAssembled(
                run_id=run_id,
                fence=1,
                model_call_id="mc0",
                manifest=manifest,
                tokens=ContextTokens(instructions=20, tools=0, items=shown, exact=True),
                renderer="openai-chat/1",
                digest="0" * 64,
            ),
            called(run_id, 0),
            answered(run_id, 0, dice),
            _message(f"msg_a{turn}", "assistant", counted),
            RunCompleted(run_id=run_id),
        ]
        shown += counted
    after = 0
    for start in range(0, len(events), 500):
        await log.append("thread_long", events[start : start + 500], after=after)
        after += len(events[start : start + 500])


def _message(message_id: str, role: str, count: int) -> MessageAppended:
    tokens = Tokens(encoding="o200k_base", count=count, exact=True)
    return MessageAppended(message_id=message_id, role=role, content=text("words"), tokens=tokens)  # type: ignore[arg-type]


def carrying(log: Log, times: int) -> Figures:
    """Against reading the thread's items, without anything done with them."""

    def tell() -> None:
        with log.reading() as reader:
            carried(reader, "thread_long")

    def read() -> None:
        with log.reading() as reader:
            reader.rows("select * from items where stream = 'thread_long'")

    tell()
    return {"carried": spread(timed(tell, times)), "items_read": spread(timed(read, times))}


async def run(folder: Path, store: str | None, entries: int, messages: int, times: int) -> None:
    warm_up()
    keeper = Keeper([p for p in discover(clew_projections) if p.name in ("billing_ledger", "thread_view")])
    log = Log(open_store(store or str(folder / "ledger.db")), keeper.inline, keeper.forget, keeper.swapped)
    try:
        await keeper.prepare(log)
        seconds = await fill(log, entries)
        with log.reading() as reader:
            half = reader.head() // 2
        now, then = asked(log, questions(None), times), asked(log, questions(half), times)
        plain = floor(folder / "floor.db", log, times)
        await long_thread(log, messages)
        report(
            "ledger",
            {"entries": entries, "messages": messages, "times": times},
            store="PostgreSQL" if store else "SQLite file, WAL, synchronous=FULL",
            entries_filled_per_second=rounded(entries / seconds),
            now=now,
            as_of_half_way=then,
            plain_sql_to_ledger=rounded(plain["month_ms"] / now["month"]["p50_ms"]),
            long_thread=carrying(log, times),
            floor=plain,
        )
    finally:
        log.close()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(
        __doc__,
        entries=(1_000_000, "entries of the ledger, all in one tenant's month"),
        messages=(10_000, "messages of the long thread"),
        times=(15, "how often each question is asked"),
    )
    parser.add_argument("--store", help="a PostgreSQL address; else a file of its own")
    chosen = parser.parse_args(arguments)
    with files_in(chosen.folder) as folder:
        asyncio.run(run(folder, chosen.store, chosen.entries, chosen.messages, chosen.times))


if __name__ == "__main__":
    main()
