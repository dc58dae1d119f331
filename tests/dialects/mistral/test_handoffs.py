"""An agent hands a conversation over to another one: on the server, or with the client in between."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from clew.engine.replaying.files import recording
from clew.engine.replaying.verifying import Verifier
from clew.ids import reprefixed
from clew.providers.renderers import RENDERERS
from tests.dialects.conftest import Server
from tests.dialects.mistral.conftest import TOOL, result

pytestmark = pytest.mark.slow


@pytest.fixture
def pair(agents: Any) -> tuple[Any, Any]:
    """Ada hands over to Bea."""
    bea = agents.create(model="repeats", name="Bea", description="Knows the sea.", instructions="You are Bea.")
    ada = agents.create(model="hands-over", name="Ada", instructions="You are Ada.", handoffs=[bea.id])
    return ada, bea


def test_the_next_agent_goes_on(talks: Any, pair: tuple[Any, Any], server: Server) -> None:
    ada, bea = pair
    assert ada.handoffs == [bea.id]
    begun = talks.start(agent_id=ada.id, inputs="Hello")
    first, handoff, last = begun.outputs
    assert [one.type for one in begun.outputs] == ["message.output", "agent.handoff", "message.output"]
    assert (first.agent_id, last.agent_id, last.model) == (ada.id, bea.id, "repeats")
    assert (handoff.previous_agent_id, handoff.previous_agent_name) == (ada.id, "Ada")
    assert (handoff.next_agent_id, handoff.next_agent_name) == (bea.id, "Bea")
    assert begun.usage.total_tokens == 50
    asked, then = server.provider.sent[-2:]
    assert (asked["instructions"], asked["tools"]) == ("You are Ada.", ["hand_over_to_bea"])
    assert (then["instructions"], then["tools"]) == ("You are Bea.", [])
    history = talks.get_history(conversation_id=begun.conversation_id).entries
    assert history[1:] == begun.outputs


def test_the_conversation_is_the_next_agents_from_then_on(talks: Any, pair: tuple[Any, Any]) -> None:
    ada, bea = pair
    begun = talks.start(agent_id=ada.id, inputs="Hello", name="Trip")
    kept = talks.get(conversation_id=begun.conversation_id)
    assert (kept.agent_id, kept.name) == (bea.id, "Trip")
    further = talks.append(conversation_id=begun.conversation_id, inputs="And?")
    assert [(one.agent_id, one.content) for one in further.outputs] == [(bea.id, "You said: And?")]
    again = talks.restart(conversation_id=begun.conversation_id, from_entry_id=begun.outputs[0].id, inputs="Again")
    # It begins again before it was handed over.
    assert again.outputs[0].agent_id == ada.id


def test_it_begins_again_behind_the_handoff(talks: Any, pair: tuple[Any, Any]) -> None:
    ada, bea = pair
    begun = talks.start(agent_id=ada.id, inputs="Hello")
    again = talks.restart(conversation_id=begun.conversation_id, from_entry_id=begun.outputs[1].id, inputs="And?")
    assert [(one.agent_id, one.content) for one in again.outputs] == [(bea.id, "You said: And?")]
    assert talks.get(conversation_id=again.conversation_id).agent_id == bea.id


def test_the_client_may_be_asked_to_go_on(talks: Any, pair: tuple[Any, Any]) -> None:
    ada, bea = pair
    begun = talks.start(agent_id=ada.id, inputs="Hello", handoff_execution="client")
    assert [one.type for one in begun.outputs] == ["message.output", "agent.handoff"]
    further = talks.append(conversation_id=begun.conversation_id)
    assert [(one.agent_id, one.content) for one in further.outputs] == [(bea.id, "You said: Hello")]


@pytest.mark.parametrize("execution", ["server", "client"])
def test_a_handoff_is_streamed(execution: str, talks: Any, pair: tuple[Any, Any]) -> None:
    ada, bea = pair
    with talks.start_stream(agent_id=ada.id, inputs="Hello", handoff_execution=execution) as stream:
        events = [event.data for event in stream]
    kinds = [event.type for event in events]
    at = kinds.index("agent.handoff.started")
    assert kinds[at + 1] == "agent.handoff.done"
    started, done = events[at : at + 2]
    assert (started.id, started.output_index) == (done.id, done.output_index)
    assert (started.previous_agent_id, done.next_agent_id) == (ada.id, bea.id)
    assert kinds.count("conversation.response.done") == 1
    assert events[-1].usage.total_tokens == (50 if execution == "server" else 25)
    places = [event.output_index for event in events if hasattr(event, "output_index")]
    assert places == sorted(places)
    assert ("message.output.delta" in kinds[at:]) == (execution == "server")


def test_an_agent_that_is_gone_is_not_handed_to(talks: Any, agents: Any, pair: tuple[Any, Any], server: Server) -> None:
    ada, bea = pair
    agents.delete(agent_id=bea.id)
    begun = talks.start(agent_id=ada.id, inputs="Hello")
    assert server.provider.sent[-1]["tools"] == []
    assert [one.content for one in begun.outputs] == ["You said: Hello"]


def test_agents_that_hand_over_to_each_other_come_to_an_end(talks: Any, agents: Any) -> None:
    ada = agents.create(model="hands-over", name="Ada")
    bea = agents.create(model="hands-over", name="Bea", handoffs=[ada.id])
    agents.update(agent_id=ada.id, handoffs=[bea.id])
    with pytest.raises(Exception, match="A limit was reached: steps"):
        talks.start(agent_id=ada.id, inputs="Hello")


def test_a_run_that_handed_over_is_one_of_two_elsewhere(talks: Any, pair: tuple[Any, Any], server: Server) -> None:
    ada, bea = pair
    begun = talks.start(agent_id=ada.id, inputs="Hello")
    thread_id = reprefixed(begun.conversation_id, "thread")
    runs = httpx2.get(f"{server.base_url}/threads/{thread_id}/runs?order=asc").json()["data"]
    assert [(run["assistant_id"], run["status"]) for run in runs] == [
        (reprefixed(ada.id, "asst"), "completed"),
        (reprefixed(bea.id, "asst"), "completed"),
    ]
    steps = httpx2.get(f"{server.base_url}/threads/{thread_id}/runs/{runs[0]['id']}/steps?order=asc").json()["data"]
    [call] = steps[1]["step_details"]["tool_calls"]
    assert call["function"]["name"] == "hand_over_to_bea"
    assert call["function"]["output"] == "The conversation was handed over to Bea."


def test_todays_engine_would_hand_over_again(
    talks: Any, pair: tuple[Any, Any], agents: Any, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was recorded is played again without the catalog of agents, which may have changed since."""
    monkeypatch.setitem(RENDERERS, "fake/1", server.provider.render)
    ada, _ = pair
    begun = talks.start(agent_id=ada.id, inputs="Hello")
    asked = talks.start(agent_id=ada.id, inputs="Hello", handoff_execution="client")
    waits = talks.start(model="pays-and-asks", inputs="Pay!", tools=[TOOL, _pay()])
    pay, ask = waits.outputs
    talks.append(
        conversation_id=waits.conversation_id,
        inputs=[result(ask, "sun")],
        tool_confirmations=[{"tool_call_id": pay.tool_call_id, "confirmation": "deny"}],
    )
    agents.delete(agent_id=ada.id)
    for conversation in (begun, asked, waits):
        thread_id = reprefixed(conversation.conversation_id, "thread")
        with server.engine.log.reading() as reader:
            recorded = recording(reader, thread_id)

        async def verify(recorded: Any = recorded) -> list[Any]:
            verifier = Verifier()
            try:
                return list(await verifier.thread(recorded))
            finally:
                await verifier.close()

        verdicts = asyncio.run(verify())
        assert [verdict.differences for verdict in verdicts if not verdict.same] == []
        assert sum(verdict.events for verdict in verdicts) > 5


def _pay() -> dict[str, Any]:
    return {"type": "function", "function": {"name": "pay", "parameters": {"type": "object"}}}
