"""The models that may be asked for."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from clew.dialects.anthropic_messages.configuring import default_provider, resolve_model
from clew.dialects.anthropic_messages.errors import rejected
from clew.engine.engine import Engine
from clew.errors import NoSuchProvider, NotFound, ProviderFailed
from clew.serving.http import Answer, Call

_WAIT_SECONDS = 10.0
_LIMIT_DEFAULT, _LIMIT_MAX = 20, 1_000

logger = logging.getLogger(__name__)


async def list_all(call: Call) -> Answer:
    query = call.query()
    found = await _all(call.engine)
    ids = [model["id"] for model in found]
    first, last = 0, len(found)
    if (after := query.get("after_id")) is not None:
        first = _place(ids, after, "after_id") + 1
    if (before := query.get("before_id")) is not None:
        last = _place(ids, before, "before_id")
    limit = _limit(query.get("limit"))
    # What stands before an id is the page that ends there.
    page = found[max(first, last - limit) : last] if before is not None else found[first:last][:limit]
    has_more = len(page) < last - first
    return Answer(
        {
            "data": page,
            "has_more": has_more,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
        }
    )


def _place(ids: list[str], wanted: str, name: str) -> int:
    if wanted not in ids:
        raise rejected(f"{name}: there is no model {wanted}")
    return ids.index(wanted)


def _limit(given: str | None) -> int:
    limit = int(given) if given is not None and given.isdecimal() else _LIMIT_DEFAULT if given is None else 0
    if not 1 <= limit <= _LIMIT_MAX:
        raise rejected(f"limit: Input should be a whole number from 1 to {_LIMIT_MAX}")
    return limit


async def retrieve(call: Call) -> Answer:
    asked: str = call.scope["path_params"]["model"]
    with suppress(NoSuchProvider):
        provider, model = resolve_model(call.engine, asked)
        for known in await _models(call.engine, provider):
            if known["id"] in (model, f"{provider}/{model}"):
                return Answer({**known, "id": asked})
    raise NotFound(noun="model", id=asked)


async def _all(engine: Engine) -> list[dict[str, Any]]:
    # Those that a bare name means come first.
    names = sorted(engine.providers, key=lambda name: name != default_provider(engine))
    lists = await asyncio.gather(*(_models(engine, name) for name in names))
    return [model for models in lists for model in models]


async def _models(engine: Engine, name: str) -> list[dict[str, Any]]:
    """A provider's models under the names that they can be asked for by."""
    try:
        found = await asyncio.wait_for(engine.providers[name].models(), _WAIT_SECONDS)
    except (ProviderFailed, TimeoutError) as error:
        logger.warning("the models of %s are left out of the list: %s", name, error)
        return []
    prefix = "" if name == default_provider(engine) else f"{name}/"
    return [
        {
            "type": "model",
            "id": prefix + model.id,
            "display_name": model.id,
            "created_at": datetime.fromtimestamp(model.created, UTC).isoformat().replace("+00:00", "Z"),
            "lifecycle": "active",
        }
        for model in found
    ]
