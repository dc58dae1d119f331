"""Responses of Clew's own API."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse

from clew import exact_json


class ExactResponse(JSONResponse):
    """JSON with every number as it was written. FastAPI would round those of others on the way."""

    def render(self, content: Any) -> bytes:
        return exact_json.dumps(content, default=str)
