"""What would have been: exactly what was when nothing is otherwise, and near what then is when something is."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from pathlib import Path

import pytest

import clew
from clew.billing.costs import Cost
from clew.billing.supposing import Otherwise
from clew.billing.what_if import CallIf, RunIf, what_if
from clew.engine.engine import Engine
from clew.engine.forking import fork
from clew.events.run import Truncation
from clew.log import Reader
from clew.prices import Prices, read_overrides
from clew_projections import billing_ledger
from tests.billing.metered import Metered, configured, converse, turn

AUTO = Truncation()
LAST_TWO = Truncation(strategy="last_messages", n=2)
FEW_TOKENS = Truncation(strategy="token_budget", n=400)
CLEARED = Truncation(strategy="clear_tool_results", n=1)
SUMMARISED = Truncation(strategy="summarise", n=500)
NONE = Truncation(strategy="none")
STRATEGIES = {"auto": AUTO, "last_messages": LAST_TWO, "token_budget": FEW_TOKENS, "clear_tool_results": CLEARED}
STRATEGIES |= {"summarise": SUMMARISED, "none": NONE}

TURNS = 9
# What the server allows: the conversations outgrow it.
ROOM = 900


def metered(store: str = ":memory:", room: int | None = None) -> AbstractAsyncContextManager[Engine]:
    return clew.open(store, providers={"openai": Metered()}, default_provider="openai", context_tokens=room)


def supposing(reader: Reader, thread_id: str, otherwise: Otherwise, **options: object) -> list[RunIf]:
    return list(what_if(reader, thread_id, otherwise, Prices(), **options))  # type: ignore[arg-type]


def calls_of(runs: list[RunIf]) -> list[CallIf]:
    return [call for run in runs for call in run.calls]


def otherwise_of(runs: list[RunIf]) -> Cost:
    return sum((run.otherwise for run in runs), Cost())


def was_of(runs: list[RunIf]) -> Cost:
    return sum((run.was for run in runs), Cost())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_under_the_strategy_that_it_had_it_is_exactly_what_was(store: str, strategy: str) -> None:
    """Every context is made again as of its position; so is that nothing is otherwise, and the ledger says the same."""

    async def main() -> None:
        async with metered(store, ROOM) as engine:
            thread_id = await converse(engine, configured(STRATEGIES[strategy]), TURNS)
            with engine.log.reading() as reader:
                for otherwise in (Otherwise(truncation=STRATEGIES[strategy]), Otherwise()):
                    runs = supposing(reader, thread_id, otherwise)
                    assert [call.basis for call in calls_of(runs)] == ["reported"] * len(calls_of(runs))
                    assert [call.otherwise for call in calls_of(runs)] == [call.was for call in calls_of(runs)]
                same_model = supposing(reader, thread_id, Otherwise(provider="openai", model="gpt-4o"))
                assert [call.otherwise for call in calls_of(same_model)] == [call.was for call in calls_of(runs)]
                spent = billing_ledger.spending(reader, thread_id=thread_id)
            was = was_of(runs)
            assert was.cached_tokens > 0
            assert (was.calls, was.input_tokens, was.cached_tokens, was.output_tokens, was.amount) == (
                spent.calls,
                spent.input_tokens,
                spent.cached_tokens,
                spent.output_tokens,
                spent.amount,
            )

    asyncio.run(main())


@pytest.mark.parametrize("strategy", ["last_messages", "token_budget", "clear_tool_results", "summarise"])
def test_what_is_foretold_is_near_what_then_happens(strategy: str) -> None:
    """The same conversation, held again for real under the other strategy: the model says the same, so that only what
    it is shown differs. The provider counts in a way of its own, and caches what it has seen."""

    async def held(truncation: Truncation) -> tuple[Cost, Cost]:
        async with metered() as engine:
            thread_id = await converse(engine, configured(truncation), TURNS)
            with engine.log.reading() as reader:
                runs = supposing(reader, thread_id, Otherwise(truncation=STRATEGIES[strategy]))
            return was_of(runs), otherwise_of(runs)

    was, foretold = asyncio.run(held(AUTO))
    really, _ = asyncio.run(held(STRATEGIES[strategy]))
    assert foretold.input_tokens < was.input_tokens
    assert (foretold.calls, foretold.summary_calls) == (really.calls, really.summary_calls)
    assert foretold.counted_tokens == pytest.approx(really.counted_tokens, rel=0.05)
    assert foretold.input_tokens == pytest.approx(really.input_tokens, rel=0.1)
    assert foretold.cached_tokens == pytest.approx(really.cached_tokens, rel=0.15, abs=200)
    assert float(foretold.amount) == pytest.approx(float(really.amount), rel=0.1)


def test_what_finds_no_room_ends_its_run(store: str) -> None:
    async def main() -> None:
        async with metered(store, ROOM - 300) as engine:
            thread_id = await converse(engine, configured(AUTO), TURNS)
            with engine.log.reading() as reader:
                runs = supposing(reader, thread_id, Otherwise(truncation=NONE))
            refused = [run for run in runs if run.otherwise.refused_calls]
            assert any(run.calls[0].basis == "refused" and len(run.calls) > 1 for run in refused)
            for run in refused:
                bases = [call.basis for call in run.calls]
                end = bases.index("refused")
                assert bases[end:] == ["refused"] + ["not_made"] * (len(bases) - end - 1)
                assert "context_tokens allows" in (run.calls[end].why or "")
                assert run.calls[end].was.calls == 1
                assert all(call.otherwise.input_tokens == 0 for call in run.calls[end:])

    asyncio.run(main())


def test_summaries_that_were_written_are_of_no_use_to_another_strategy() -> None:
    async def main() -> None:
        async with metered() as engine:
            thread_id = await converse(engine, configured(SUMMARISED), TURNS)
            with engine.log.reading() as reader:
                runs = supposing(reader, thread_id, Otherwise(truncation=AUTO))
                shorter = supposing(reader, thread_id, Otherwise(truncation=Truncation(strategy="summarise", n=400)))
            summaries = [call for call in calls_of(runs) if call.was.summary_calls]
            assert summaries
            assert {call.basis for call in summaries} == {"not_made"}
            assert otherwise_of(runs).summary_calls == 0
            assert otherwise_of(runs).input_tokens > was_of(runs).input_tokens
            imagined = [call for call in calls_of(shorter) if call.basis == "imagined"]
            assert len(imagined) == otherwise_of(shorter).summary_calls > 0
            assert all(call.otherwise.amount > 0 and call.was == Cost() for call in imagined)

    asyncio.run(main())


def test_another_model_is_priced_by_its_own_prices_and_one_that_nobody_knows_by_none() -> None:
    async def main() -> None:
        async with metered() as engine:
            thread_id = await converse(engine, configured(), 4)
            with engine.log.reading() as reader:
                smaller = supposing(reader, thread_id, Otherwise(provider="openai", model="gpt-4o-mini"))
                unknown = supposing(reader, thread_id, Otherwise(provider="openai", model="of-tomorrow"))
            was, cheaper = was_of(smaller), otherwise_of(smaller)
            assert (cheaper.input_tokens, cheaper.cached_tokens) == (was.input_tokens, was.cached_tokens)
            # gpt-4o: 2.50, 1.25 and 10 for a million; gpt-4o-mini: 0.15, 0.075 and 0.60.
            fresh = was.input_tokens - was.cached_tokens
            worked = Decimal("0.15") * fresh + Decimal("0.075") * was.cached_tokens + Decimal("0.6") * was.output_tokens
            assert cheaper.amount == worked / 1_000_000
            assert otherwise_of(unknown).unpriced_calls == was.calls
            assert otherwise_of(unknown).amount == 0

    asyncio.run(main())


def test_other_prices_are_for_the_same_calls(tmp_path: Path) -> None:
    file = tmp_path / "contract.toml"
    file.write_text('[[price]]\nmodel = "gpt-4o"\ninput = 1\ncache_read = 0.1\noutput = 2\n')
    contract = Prices(read_overrides(file))

    async def main() -> None:
        async with metered() as engine:
            thread_id = await converse(engine, configured(), 4)
            with engine.log.reading() as reader:
                runs = list(what_if(reader, thread_id, Otherwise(), contract, reprices=True))
            was, now = was_of(runs), otherwise_of(runs)
            fresh = was.input_tokens - was.cached_tokens
            worked = fresh + Decimal("0.1") * was.cached_tokens + 2 * was.output_tokens
            assert now.amount == worked / 1_000_000
            assert {call.basis for call in calls_of(runs)} == {"reported"}

    asyncio.run(main())


def test_a_fork_is_told_of_what_it_did_itself_and_reads_what_it_inherited() -> None:
    async def main() -> None:
        async with metered() as engine:
            parent = await converse(engine, configured(), 5)
            forked = await fork(engine.log, engine.desk, parent, dialect="test")
            child = await converse(engine, configured(), 2, thread_id=forked.stream)
            with engine.log.reading() as reader:
                same = supposing(reader, child, Otherwise(truncation=AUTO))
                fewer = supposing(reader, child, Otherwise(truncation=LAST_TWO))
            assert len(same) == 2
            assert [call.otherwise for call in calls_of(same)] == [call.was for call in calls_of(same)]
            assert was_of(same).counted_tokens > 2 * otherwise_of(fewer).counted_tokens

    asyncio.run(main())


def test_as_of_a_point_only_what_was_there_is_told() -> None:
    async def main() -> None:
        async with metered() as engine:
            thread_id = await converse(engine, configured(), 3)
            with engine.log.reading() as reader:
                then = reader.head()
                before = supposing(reader, thread_id, Otherwise(truncation=LAST_TWO))
            await converse(engine, configured(), 3, thread_id=thread_id)
            with engine.log.reading() as reader:
                assert supposing(reader, thread_id, Otherwise(truncation=LAST_TWO), as_of=then) == before
                assert len(supposing(reader, thread_id, Otherwise(truncation=LAST_TWO))) == 6

    asyncio.run(main())


def test_a_thread_without_runs_has_nothing_to_tell(store: str) -> None:
    async def main() -> None:
        async with metered(store) as engine:
            thread_id = await converse(engine, configured(), 0)
            with engine.log.reading() as reader:
                assert supposing(reader, thread_id, Otherwise(truncation=LAST_TWO)) == []

    asyncio.run(main())


def test_a_model_that_has_room_for_less_is_shown_less() -> None:
    """gpt-4 takes 8,192 tokens, of which an eighth is kept free for the answer."""

    async def main() -> None:
        async with metered() as engine:
            thread_id = await converse(engine, configured(), 3)
            await turn(engine, thread_id, configured(), "word " * 6_900)
            with engine.log.reading() as reader:
                newest = calls_of(supposing(reader, thread_id, Otherwise(provider="openai", model="gpt-4")))[-1]
            assert newest.basis == "estimated"
            assert newest.otherwise.counted_tokens < 7_168 < newest.was.counted_tokens

    asyncio.run(main())
