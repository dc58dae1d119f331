"""Anthropic's Messages API: messages, plain and streamed, with threads that are kept.

`requests` is what clients may send, `errors` the table from refusals to answers, `stream` the encoder of an answer's
events. Each request is one turn: `recognising` finds the thread that it goes on with, `deciding` says what that comes
to, and `reply` folds what is answered from the events of the run.
"""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from clew.dialects.anthropic_messages import messages, models, threads
from clew.dialects.anthropic_messages.manners import AnthropicManners
from clew.engine.engine import Engine
from clew.serving.http import Endpoint, Handler

__all__ = ["routes"]

_MANNERS = AnthropicManners()
_THREAD = "/v1/threads/{thread_id}"
_MESSAGE = "/v1/messages/{message_id}"
_PATHS: dict[str, dict[str, Handler]] = {
    "/v1/messages": {"POST": messages.create},
    "/v1/messages/count_tokens": {"POST": messages.count_tokens},
    # No message is called so, and whoever asks for a batch shall hear that there are none.
    "/v1/messages/batches": {},
    _MESSAGE: {"GET": messages.retrieve},
    f"{_MESSAGE}/events": {"GET": messages.events},
    "/v1/threads": {"GET": threads.list_all},
    _THREAD: {"GET": threads.retrieve},
    f"{_THREAD}/messages": {"GET": threads.list_messages},
    "/v1/models": {"GET": models.list_all},
    "/v1/models/{model:path}": {"GET": models.retrieve},
    # Whatever else is asked for is answered in Anthropic's way, too.
    "/{path:path}": {},
}


def routes(engine: Engine) -> list[BaseRoute]:
    """Everything below the base URL; the server says where that is."""
    return [Route(path, Endpoint(engine, _MANNERS, **handlers), name=path) for path, handlers in _PATHS.items()]
