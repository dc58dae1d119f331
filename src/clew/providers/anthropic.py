"""Anthropic's Messages API, and every server that speaks it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Any

import httpx2

from clew.providers import anthropic_render, anthropic_render_3
from clew.providers.anthropic_read import Gathering
from clew.providers.base import ModelInfo, Piece, Prompt
from clew.providers.http import nonsense
from clew.providers.transport import Transport

# The version that the official SDKs send since October 2026. The older one would take a temperature, but only for
# models that are going away.
API_VERSION = "2026-10-21"
# What lets a request say that thinking may be dropped where it does not fit any more.
_BINDING_BETA = "thinking-binding-controls-2026-08-01"
_MODELS_MAX = 1000


class Anthropic:
    """`name` is the provider's name in models and settings: `anthropic` belongs to CLEW_ANTHROPIC_API_KEY.

    The key goes out as the official SDKs send it since their version 2, as a bearer token; Anthropic takes its keys in
    either header, and gateways take bearer tokens. An answer, streamed or not, may take `timeout_seconds` in all.
    """

    renderer = anthropic_render_3.RENDERER

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None,
        name: str = "anthropic",
        timeout_seconds: float = 600,
        connect_seconds: float = 10,
        client: httpx2.AsyncClient | None = None,
    ) -> None:
        self.name = name
        self._transport = Transport(
            name=name,
            base_url=base_url,
            api_key=api_key,
            headers={"anthropic-version": API_VERSION},
            timeout_seconds=timeout_seconds,
            connect_seconds=connect_seconds,
            client=client,
        )
        root = self._transport.base_url.removesuffix("/v1")
        self._messages = httpx2.URL(f"{root}/v1/messages")
        self._models = httpx2.URL(f"{root}/v1/models?limit={_MODELS_MAX}")

    def __repr__(self) -> str:
        return f"Anthropic({self._transport})"

    def render(self, prompt: Prompt) -> bytes:
        return anthropic_render_3.render(prompt)

    def call(self, body: bytes) -> AsyncGenerator[Piece]:
        return self._transport.call(
            self._messages,
            body,
            streams=anthropic_render.asks_for_stream(body),
            gather=lambda headers: Gathering(self.name, headers.get("request-id")),
            headers={"anthropic-beta": _BINDING_BETA} if anthropic_render.BLOCK_BINDING in body else {},
        )

    async def models(self) -> list[ModelInfo]:
        listed = (await self._transport.get(self._models)).get("data")
        if not isinstance(listed, list):
            raise nonsense(self.name, "a list of models that is none")
        return [_model(model) for model in listed if isinstance(model, dict) and "id" in model]

    async def close(self) -> None:
        await self._transport.close()


def _model(listed: dict[str, Any]) -> ModelInfo:
    return ModelInfo(id=str(listed["id"]), created=_seconds(listed.get("created_at")), owned_by="anthropic")


def _seconds(time: Any) -> int:
    try:
        return int(datetime.fromisoformat(time).timestamp())
    except (TypeError, ValueError, OverflowError):
        return 0
