"""The official SDK against the server of this module, and requests that no SDK would send."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from anthropic import Anthropic

from tests.dialects.conftest import Server
from tests.rigs.postgres import Databases

TOOL: Any = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Its provider goes by the name of Anthropic's too."""
    if request.param == "sqlite":
        with Server(tmp_path_factory.mktemp("store") / "clew.db", ("anthropic",)) as running:
            yield running
        return
    postgres: Databases = request.getfixturevalue("postgres")
    name = f"test_{uuid4().hex}"
    dsn = postgres.create_database(name, request.getfixturevalue("postgres_template"))
    with Server(dsn, ("anthropic",)) as running:
        yield running
    postgres.drop_database(name)


def sdk(server: Server, **more: Any) -> Anthropic:
    """The official SDK, checking every answer against its own models."""
    options = {"max_retries": 0, "timeout": 30.0, **more}
    return Anthropic(
        base_url=f"{server.url}/anthropic", api_key="key-of-nobody", _strict_response_validation=True, **options
    )


@pytest.fixture
def client(server: Server) -> Iterator[Anthropic]:
    with sdk(server) as strict:
        yield strict


@pytest.fixture
def http(server: Server) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{server.url}/anthropic", timeout=30) as client:
        yield client


def ask(http: httpx2.Client, messages: Any, headers: dict[str, str] | None = None, **more: Any) -> httpx2.Response:
    body = {"model": "echo", "max_tokens": 100, "messages": messages, **more}
    return http.post("/v1/messages", json=body, headers=headers)


def user(text: Any) -> Any:
    return {"role": "user", "content": text}


def assistant(content: Any) -> Any:
    return {"role": "assistant", "content": content}


def said(message: Any) -> str:
    content = message["content"] if isinstance(message, dict) else message.content
    blocks = [block if isinstance(block, dict) else block.model_dump() for block in content]
    return "".join(block["text"] for block in blocks if block["type"] == "text")
