"""What would have been, as it is asked for: in a terminal and over HTTP."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

import clew
from clew.engine.engine import Engine
from clew.server.app import make_app
from tests.billing.metered import Metered, configured, converse
from tests.billing.terminal import refused, shown, shown_json

TURNS = 5


@pytest.fixture
def kept(lasting_store: str) -> tuple[str, list[str]]:
    """A store with three threads; the last one has no run."""

    async def main() -> list[str]:
        async with clew.open(lasting_store, providers={"openai": Metered()}, default_provider="openai") as engine:
            return [await converse(engine, configured(), turns) for turns in (TURNS, 2, 0)]

    return lasting_store, asyncio.run(main())


def test_a_thread_is_told_run_by_run_and_in_sum(kept: tuple[str, list[str]]) -> None:
    store, (thread_id, *_) = kept
    told = shown_json("what-if", thread_id, "--truncation", "last_messages:2", store=store)
    assert (told["truncation"], told["model"], len(told["runs"])) == ("last_messages:2", None, TURNS)
    assert told["otherwise"]["input_tokens"] < told["was"]["input_tokens"]
    assert Decimal(told["difference"]) == Decimal(told["otherwise"]["amount"]) - Decimal(told["was"]["amount"]) < 0
    for side in ("was", "otherwise"):
        for name in ("calls", "input_tokens", "cached_tokens", "output_tokens"):
            assert sum(run[side][name] for run in told["runs"]) == told[side][name]
            assert sum(call[side][name] for run in told["runs"] for call in run["calls"]) == told[side][name]
        assert sum(Decimal(run[side]["amount"]) for run in told["runs"]) == Decimal(told[side]["amount"])
    assert told["bases"]["estimated"] > 0
    text = shown("what-if", thread_id, "--truncation", "last_messages:2", store=store)
    assert text.count("run_") == TURNS
    assert "sum" in text
    assert "would have been shown something else: their input is our count of that" in text


def test_the_same_strategy_tells_what_was(kept: tuple[str, list[str]]) -> None:
    store, (thread_id, *_) = kept
    told = shown_json("what-if", thread_id, "--truncation", "auto", store=store)
    assert told["was"] == told["otherwise"]
    assert (told["difference"], told["notes"]) == ("0", [])
    assert set(told["bases"]) == {"reported"}
    ledger = shown_json("ledger", "--thread", thread_id, store=store)
    names = ("calls", "input_tokens", "cached_tokens", "output_tokens", "amount", "unpriced_calls", "lost_calls")
    assert {name: told["was"][name] for name in names} == {name: ledger["total"][name] for name in names}


def test_all_threads_are_told_one_by_one_and_in_sum(kept: tuple[str, list[str]]) -> None:
    store, (first, second, _) = kept
    told = shown_json("what-if", "--all", "--model", "gpt-4o-mini", store=store)
    assert {run["thread_id"] for run in told["runs"]} == {first, second}
    assert told["model"] == "openai/gpt-4o-mini"
    assert told["notes"] == [
        "openai/gpt-4o-mini is taken to count tokens, to cache and to answer as the model did that was asked"
    ]
    # Both kinds of what goes in, and what comes out, cost 0.06 of what they cost with gpt-4o.
    assert Decimal(told["otherwise"]["amount"]) == Decimal(told["was"]["amount"]) * Decimal("0.06")
    text = shown("what-if", "--all", "--model", "gpt-4o-mini", store=store)
    assert first in text
    assert second in text


def test_a_contract_is_tried_on_the_past(kept: tuple[str, list[str]], tmp_path: Path) -> None:
    store, (thread_id, *_) = kept
    contract = tmp_path / "contract.toml"
    contract.write_text('[[price]]\nmodel = "gpt-4o"\ninput = 0\noutput = 1\n')
    told = shown_json("what-if", thread_id, "--prices", str(contract), store=store)
    assert told["prices"] == str(contract)
    assert Decimal(told["otherwise"]["amount"]) * 1_000_000 == told["was"]["output_tokens"]
    assert "--prices" not in refused("what-if", thread_id, "--prices", str(tmp_path / "gone.toml"), store=store)


def test_the_past_is_asked_about_as_of_any_point(kept: tuple[str, list[str]]) -> None:
    store, (thread_id, *_) = kept
    early = shown_json("what-if", f"{thread_id}@v7", "--truncation", "none", store=store)
    assert len(early["runs"]) == 1


def test_what_cannot_be_asked_is_told(kept: tuple[str, list[str]]) -> None:
    store, (thread_id, _, without_runs) = kept
    assert "say what would be otherwise" in refused("what-if", thread_id, store=store)
    assert "name a thread, or say --all" in refused("what-if", "--truncation", "auto", store=store)
    assert "name a thread, or say --all" in refused("what-if", thread_id, "--all", "--truncation", "auto", store=store)
    assert "last_messages needs a number" in refused("what-if", thread_id, "--truncation", "last_messages", store=store)
    assert "no thread has the id" in refused("what-if", "thread_x", "--truncation", "auto", store=store)
    assert "there was no run" in shown("what-if", without_runs, "--truncation", "auto", store=store)


def test_a_thread_of_which_something_was_erased_is_in_no_sum(tmp_path: Path) -> None:
    store = tmp_path / "threads.db"

    async def main() -> list[str]:
        async with clew.open(str(store), providers={"openai": Metered()}, default_provider="openai") as engine:
            return [await converse(engine, configured(), turns) for turns in (2, 1)]

    whole, gone = asyncio.run(main())
    with sqlite3.connect(store) as connection:
        connection.execute("update events set state = null where originator_id = ? and originator_version = 2", (gone,))
    connection.close()
    told = shown_json("what-if", "--all", "--truncation", "none", store=str(store))
    assert ({run["thread_id"] for run in told["runs"]}, told["erased_threads"]) == ({whole}, [gone])
    assert "1 threads are erased in part" in shown("what-if", "--all", "--truncation", "none", store=str(store))
    assert "was erased" in refused("what-if", gone, "--truncation", "none", store=str(store))


def over_http(store: str, ask: Callable[[httpx2.AsyncClient, list[str]], Any]) -> None:
    async def main() -> None:
        async with clew.open(store, providers={"openai": Metered()}, default_provider="openai") as engine:
            threads = [await converse(engine, configured(), turns) for turns in (TURNS, 2)]
            await ask(client_of(engine), threads)

    asyncio.run(main())


def client_of(engine: Engine) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=make_app(engine))
    return httpx2.AsyncClient(transport=transport, base_url="http://clew/clew/v1", timeout=30)


def test_the_same_over_http(store: str) -> None:
    async def ask(client: httpx2.AsyncClient, threads: list[str]) -> None:
        of = {"thread_id": threads[0], "truncation": "last_messages:2"}
        told = (await client.get("/what-if", params=of)).json()
        assert len(told["runs"]) == TURNS
        assert told["otherwise"]["input_tokens"] < told["was"]["input_tokens"]
        assert Decimal(told["difference"]) < 0
        same = (await client.get("/what-if", params={**of, "truncation": "auto", "model": "openai/gpt-4o"})).json()
        assert same["was"] == same["otherwise"] == told["was"]
        every = (await client.get("/what-if", params={"truncation": "last_messages:2"})).json()
        assert every["runs"] == []
        assert every["was"]["calls"] > told["was"]["calls"]

    over_http(store, ask)


def test_over_http_the_past_is_asked_about_too_and_nonsense_is_refused() -> None:
    async def ask(client: httpx2.AsyncClient, threads: list[str]) -> None:
        of = {"thread_id": threads[0], "truncation": "auto"}
        early = (await client.get("/what-if", params=of, headers={"Clew-As-Of": "7"})).json()
        assert len(early["runs"]) == 1
        for params, status, told in (
            ({"thread_id": threads[0]}, 400, "say what would be otherwise"),
            ({**of, "truncation": "last_messages"}, 400, "last_messages needs a number"),
            ({**of, "thread_id": "thread_x"}, 404, "no thread has the id"),
        ):
            answer = await client.get("/what-if", params=params)
            assert answer.status_code == status
            assert told in answer.json()["error"]["message"]

    over_http(":memory:", ask)
