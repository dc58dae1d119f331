"""The operator's own prices: what a line fits, which of them holds, and what a wrong file is told."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from pathlib import Path

import pytest

from clew.errors import Misconfigured
from clew.events.usage import Usage
from clew.prices import Prices, read_overrides
from tests.prices.billing import amount, priced, shares

MILLION = Usage(input=1_000_000)


def table(folder: Path, written: str) -> Prices:
    file = folder / "own.toml"
    file.write_text(written)
    return Prices(read_overrides(file))


def test_own_prices_come_before_the_table(tmp_path: Path) -> None:
    """3.75 for what is fresh, 1.875 for what is cached, 15 for what comes out, 10 for a thousand searches.

    700 at 3.75     = 0.002625
    300 at 1.875    = 0.0005625
    200 at 15       = 0.003
    1 search        = 0.01
                      0.0161875
    """
    own = table(
        tmp_path,
        """
        [[price]]
        provider = "openai"
        model = "gpt-6-sol"
        input = 3.75
        cache_read = 1.875
        output = 15
        web_searches = 10
        """,
    )
    usage = Usage(input=1_000, cached=300, output=200, reasoning=50, web_searches=1)
    price = priced("openai", "gpt-6-sol", usage, "2026-11-20", own)
    assert price is not None
    digest = hashlib.sha256((tmp_path / "own.toml").read_bytes()).hexdigest()[:12]
    assert (price.amount, price.table, price.provider) == ("0.0161875", f"own.toml/{digest}", "openai")
    assert shares(price) == {
        "input": (700, "3.75", Decimal("0.002625")),
        "cache_read": (300, "1.875", Decimal("0.0005625")),
        "output": (200, "15", Decimal("0.003")),
        "web_searches": (1, "10", Decimal("0.01")),
    }
    # What the file does not speak of is priced as ever.
    assert amount("openai", "gpt-4o", MILLION, "2026-11-20", own) == amount("openai", "gpt-4o", MILLION, "2026-11-20")


def test_a_price_of_nothing_is_a_price(tmp_path: Path) -> None:
    own = table(tmp_path, '[[price]]\nprovider = "local"\nmodel = "*"\ninput = 0\noutput = 0\n')
    assert amount("local", "llama-9", Usage(input=5, output=5), "2026-11-20", own) == "0"


def test_a_kind_that_is_left_out_costs_what_the_wider_kind_costs(tmp_path: Path) -> None:
    own = table(tmp_path, '[[price]]\nmodel = "m"\ninput = 2\noutput = 4\ncache_write = 3\n')
    usage = Usage(input=100, cached=10, cache_write=20, cache_write_1h=5, input_audio=7, output=50, reasoning=9)
    assert {kind: line[:2] for kind, line in shares(priced("p", "m", usage, "2026-11-20", own)).items()} == {
        "input": (80, "2"),  # 100 - 20 written; the cached and the heard are in it
        "cache_write": (20, "3"),  # those for an hour are in it
        "output": (50, "4"),
    }


def test_of_several_that_fit_the_last_in_the_file_holds(tmp_path: Path) -> None:
    own = table(
        tmp_path,
        """
        [[price]]
        model = "ft:gpt-4o:acme*"
        input = 1
        output = 1

        [[price]]
        model = "ft:*"
        from = 2026-10-01
        input = 2
        output = 2

        [[price]]
        provider = "azure"
        model = "*"
        input = 3
        output = 3
        """,
    )
    assert amount("openai", "ft:gpt-4o:acme::1", MILLION, "2026-09-30T23:59:59", own) == "1"
    assert amount("openai", "ft:gpt-4o:acme::1", MILLION, "2026-10-01", own) == "2"
    assert amount("openai", "openai/ft:gpt-4o:acme::1", MILLION, "2026-10-01", own) == "2"
    assert amount("azure", "ft:gpt-4o:acme::1", MILLION, "2026-10-01", own) == "3"
    assert priced("openai", "FT:nothing", MILLION, "2026-09-30", own) is None


def test_a_price_may_hold_for_one_way_of_serving_only(tmp_path: Path) -> None:
    own = table(
        tmp_path,
        """
        [[price]]
        model = "m"
        input = 4
        output = 4

        [[price]]
        model = "m"
        when = { service_tier = "flex" }
        input = 2
        output = 2

        [[price]]
        model = "m"
        when = { service_tier = "flex", speed = "fast" }
        input = 5
        output = 5
        """,
    )
    assert amount("p", "m", MILLION, "2026-11-20", own) == "4"
    assert amount("p", "m", MILLION, "2026-11-20", own, service_tier="priority") == "4"
    assert amount("p", "m", MILLION, "2026-11-20", own, service_tier="flex") == "2"
    assert amount("p", "m", MILLION, "2026-11-20", own, service_tier="flex", speed="fast") == "5"


def test_half_of_the_last_place_goes_to_the_even_one(tmp_path: Path) -> None:
    """A dollar has 18 places. 0.0000000000005 for a million is 5 in the 19th place for one: to even, which is 0;
    three tokens are 1.5 of the last place, to even, which is 2."""
    own = table(tmp_path, '[[price]]\nmodel = "m"\ninput = 0.0000000000005\noutput = 1e-12\n')
    assert amount("p", "m", Usage(input=1), "2026-11-20", own) == "0"
    assert amount("p", "m", Usage(input=3), "2026-11-20", own) == "0.000000000000000002"
    # The lines are added up before anything is rounded: half and one is 1.5 of the last place.
    assert amount("p", "m", Usage(input=1, output=1), "2026-11-20", own) == "0.000000000000000002"


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("[[price]\n", "is no TOML"),
        (f"[[price]]\nmodel = 'm'\ninput = 1{'0' * 5_000}\noutput = 1\n", "is no TOML"),
        ("[[prices]]\n", "prices: Extra inputs are not permitted"),
        ("price = 3\n", "price: Input should be a valid list"),
        ("[[price]]\ninput = 1\noutput = 1\n", "price 1 model: Field required"),
        ("[[price]]\nmodel = 'm'\ninput = 1\noutput = 1\n[[price]]\nmodel = 'n'\ninput = 1\n", "price 2 output: Field"),
        ("[[price]]\nmodel = 'm'\ninput = -1\noutput = 1\n", "price 1 input: Input should be greater than or equal"),
        ("[[price]]\nmodel = 'm'\ninput = nan\noutput = 1\n", "price 1 input: Input should be a finite number"),
        ("[[price]]\nmodel = 'm'\ninput = inf\noutput = 1\n", "price 1 input: Input should be a finite number"),
        ("[[price]]\nmodel = 'm'\ninput = true\noutput = 1\n", "price 1 input: Decimal input should be"),
        ("[[price]]\nmodel = 'm'\ninput = 1\noutput = 1\ncache_read = true\n", "price 1 cache_read: Decimal input"),
        ("[[price]]\nmodel = 'm'\ninput = 'much'\noutput = 1\n", "price 1 input: Input should be a valid decimal"),
        (
            "[[price]]\nmodel = 'm'\ninput = 1e-21\noutput = 1\n",
            "price 1 input: Decimal input should have no more than",
        ),
        ("[[price]]\nmodel = 'm'\ninput = 1\noutput = 1\nfrom = 'May'\n", "price 1 from: "),
        (
            "[[price]]\nmodel = 'm'\ninput = 1\noutput = 1\ncached = 1\n",
            "price 1 cached: Extra inputs are not permitted",
        ),
        ("[[price]]\nmodel = 'm'\ninput = 1\noutput = 1\nwhen = { tier = 'flex' }\n", "price 1 when tier"),
    ],
)
def test_a_wrong_file_is_told_where(tmp_path: Path, written: str, told: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        table(tmp_path, written)
    assert str(tmp_path / "own.toml") in str(caught.value)
    assert told in str(caught.value)


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read: No such file"):
        read_overrides(tmp_path / "gone.toml")
    with pytest.raises(Misconfigured, match="cannot be read: Is a directory"):
        read_overrides(tmp_path)
    (tmp_path / "latin.toml").write_bytes('[[price]]\nmodel = "größe"\n'.encode("latin-1"))
    with pytest.raises(Misconfigured, match="is not UTF-8 text"):
        read_overrides(tmp_path / "latin.toml")


def test_an_empty_file_prices_nothing_and_a_mark_at_its_begin_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "none.toml").write_text("# to be filled\n")
    assert read_overrides(tmp_path / "none.toml") == ()
    (tmp_path / "marked.toml").write_bytes(b'\xef\xbb\xbf[[price]]\nmodel = "m"\ninput = 1\noutput = 1\n')
    assert len(read_overrides(tmp_path / "marked.toml")) == 1
