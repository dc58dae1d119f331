"""Which provider a model's name means, and what is said of one that is not configured."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from clew.engine.models import resolve
from clew.errors import NoSuchProvider


@dataclass
class Called:
    """A provider, as far as it is known where it is called."""

    origin: str


HERE: dict[str, object] = dict.fromkeys(("scripted", "openai", "mistral"))


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("gpt-4o", ("openai", "gpt-4o")),
        ("openai/gpt-4o", ("openai", "gpt-4o")),
        ("mistral/mistral-large-4", ("mistral", "mistral-large-4")),
        ("scripted/echo", ("scripted", "echo")),
        ("meta-llama/Llama-3", ("openai", "meta-llama/Llama-3")),
        ("deepseek/deepseek-v4", ("openai", "deepseek/deepseek-v4")),
        ("openai/anthropic/claude-opus-5-5", ("openai", "anthropic/claude-opus-5-5")),
        ("anthropic", ("openai", "anthropic")),
    ],
)
def test_a_name_means_one_provider(asked: str, found: tuple[str, str]) -> None:
    assert resolve(asked, HERE, "openai") == found


def refusal(asked: str, default: str, where: str = "model", openai: object = None) -> str:
    with pytest.raises(NoSuchProvider) as refused:
        resolve(asked, {**HERE, "openai": openai}, default, where)
    return str(refused.value)


def test_one_of_clews_own_that_is_not_configured_is_refused_with_the_setting_and_the_way_out() -> None:
    told = (
        "model 'anthropic/claude-opus-5-5' needs the provider anthropic, and CLEW_ANTHROPIC_API_KEY is not set: set it,"
        " or CLEW_ANTHROPIC_BASE_URL for a server that wants no key"
    )
    for openai in (None, Called("api.openai.com")):
        assert refusal("anthropic/claude-opus-5-5", "openai", openai=openai) == told
    assert refusal("anthropic/claude-opus-5-5", "openai", openai=Called("127.0.0.1:8000")) == (
        f"{told}; if the server behind CLEW_OPENAI_BASE_URL has a model of that name, write"
        " openai/anthropic/claude-opus-5-5"
    )


def test_a_provider_of_that_name_is_not_advised_to_be_asked_for_itself() -> None:
    with pytest.raises(NoSuchProvider) as refused:
        resolve("openai/gpt-4o", {"scripted": None}, "openai")
    assert "openai/openai" not in str(refused.value)


def test_a_bare_name_is_refused_where_its_provider_is_not_configured() -> None:
    assert refusal("claude-opus-5-5", "anthropic", "--model") == (
        "--model 'claude-opus-5-5' needs the provider anthropic, and CLEW_ANTHROPIC_API_KEY is not set: set it, or"
        " CLEW_ANTHROPIC_BASE_URL for a server that wants no key"
    )
    assert refusal("m", "stub") == "model 'm' needs the provider stub, and this server has none of that name"


def test_where_it_is_not_known_whose_a_bare_name_is_only_providers_are_refused() -> None:
    assert resolve("small", HERE, "") == ("", "small")
    assert "CLEW_ANTHROPIC_API_KEY" in refusal("anthropic/small", "")


def test_a_long_name_is_not_repeated_whole() -> None:
    assert len(refusal("anthropic/" + "x" * 100_000, "openai")) < 600
