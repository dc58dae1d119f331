"""Mistral's Conversations and Agents API: conversations, their entries and streams, agents with versions and aliases.

`requests` is what clients may send, `entries` and `objects` what they are shown, `errors` the table from refusals to
answers. `response` is what comes of a request, as a fold over events; `stream` encodes it, `history` reads what has
become of it. The endpoints between them translate into commands for the desk and questions for the read models.
"""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from clew.dialects.mistral_conversations import agents, conversations, starting
from clew.dialects.mistral_conversations.handling import MistralManners
from clew.engine.engine import Engine
from clew.serving.http import Endpoint, Handler

__all__ = ["routes"]

# Going on with a conversation comes first: routes are tried in this order.
_CONVERSATION = "/v1/conversations/{conversation_id}"
_AGENT = "/v1/agents/{agent_id}"
_PATHS: dict[str, dict[str, Handler]] = {
    _CONVERSATION: {"GET": conversations.retrieve, "POST": starting.append, "DELETE": conversations.delete},
    "/v1/conversations": {"GET": conversations.list_all, "POST": starting.start},
    f"{_CONVERSATION}/history": {"GET": conversations.history},
    f"{_CONVERSATION}/messages": {"GET": conversations.messages},
    f"{_CONVERSATION}/restart": {"POST": starting.restart},
    f"{_CONVERSATION}/events": {"GET": conversations.events},
    "/v1/agents": {"GET": agents.list_all, "POST": agents.create},
    "/v1/agents/pages": {"GET": agents.list_pages},
    _AGENT: {"GET": agents.retrieve, "PATCH": agents.update, "DELETE": agents.delete},
    f"{_AGENT}/version": {"PATCH": agents.select_version},
    f"{_AGENT}/versions": {"GET": agents.list_versions},
    f"{_AGENT}/versions/{{version}}": {"GET": agents.retrieve_version},
    f"{_AGENT}/aliases": {"GET": agents.list_aliases, "PUT": agents.set_alias, "DELETE": agents.remove_alias},
    # Whatever else is asked for is answered in Mistral's way, too.
    "/{path:path}": {},
}


def routes(engine: Engine) -> list[BaseRoute]:
    """Everything below the server's URL, as Mistral's SDK is given it; the server says where that is."""
    manners = MistralManners()
    return [Route(path, Endpoint(engine, manners, **handlers), name=path) for path, handlers in _PATHS.items()]
