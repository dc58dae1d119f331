"""OpenAI's chat completions, and every server that speaks them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import httpx2

from clew.providers import openai_render, openai_render_4
from clew.providers.base import ModelInfo, Piece, Prompt
from clew.providers.http import nonsense
from clew.providers.openai_read import Gathering, offered_in
from clew.providers.transport import Transport


class OpenAI:
    """`name` is the provider's name in models and settings: `openai` belongs to CLEW_OPENAI_API_KEY.

    An answer, streamed or not, may take `timeout_seconds` in all. A `client` that is given is not closed.
    """

    renderer = openai_render_4.RENDERER

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None,
        name: str = "openai",
        timeout_seconds: float = 600,
        connect_seconds: float = 10,
        client: httpx2.AsyncClient | None = None,
    ) -> None:
        self.name = name
        self._transport = Transport(
            name=name,
            base_url=base_url,
            api_key=api_key,
            timeout_seconds=timeout_seconds,
            connect_seconds=connect_seconds,
            client=client,
        )
        self.origin: str | None = self._transport.origin
        self._completions = httpx2.URL(f"{self._transport.base_url}/chat/completions")
        self._models = httpx2.URL(f"{self._transport.base_url}/models")

    def __repr__(self) -> str:
        return f"OpenAI({self._transport})"

    def render(self, prompt: Prompt) -> bytes:
        return openai_render_4.render(prompt)

    def call(self, body: bytes) -> AsyncGenerator[Piece]:
        return self._transport.call(
            self._completions,
            body,
            streams=openai_render.asks_for_stream(body),
            gather=lambda headers: Gathering(self.name, headers.get("x-request-id"), offered_in(body)),
        )

    async def models(self) -> list[ModelInfo]:
        listed = (await self._transport.get(self._models)).get("data")
        if not isinstance(listed, list):
            raise nonsense(self.name, "a list of models that is none")
        return [model_info(model) for model in listed if isinstance(model, dict) and "id" in model]

    async def close(self) -> None:
        await self._transport.close()


def model_info(listed: dict[str, Any]) -> ModelInfo:
    """An entry of a list of models in OpenAI's format."""
    created = listed.get("created")
    return ModelInfo(
        id=str(listed["id"]),
        created=int(created) if isinstance(created, (int, float)) else 0,
        owned_by=str(listed.get("owned_by") or ""),
    )
