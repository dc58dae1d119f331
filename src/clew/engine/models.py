"""Which provider a model's name means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import urlsplit

from clew.errors import NoSuchProvider
from clew.settings import OPENAI_URL, PROVIDER_NAMES, key_setting, url_setting

P = TypeVar("P")


def resolve(asked: str, providers: Mapping[str, P], default: str, where: str = "model") -> tuple[str, str]:
    """`provider/model` names both, if there is such a provider; a bare name goes to `default`.

    Some models have a slash in their own names (`meta-llama/Llama-3`), which is why the provider must be known. A name
    that begins with one of Clew's own providers is never another one's. `default` is empty where it is not known yet
    whose a bare name is. `where` is what names the model. Raises `NoSuchProvider` when `providers` lacks it.
    """
    head, slash, rest = asked.partition("/")
    if slash and head in providers:
        return head, rest
    provider = head if slash and head in PROVIDER_NAMES else default
    if provider:
        check_provider(provider, asked, providers, where)
    return provider, asked


def check_provider(provider: str, asked: str, providers: Mapping[str, P], where: str = "model") -> None:
    """Raises `NoSuchProvider`."""
    if provider in providers:
        return
    if provider not in PROVIDER_NAMES:
        raise NoSuchProvider(asked=asked, provider=provider, where=where)
    raise NoSuchProvider(
        asked=asked,
        provider=provider,
        where=where,
        key_setting=key_setting(provider),
        url_setting=url_setting(provider),
        openai_elsewhere=_is_elsewhere(providers.get("openai")),
    )


def _is_elsewhere(openai: object) -> bool:
    """Whether it is called at a server of the operator's."""
    origin = getattr(openai, "origin", None)
    return origin is not None and origin != urlsplit(OPENAI_URL).netloc
