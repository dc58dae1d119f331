"""The official SDK against the server of this module, and requests that no SDK would send."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from mistralai.client import Mistral

from tests.dialects.conftest import Server

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.fixture
def mistral(server: Server) -> Iterator[Mistral]:
    """It checks every answer against its own models, and raises where one does not fit."""
    with Mistral(api_key="k", server_url=server.mistral_url, timeout_ms=20_000) as client:
        yield client


@pytest.fixture
def talks(mistral: Mistral) -> Any:
    """Its conversations. Its types say of everything that it may be something else, which no test wants to hear."""
    return mistral.beta.conversations


@pytest.fixture
def agents(mistral: Mistral) -> Any:
    return mistral.beta.agents


@pytest.fixture
def http(server: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{server.mistral_url}/v1", timeout=20) as client:
        yield client


def result(call: Any, said: str) -> dict[str, str]:
    """An entry that answers a call of the SDK's, or of plain JSON."""
    tool_call_id = call["tool_call_id"] if isinstance(call, dict) else call.tool_call_id
    return {"type": "function.result", "tool_call_id": tool_call_id, "result": said}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The SDK marks what it wants to be rid of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
