"""OpenAI's Assistants API, version 2: assistants, threads, messages, runs, steps and their streams.

`requests` is what clients may send, `objects` what they are shown, `errors` the table from refusals to answers,
`stream` the encoder of a run's events. The endpoints between them translate into commands for the desk and
questions for the read models, and decide nothing.
"""

from __future__ import annotations

from functools import partial

from starlette.routing import BaseRoute, Route

from clew.dialects.openai_assistants import assistants, messages, runs, starting, threads
from clew.dialects.openai_assistants.errors import not_offered
from clew.dialects.openai_assistants.handling import OpenAIManners
from clew.engine.engine import Engine
from clew.serving.http import Endpoint, Handler, NotOffered

__all__ = ["routes"]

# Appending and polling come first: routes are tried in this order.
_THREAD = "/threads/{thread_id}"
_RUN = f"{_THREAD}/runs/{{run_id}}"
_PATHS: dict[str, dict[str, Handler]] = {
    f"{_THREAD}/messages": {"GET": messages.list_all, "POST": messages.create},
    _RUN: {"GET": runs.retrieve, "POST": runs.modify},
    f"{_THREAD}/runs": {"GET": runs.list_all, "POST": starting.create},
    "/threads/runs": {"POST": starting.create_with_thread},
    _THREAD: {"GET": threads.retrieve, "POST": threads.modify, "DELETE": threads.delete},
    "/threads": {"GET": threads.list_all, "POST": threads.create},
    f"{_THREAD}/messages/{{message_id}}": {
        "GET": messages.retrieve,
        "POST": messages.modify,
        "DELETE": messages.delete,
    },
    f"{_RUN}/cancel": {"POST": runs.cancel},
    f"{_RUN}/submit_tool_outputs": {"POST": runs.submit_tool_outputs},
    f"{_RUN}/events": {"GET": runs.events},
    f"{_RUN}/steps": {"GET": runs.list_steps},
    f"{_RUN}/steps/{{step_id}}": {"GET": runs.retrieve_step},
    "/assistants": {"GET": assistants.list_all, "POST": assistants.create},
    "/assistants/{assistant_id}": {
        "GET": assistants.retrieve,
        "POST": assistants.modify,
        "DELETE": assistants.delete,
    },
    "/models": {"GET": assistants.list_models},
    "/models/{model:path}": {"GET": assistants.retrieve_model},
}
# What this API has besides and this server does not yet, with all that is below it.
_NOT_OFFERED = {"/files": "files", "/vector_stores": "vector stores", "/uploads": "uploads"}
# Whatever else is asked for is answered in OpenAI's way, too.
_REST = "/{path:path}"


def routes(engine: Engine) -> list[BaseRoute]:
    """Everything below the base URL; the server says where that is."""
    manners = OpenAIManners()
    endpoints = {path: Endpoint(engine, manners, **handlers) for path, handlers in _PATHS.items()}
    for path, what in _NOT_OFFERED.items():
        endpoints[path] = endpoints[path + _REST] = NotOffered(engine, manners, partial(not_offered, what))
    endpoints[_REST] = Endpoint(engine, manners)
    return [Route(path, endpoint, name=path) for path, endpoint in endpoints.items()]
