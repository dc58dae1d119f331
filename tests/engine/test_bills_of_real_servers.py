"""Servers that count in their own ways: the ledger says what the invoice says, and so do budgets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest

import clew
from clew.billing.questions import Asked, all_entries
from clew.billing.records import EntryRecord
from clew.engine.engine import Engine
from clew.events.model import ModelAnswered, ModelFailed
from clew.events.run import BudgetReached, RunConfig
from clew.ids import DEFAULT_TENANT
from clew.providers.anthropic import Anthropic
from clew.providers.base import Provider
from clew.providers.mistral import Mistral
from clew.providers.openai import OpenAI
from clew.rules.budget import SetBudget
from tests.engine.invoices import INVOICES, PRICES, Invoice, chat, end
from tests.engine.running import ask
from tests.rigs.raw_server import Reply, Server, serving, stream

CLASSES: dict[str, Callable[..., Provider]] = {"openai": OpenAI, "anthropic": Anthropic, "mistral": Mistral}
NAMED = pytest.mark.parametrize("invoice", INVOICES.values(), ids=INVOICES.keys())
WAYS = pytest.mark.parametrize("streams", [True, False], ids=["stream", "whole"])


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES)
    return path


def at(store: str, prices: Path, invoice: Invoice, replied: Reply, work: Callable[[Engine], Any]) -> Any:
    async def main() -> Any:
        async with serving(replied) as server:
            provider = CLASSES[invoice.provider](base_url=url_of(invoice, server), api_key=None)
            providers = {invoice.provider: provider}
            async with clew.open(
                store, providers=providers, default_provider=invoice.provider, prices=prices
            ) as engine:
                return await work(engine)

    return asyncio.run(main())


def url_of(invoice: Invoice, server: Server) -> str:
    return server.base_url if invoice.provider == "openai" else server.base_url.removesuffix("/v1")


def config_of(invoice: Invoice, streams: bool) -> RunConfig:
    return RunConfig(provider=invoice.provider, model=invoice.model, asked_model=invoice.model, stream=streams)


def entries(engine: Engine) -> list[EntryRecord]:
    with engine.log.reading() as reader:
        return list(all_entries(reader, Asked()))


async def limit(engine: Engine, unit: Literal["tokens", "USD"], spent: str) -> None:
    """A budget that is used up when `spent` is."""
    command = SetBudget(
        budget_id=unit, scope="tenant", subject=DEFAULT_TENANT, period="day", unit=unit, limit=spent, hard=True
    )
    await engine.desk.on_budget(unit, lambda: command)


@WAYS
@NAMED
def test_the_ledger_says_what_the_invoice_says(store: str, prices: Path, invoice: Invoice, streams: bool) -> None:
    async def work(engine: Engine) -> None:
        thread_id = await ask(engine, config_of(invoice, streams))
        [entry] = entries(engine)
        counted = (entry.input_tokens, entry.cached_tokens, entry.cache_write_tokens)
        assert (*counted, entry.output_tokens, entry.reasoning_tokens) == invoice.counts
        assert (entry.cost, entry.amount) == ("priced", invoice.amount)
        assert sum(line.tokens * Decimal(line.price) / line.per for line in entry.lines) == Decimal(invoice.amount)
        with engine.log.reading() as reader:
            [answered] = [one.event for one in reader.stream(thread_id) if isinstance(one.event, ModelAnswered)]
        assert answered.usage_reported

    at(store, prices, invoice, invoice.replied(streams), work)


@NAMED
def test_budgets_stop_at_the_same_numbers(prices: Path, invoice: Invoice) -> None:
    """A budget of exactly what one call takes is used up by it, and says so in the invoice's own numbers."""
    tokens = invoice.counts[0] + invoice.counts[3]

    async def work(engine: Engine) -> None:
        await ask(engine, config_of(invoice, True))
        await limit(engine, "tokens", str(tokens))
        await limit(engine, "USD", invoice.amount)
        await ask(engine, config_of(invoice, True))
        with engine.log.reading() as reader:
            reached = [one.event for one in reader.follow(0, 1000) if isinstance(one.event, BudgetReached)]
        assert reached
        for one in reached:
            assert Decimal(one.spent) == Decimal(tokens if one.unit == "tokens" else invoice.amount)
        assert len(entries(engine)) == 1

    at(":memory:", prices, invoice, invoice.replied(True), work)


NOTHING = [
    {},
    {"total_tokens": 0},
    {"prompt_tokens": 0, "completion_tokens": 0},
    {"prompt_tokens": None},
    None,
    [],
    "no",
]


@WAYS
@pytest.mark.parametrize("usage", NOTHING, ids=str)
def test_a_usage_without_tokens_is_no_usage(prices: Path, usage: Any, streams: bool) -> None:
    invoice = Invoice("deepseek-chat", chat(end(), {"usage": usage}), (0, 0, 0, 0, 0), "0")

    async def work(engine: Engine) -> None:
        thread_id = await ask(engine, config_of(invoice, streams))
        with engine.log.reading() as reader:
            [answered] = [one.event for one in reader.stream(thread_id) if isinstance(one.event, ModelAnswered)]
        assert answered.usage is None
        [entry] = entries(engine)
        assert (entry.cost, entry.amount) == ("lost", None)

    at(":memory:", prices, invoice, invoice.replied(streams), work)


def test_what_a_broken_stream_had_counted_in_another_place_is_paid_for(prices: Path) -> None:
    invoice = INVOICES["moonshot"]
    usage = {"prompt_tokens": 1000, "completion_tokens": 200, "cached_tokens": 400}
    failing = {"id": "1", "choices": [{"index": 0, "delta": {"content": "Hel"}, "usage": usage}]}
    failed = stream(failing, {"error": {"message": "gone", "type": "invalid_request_error"}}, done=False)

    async def work(engine: Engine) -> None:
        thread_id = await ask(engine, config_of(invoice, True))
        with engine.log.reading() as reader:
            [lost] = [one.event for one in reader.stream(thread_id) if isinstance(one.event, ModelFailed)]
        assert lost.price is not None
        assert lost.price.amount == invoice.amount

    at(":memory:", prices, invoice, failed, work)


def test_a_stream_to_a_plain_request_is_billed_as_it_was_counted(prices: Path) -> None:
    for name in ("moonshot", "groq", "anthropic, and zeros at the end", "mistral"):
        invoice = INVOICES[name]

        async def work(engine: Engine, invoice: Invoice = invoice) -> None:
            for streams in (False, True):
                await ask(engine, config_of(invoice, streams))
            assert {entry.amount for entry in entries(engine)} == {invoice.amount}

        at(":memory:", prices, invoice, invoice.replied(True), work)
