"""Appending through the desk: a lone thread, many threads at once, and how large the file becomes.

Everything is on: validation, tokens, the hash chain, inline read models, a read model that follows. Blocks of raw
commits and of ours take turns, so that both meet the same disk.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

if not __package__:  # Run as a file, Python looks for modules beside it and not in the repository.
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from benchmarks.common import (
    Figures,
    Floor,
    body_of,
    engine_without_worker,
    file_bytes,
    files_in,
    median_ms,
    options,
    report,
    rounded,
    spread,
    steady,
    warm_up,
)
from benchmarks.turns import MESSAGES_A_TURN_MAX, RunTurn, Texts, begin, make_texts, messages, say
from clew.desk import Desk

_WHAT = (
    "`messages`: each message by itself with AppendMessages, one commit each; a tool call and its result are two"
    " messages of the assistant, which is what peers and the floor append. `runs`: the same turns driven through the"
    " rules as a run is (message, QueueRun, BeginModelCall, RecordAnswer, and for a tool call SubmitToolOutputs and a"
    " second model call): 4 or 7 appends of 8 or 14 events for 2 or 4 messages; no model is called."
)


@dataclass
class Blocks:
    """Seconds of each append, and of each whole block with the number of messages in it."""

    ours: list[float] = field(default_factory=list)
    raw: list[float] = field(default_factory=list)
    our_rates: list[float] = field(default_factory=list)
    raw_rates: list[float] = field(default_factory=list)


def raw_block(floor: Floor, texts: Texts, thread: str, turns: range, found: Blocks) -> None:
    began, count = time.perf_counter(), 0
    for turn in turns:
        for place, (role, said) in enumerate(messages(texts, turn)):
            started = time.perf_counter()
            floor.append(thread, turn * MESSAGES_A_TURN_MAX + place, body_of(role, said))
            found.raw.append(time.perf_counter() - started)
            count += 1
    found.raw_rates.append(count / (time.perf_counter() - began))


async def as_messages(desk: Desk, texts: Texts, thread_id: str, turns: range, seconds: list[float]) -> int:
    """Gives the number of messages."""
    count = 0
    for turn in turns:
        for role, said in messages(texts, turn):
            began = time.perf_counter()
            await say(desk, thread_id, (role, said))
            seconds.append(time.perf_counter() - began)
            count += 1
    return count


async def as_runs(desk: Desk, texts: Texts, thread_id: str, turns: range, seconds: list[float]) -> int:
    """Gives the number of messages, calls and results among them; `seconds` has the mean append of each turn."""
    count = 0
    for turn in turns:
        began = time.perf_counter()
        appends = await RunTurn(thread_id, texts, turn).play(desk)
        seconds += [(time.perf_counter() - began) / appends] * appends
        count += sum(1 for _ in messages(texts, turn))
    return count


async def measure(
    folder: Path, kind: str, threads: int, rounds: int, turns: int, texts: Texts
) -> tuple[Blocks, Path, Path]:
    """Rounds of a raw block and one of ours; `turns` is how many a thread has in one round."""
    store, raw = folder / f"{kind}-{threads}.db", folder / f"{kind}-{threads}-raw.db"
    play = as_messages if kind == "messages" else as_runs
    found = Blocks()
    floor = Floor(raw)
    async with engine_without_worker(store) as engine:
        await steady(engine)
        ids = [await begin(engine.desk) for _ in range(threads)]
        await asyncio.gather(*(play(engine.desk, texts, id, range(3), []) for id in ids))
        for number in range(rounds):
            block = range(number * turns, (number + 1) * turns)
            for thread_id in ids[: max(1, threads // 10)]:
                raw_block(floor, texts, thread_id, block, found)
            began = time.perf_counter()
            counts = await asyncio.gather(*(play(engine.desk, texts, id, block, found.ours) for id in ids))
            found.our_rates.append(sum(counts) / (time.perf_counter() - began))
    floor.close()
    return found, store, raw


def lone(found: Blocks) -> Figures:
    ours, raw = statistics.median(found.ours), statistics.median(found.raw)
    return {
        **spread(found.ours),
        "raw_p50_ms": median_ms(found.raw),
        "ratio_to_raw_commit": rounded(ours / raw),
        "messages_per_second": rounded(statistics.median(found.our_rates)),
        "raw_messages_per_second": rounded(statistics.median(found.raw_rates)),
    }


def together(found: Blocks) -> Figures:
    ours, raw = statistics.median(found.our_rates), statistics.median(found.raw_rates)
    return {
        "messages_per_second": rounded(ours),
        "messages_per_second_best_round": rounded(max(found.our_rates)),
        **spread(found.ours),
        "raw_messages_per_second": rounded(raw),
        "ratio_to_raw_single_writer": rounded(ours / raw),
    }


def sizes_of(store: Path, raw: Path, texts: Texts, turns: int) -> Figures:
    said = [what for turn in range(turns) for _, what in messages(texts, turn)]
    ours, floor, content = file_bytes(store), file_bytes(raw), sum(len(what.encode()) for what in said)
    return {
        "bytes_per_message": round(ours / len(said)),
        "raw_bytes_per_message": round(floor / len(said)),
        "content_bytes_per_message": round(content / len(said)),
        "ratio_to_raw_file": rounded(ours / floor),
        "ratio_to_content": rounded(ours / content),
    }


async def run(folder: Path, threads: int, rounds: int, turns: int) -> None:
    texts = make_texts()
    warm_up()
    share = max(1, turns // threads * 4)
    lone_found, store, raw = await measure(folder, "messages", 1, rounds, turns, texts)
    lone_runs, _, _ = await measure(folder, "runs", 1, rounds, max(1, turns // 3), texts)
    many, _, _ = await measure(folder, "messages", threads, rounds, share, texts)
    many_runs, _, _ = await measure(folder, "runs", threads, rounds, max(1, share // 3), texts)
    report(
        "append",
        {"threads": threads, "rounds": rounds, "turns_in_a_round": turns, "turns_a_thread_in_a_round": share},
        appended=_WHAT,
        lone_thread={"messages": lone(lone_found), "runs": lone(lone_runs)},
        threads_at_once={"messages": together(many), "runs": together(many_runs)},
        bytes=sizes_of(store, raw, texts, rounds * turns),
        floor={**spread(lone_found.raw), "commits_per_second": rounded(statistics.median(lone_found.raw_rates))},
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(
        __doc__,
        threads=(50, "threads at once"),
        rounds=(8, "how often raw and ours take turns"),
        turns=(125, "turns of the lone thread in a round"),
    )
    chosen = parser.parse_args(arguments)
    with files_in(chosen.folder) as folder:
        asyncio.run(run(folder, chosen.threads, chosen.rounds, chosen.turns))


if __name__ == "__main__":
    main()
