"""Mistral's chat completions."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import httpx2

from clew.providers import mistral_render, mistral_render_2
from clew.providers.base import ModelInfo, Piece, Prompt
from clew.providers.http import nonsense
from clew.providers.mistral_read import Gathering
from clew.providers.openai import model_info
from clew.providers.openai_read import offered_in
from clew.providers.transport import Transport


class Mistral:
    """`name` is the provider's name in models and settings: `mistral` belongs to CLEW_MISTRAL_API_KEY.

    An answer, streamed or not, may take `timeout_seconds` in all. A `client` that is given is not closed.
    """

    renderer = mistral_render_2.RENDERER

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None,
        name: str = "mistral",
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
        root = self._transport.base_url.removesuffix("/v1")
        self._completions = httpx2.URL(f"{root}/v1/chat/completions")
        self._models = httpx2.URL(f"{root}/v1/models")

    def __repr__(self) -> str:
        return f"Mistral({self._transport})"

    def render(self, prompt: Prompt) -> bytes:
        return mistral_render_2.render(prompt)

    def call(self, body: bytes) -> AsyncGenerator[Piece]:
        return self._transport.call(
            self._completions,
            body,
            streams=mistral_render.asks_for_stream(body),
            gather=lambda headers: Gathering(self.name, _request_id(headers), offered_in(body)),
        )

    async def models(self) -> list[ModelInfo]:
        listed = (await self._transport.get(self._models)).get("data")
        if not isinstance(listed, list):
            raise nonsense(self.name, "a list of models that is none")
        return [model_info(model) for model in listed if isinstance(model, dict) and "id" in model]

    async def close(self) -> None:
        await self._transport.close()


def _request_id(headers: httpx2.Headers) -> str | None:
    return headers.get("mistral-correlation-id") or headers.get("x-request-id")
