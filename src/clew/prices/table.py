"""The price of one model call."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from functools import cache, lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from clew.events.price import Price
from clew.events.usage import Usage
from clew.prices.overrides import Override, newest_fitting
from clew.prices.units import COUNTED, DIGITS, KINDS, lines, rounded, shown, total

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider

logger = logging.getLogger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Prices:
    """`overrides` are the operator's. `addresses` are the base URLs of our providers: they tell who sends the bill,
    since a server that speaks OpenAI's format may be anybody's. Where they tell nothing, the provider's name does."""

    overrides: tuple[Override, ...] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)

    def price(
        self, provider: str, model: str, usage: Usage, at: int, context: Mapping[str, str] | None = None
    ) -> Price | None:
        """Of a call at `at` (microseconds since 1970) that used `usage`. None when nobody knows the price."""
        model = model.removeprefix(f"{provider}/")
        moment = _EPOCH + timedelta(microseconds=at)
        own = newest_fitting(self.overrides, provider, model, moment.date(), context or {})
        try:
            if own is not None:
                return _by_override(own, provider, usage)
            return _by_table(self._billed_by(provider), model, usage, moment, context or {})
        except ValueError as error:
            logger.warning("%s/%s is left unpriced, its usage %r does not add up: %s", provider, model, usage, error)
            return None

    def _billed_by(self, provider: str) -> str:
        address = self.addresses.get(provider)
        return (_provider_of_url(address) if address is not None else None) or provider


@cache
def table_name() -> str:
    return f"genai-prices/{version('genai-prices')}"


@lru_cache(maxsize=1_024)
def _known(provider: str, model: str) -> tuple[Provider, ModelInfo] | None:
    """Loading the table takes some tenths of a second, which is nothing to do at import."""
    from genai_prices.data_snapshot import get_snapshot

    try:
        return get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return None


@cache
def _provider_of_url(base_url: str) -> str | None:
    """Who answers at an address, as far as the table knows it."""
    from genai_prices.data_snapshot import get_snapshot

    try:
        return get_snapshot().find_provider(None, None, base_url).id
    except LookupError:
        return None


def _by_override(own: Override, provider: str, usage: Usage) -> Price:
    found = lines(usage, own.prices)
    return Price(amount=shown(rounded(total(found))), table=own.table, provider=provider, model=own.model, lines=found)


def _by_table(provider: str, model: str, usage: Usage, moment: datetime, context: Mapping[str, str]) -> Price | None:
    known = _known(provider, model)
    if known is None:
        return None
    its_provider, its_model = known
    with localcontext(prec=DIGITS):
        calculated = its_model.calc_price(
            _as_theirs(usage), its_provider, genai_request_timestamp=moment, price_context=context or None
        )
    explained = lines(usage, _prices_of(calculated.model_price, usage.input))
    if rounded(total(explained)) != rounded(calculated.total_price):
        # A kind of price that we do not know the words for: the amount holds, and is left unexplained.
        explained = ()
    return Price(
        amount=shown(rounded(calculated.total_price)),
        table=table_name(),
        provider=its_provider.id,
        model=its_model.id,
        lines=explained,
    )


_THEIRS = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cache_read_tokens": "cached",
    "cache_write_tokens": "cache_write",
    "cache_write_1h_tokens": "cache_write_1h",
    "output_reasoning_tokens": "reasoning",
    "input_audio_tokens": "input_audio",
    "output_audio_tokens": "output_audio",
    "web_searches": "web_searches",
}


def _as_theirs(usage: Usage) -> object:
    from genai_prices import Usage as Theirs

    counts = {theirs: getattr(usage, ours) for theirs, ours in _THEIRS.items()}
    return Theirs(
        **{name: count for name, count in counts.items() if count or name in ("input_tokens", "output_tokens")}
    )


_NAMES = {kind: f"{kind}_mtok" for kind in KINDS} | {kind: f"{kind}_kcount" for kind in COUNTED}


def _prices_of(model_price: ModelPrice, input_tokens: int) -> dict[str, Decimal]:
    """By kind. Where a price depends on the prompt's length, the one for this length."""
    from genai_prices.types import TieredPrices

    found = {}
    for kind, name in _NAMES.items():
        price = getattr(model_price, name)
        if isinstance(price, TieredPrices):
            price = next((tier.price for tier in reversed(price.tiers) if input_tokens > tier.start), price.base)
        if price is not None:
            found[kind] = price
    return found
