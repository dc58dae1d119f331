"""Which provider a model's name means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

P = TypeVar("P")


def resolve(asked: str, providers: Mapping[str, P], default: str) -> tuple[str, str]:
    """`provider/model` names both, if there is such a provider; a bare name goes to `default`.

    Some models have a slash in their own names (`meta-llama/Llama-3`), which is why the provider must be known.
    """
    head, slash, rest = asked.partition("/")
    if slash and head in providers:
        return head, rest
    return default, asked
