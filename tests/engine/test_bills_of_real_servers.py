"""Servers that count in their own ways: for each an invoice that was worked by hand, and the ledger's entry beside it.

Prices are dollars for a million tokens, as the providers list them. What a server counts is what a budget counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
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
from tests.engine.running import ask
from tests.providers.kinds import ANTHROPIC, block, delta, message, start, stopped
from tests.rigs.raw_server import Reply, Server, json_reply, serving, stream

PRICES = """
[[price]]
model = "kimi-k2.5"
input = 0.60
cache_read = 0.10
output = 3

[[price]]
model = "llama-3.3-70b-versatile"
input = 0.59
output = 0.79

[[price]]
model = "grok-4"
input = 3
cache_read = 0.75
output = 15

[[price]]
model = "gemini-2.5-flash"
input = 0.30
cache_read = 0.03
output = 2.50

[[price]]
model = "deepseek-chat"
input = 0.27
cache_read = 0.07
output = 1.10

[[price]]
model = "claude-opus-5-5"
input = 4
cache_read = 0.20
cache_write = 5
cache_write_1h = 8
output = 20

[[price]]
model = "mistral-large-4"
input = 0.70
cache_read = 0.07
output = 2.10
"""


def chat(*chunks: dict[str, Any]) -> Callable[[bool], Reply]:
    """A server of chat completions: as a stream, "Hello" and then these; at once, an answer with all of them in it."""

    def replied(streams: bool) -> Reply:
        if streams:
            said = [{"id": "1", "choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}]}]
            return stream(*said, *({"id": "1", "choices": [], **one} for one in chunks))
        # Of what a stream says twice the first counts here.
        whole = {name: value for one in reversed(chunks) for name, value in one.items() if name != "choices"}
        choice = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
        for one in chunks:
            for said in one.get("choices", ()):
                choice |= {name: value for name, value in said.items() if name not in ("delta", "index")}
        return json_reply({"id": "1", **whole, "choices": [choice]})

    return replied


def end(**more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", **more}]}


def messages(first: dict[str, Any], *later: dict[str, Any]) -> Callable[[bool], Reply]:
    """Anthropic: what it counts at the beginning, and what each delta of the message counts."""

    def replied(streams: bool) -> Reply:
        if not streams:
            usage = dict(first)
            for one in later:
                usage |= {name: value for name, value in one.items() if value}
            return json_reply(message({"type": "text", "text": "Hello"}, usage=usage))
        begun = start()
        begun["message"]["usage"] = first
        deltas = [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": one} for one in later]
        said = (block(0, type="text", text=""), delta(0, "text", text="Hello"), stopped(0))
        return ANTHROPIC.streamed(begun, *said, *deltas, {"type": "message_stop"})

    return replied


@dataclass(frozen=True)
class Invoice:
    """`counts` are input, of which cached, of which written to the cache; output, of which reasoning."""

    model: str
    replied: Callable[[bool], Reply]
    counts: tuple[int, int, int, int, int]
    amount: str
    provider: str = "openai"


INVOICES = {
    # https://platform.moonshot.ai/docs/api/chat: the usage stands in the choice.
    #     600 fresh at 0.60 = 0.00036, 400 cached at 0.10 = 0.00004, 200 of output at 3 = 0.0006
    "moonshot": Invoice(
        "kimi-k2.5",
        chat(end(usage={"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200, "cached_tokens": 400})),
        (1000, 400, 0, 200, 0),
        "0.001",
    ),
    # https://console.groq.com/docs/api-reference: in a member of its own, in the last chunk.
    #     1,000 at 0.59 = 0.00059, 100 at 0.79 = 0.000079
    "groq": Invoice(
        "llama-3.3-70b-versatile",
        chat(
            end()
            | {
                "x_groq": {
                    "id": "req_1",
                    "usage": {
                        "queue_time": 0.037,
                        "prompt_tokens": 1000,
                        "prompt_time": 0.001,
                        "completion_tokens": 100,
                        "completion_time": 0.24,
                        "total_tokens": 1100,
                        "total_time": 0.241,
                    },
                }
            }
        ),
        (1000, 0, 0, 100, 0),
        "0.000669",
    ),
    # https://docs.x.ai/docs/guides/reasoning: reasoning is in the total, and not in the completion.
    #     10,120 - 128 = 9,992 fresh at 3 = 0.029976, 128 cached at 0.75 = 0.000096,
    #     14,428 - 10,120 = 4,308 of output at 15 = 0.06462
    "xai": Invoice(
        "grok-4",
        chat(
            end(),
            {
                "usage": {
                    "prompt_tokens": 10120,
                    "completion_tokens": 1499,
                    "total_tokens": 14428,
                    "prompt_tokens_details": {"text_tokens": 10120, "cached_tokens": 128},
                    "completion_tokens_details": {"reasoning_tokens": 2809},
                }
            },
        ),
        (10120, 128, 0, 4308, 2809),
        "0.094692",
    ),
    # The same without a total: what is reasoned beyond the completion is output all the same.
    #     1,000 at 3 = 0.003, 50 + 400 at 15 = 0.00675
    "xai without a total": Invoice(
        "grok-4",
        chat(
            end(),
            {
                "usage": {
                    "prompt_tokens": 1000,
                    "completion_tokens": 50,
                    "completion_tokens_details": {"reasoning_tokens": 400},
                }
            },
        ),
        (1000, 0, 0, 450, 400),
        "0.00975",
    ),
    # More was cached than the prompt has: it is counted beside it.
    #     100 fresh at 3 = 0.0003, 4,000 cached at 0.75 = 0.003, 10 at 15 = 0.00015
    "xai with more cached than the prompt has": Invoice(
        "grok-4",
        chat(
            end(),
            {
                "usage": {
                    "prompt_tokens": 100,
                    "completion_tokens": 10,
                    "total_tokens": 110,
                    "prompt_tokens_details": {"cached_tokens": 4000},
                }
            },
        ),
        (4100, 4000, 0, 10, 0),
        "0.00345",
    ),
    # Gemini's endpoint in OpenAI's format: thoughts are in the total only.
    #     1,000 at 0.30 = 0.0003, 1,250 - 1,000 = 250 at 2.50 = 0.000625
    "gemini": Invoice(
        "gemini-2.5-flash",
        chat(end(), {"usage": {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1250}}),
        (1000, 0, 0, 250, 0),
        "0.000925",
    ),
    # https://api-docs.deepseek.com/guides/kv_cache
    #     400 missed at 0.27 = 0.000108, 600 hit at 0.07 = 0.000042, 100 at 1.10 = 0.00011
    "deepseek": Invoice(
        "deepseek-chat",
        chat(
            end(),
            {
                "usage": {
                    "prompt_tokens": 1000,
                    "completion_tokens": 100,
                    "total_tokens": 1100,
                    "prompt_cache_hit_tokens": 600,
                    "prompt_cache_miss_tokens": 400,
                    "completion_tokens_details": {"reasoning_tokens": 60},
                }
            },
        ),
        (1000, 600, 0, 100, 60),
        "0.00026",
    ),
    # Numbers, and then an object without any, zeros, nulls.
    "an empty usage at the end": Invoice(
        "deepseek-chat",
        chat(
            end(),
            {"usage": {"prompt_tokens": 1000, "completion_tokens": 100, "prompt_cache_hit_tokens": 600}},
            {"usage": {}},
            {"usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "prompt_cache_hit_tokens": 0}},
            {"usage": {"prompt_tokens": None, "completion_tokens": None}},
            {"usage": None},
        ),
        (1000, 600, 0, 100, 0),
        "0.00026",
    ),
    "numbers as text": Invoice(
        "deepseek-chat",
        chat(
            end(),
            {"usage": {"prompt_tokens": "1000", "completion_tokens": "100", "prompt_cache_hit_tokens": "600"}},
        ),
        (1000, 600, 0, 100, 0),
        "0.00026",
    ),
    "numbers with a point": Invoice(
        "deepseek-chat",
        chat(end(), {"usage": {"prompt_tokens": 1000.0, "completion_tokens": 100.0, "cached_tokens": 6e2}}),
        (1000, 600, 0, 100, 0),
        "0.00026",
    ),
    # A gateway that passes Anthropic's numbers on, where the input leaves out the cache.
    #     10 at 4 = 0.00004, 1,000 read at 0.20 = 0.0002, 100 written at 5 = 0.0005, 5 at 20 = 0.0001
    "a gateway in front of anthropic": Invoice(
        "claude-opus-5-5",
        chat(
            end(),
            {
                "usage": {
                    "input_tokens": 10,
                    "output_tokens": 5,
                    "cache_read_input_tokens": 1000,
                    "cache_creation_input_tokens": 100,
                }
            },
        ),
        (1110, 1000, 100, 5, 0),
        "0.00084",
    ),
    "anthropic, and zeros at the end": Invoice(
        "claude-opus-5-5",
        messages(
            {
                "input_tokens": 10,
                "output_tokens": 1,
                "cache_read_input_tokens": 1000,
                "cache_creation_input_tokens": 100,
            },
            {
                "input_tokens": 0,
                "output_tokens": 5,
                "cache_read_input_tokens": 0,
                "cache_creation_input_tokens": 0,
            },
        ),
        (1110, 1000, 100, 5, 0),
        "0.00084",
        "anthropic",
    ),
    "anthropic, with numbers as text and nothing at the end": Invoice(
        "claude-opus-5-5",
        messages(
            {
                "input_tokens": "10",
                "output_tokens": 1,
                "cache_read_input_tokens": "1000",
                "cache_creation_input_tokens": "100",
            },
            {"output_tokens": "5"},
            {"output_tokens": 0},
            {},
        ),
        (1110, 1000, 100, 5, 0),
        "0.00084",
        "anthropic",
    ),
    #     600 at 0.70 = 0.00042, 400 at 0.07 = 0.000028, 200 at 2.10 = 0.00042
    "mistral": Invoice(
        "mistral-large-4",
        chat(
            end(usage={"prompt_tokens": "1000", "completion_tokens": 200, "num_cached_tokens": 400}),
            {"usage": {"prompt_tokens": 0, "completion_tokens": 0}},
        ),
        (1000, 400, 0, 200, 0),
        "0.000868",
        "mistral",
    ),
}
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
