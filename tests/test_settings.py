"""Which providers there are, and what they are given, by the environment."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from clew.cli.serving import _listen
from clew.errors import Misconfigured
from clew.providers.anthropic import Anthropic
from clew.providers.mistral import Mistral
from clew.providers.openai import OpenAI
from clew.settings import PROVIDER_NAMES, Settings, from_environment
from clew.wiring import make_engine, make_prices, make_providers


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("CLEW_") or name.endswith("_API_KEY"):
            monkeypatch.delenv(name)


def settings(**flags: object) -> Settings:
    return from_environment(store=":memory:", **flags)


def test_without_a_setting_there_is_the_scripted_provider_and_openai_lacks_its_key() -> None:
    assert set(settings().providers) == {"openai"}
    assert settings().providers["openai"].base_url == "https://api.openai.com/v1"
    assert settings().providers["openai"].lacks_key("openai")
    assert set(make_providers(settings())) == {"scripted"}
    make_engine(settings()).log.close()


@pytest.mark.parametrize("name", PROVIDER_NAMES)
@pytest.mark.parametrize(
    ("setting", "value", "there"),
    [
        ("CLEW_{}_API_KEY", "sk-of-nobody", True),
        ("{}_API_KEY", "sk-of-nobody", True),
        ("CLEW_{}_BASE_URL", "http://127.0.0.1:1/v1", True),
        ("CLEW_{}_BASE_URL", "https://api.{}.com/v1/", False),
        ("CLEW_{}_API_KEY", "", False),
    ],
)
def test_a_provider_is_called_with_a_key_or_at_a_server_of_the_operators(
    name: str, setting: str, value: str, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = value.replace("{}.com", "mistral.ai") if name == "mistral" else value.format(name)
    monkeypatch.setenv(setting.format(name.upper()), url)
    assert (name in make_providers(settings(default_provider=name))) is there


@pytest.mark.parametrize("name", ["anthropic", "mistral"])
@pytest.mark.parametrize("setting", ["CLEW_{}_BASE_URL", "CLEW_{}_API_KEY", "{}_API_KEY"])
def test_any_of_its_settings_brings_a_provider(name: str, setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(setting.format(name.upper()), "http://127.0.0.1:1")
    assert set(settings().providers) == {"openai", name}


@pytest.mark.parametrize("name", ["anthropic", "mistral"])
def test_the_default_provider_is_always_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(settings(default_provider=name).providers) == {"openai", name}
    monkeypatch.setenv("CLEW_DEFAULT_PROVIDER", name)
    assert settings().default_provider == name
    assert settings().providers[name].base_url == f"https://api.{name}.{'com' if name == 'anthropic' else 'ai'}"


def test_a_key_of_ours_comes_before_the_one_of_the_sdk_and_neither_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-the-sdk")
    monkeypatch.setenv("MISTRAL_API_KEY", "sk-of-the-sdk")
    monkeypatch.setenv("CLEW_ANTHROPIC_API_KEY", "sk-of-ours")
    chosen = settings()
    assert {name: its.api_key for name, its in chosen.providers.items()} == {
        "openai": None,
        "anthropic": "sk-of-ours",
        "mistral": "sk-of-the-sdk",
    }
    assert "sk-of" not in f"{chosen} {make_providers(chosen)}"


def test_each_name_is_a_provider_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROVIDER_NAMES:
        monkeypatch.setenv(f"CLEW_{name.upper()}_BASE_URL", f"http://127.0.0.1:1/{name}")
    found = make_providers(settings())
    kinds = {"openai": OpenAI, "anthropic": Anthropic, "mistral": Mistral}
    assert {name: type(found[name]) for name in kinds} == kinds
    assert {name: found[name].name for name in kinds} == {name: name for name in kinds}
    assert set(make_prices(settings()).addresses) == set(kinds)


def test_a_default_that_is_no_provider_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(Misconfigured, match=r"'anthropik'.*scripted, openai, anthropic, mistral"):
        make_engine(settings(default_provider="anthropik"))


@pytest.mark.parametrize("name", PROVIDER_NAMES)
def test_an_address_that_is_none_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("http://[half", "http://x:port"):
        monkeypatch.setenv(f"CLEW_{name.upper()}_BASE_URL", address)
        with pytest.raises(Misconfigured, match=f"CLEW_{name.upper()}_BASE_URL"):
            make_providers(settings())


def test_an_address_without_its_scheme_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEW_MISTRAL_BASE_URL", "api.mistral.ai")
    with pytest.raises(Misconfigured, match="CLEW_MISTRAL_BASE_URL"):
        settings()


@pytest.mark.parametrize("flag", ["lease_seconds", "grace_seconds"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_seconds_that_are_no_number_are_refused(flag: str, value: float) -> None:
    with pytest.raises(Misconfigured, match=f"--{flag.replace('_', '-')} is .*write a number of seconds"):
        settings(**{flag: value})


@pytest.mark.parametrize("host", ["", " "])
def test_an_empty_host_is_refused_and_does_not_mean_everywhere(host: str) -> None:
    with pytest.raises(Misconfigured, match="--host is empty"):
        settings(host=host, api_key="sk-of-ours")


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "::1%zz"])
def test_a_host_that_is_not_here_is_told_apart_from_a_port_that_is_taken(host: str) -> None:
    with pytest.raises(Misconfigured, match=r"cannot listen on .*; check --host$"):
        _listen(settings(host=host, port=0, api_key="sk-of-ours"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(Misconfigured, match=r"; take another --port$") as raised:
            _listen(settings(port=taken.getsockname()[1]))
        assert isinstance(raised.value.__cause__, OSError)
        assert raised.value.__cause__.errno == errno.EADDRINUSE
