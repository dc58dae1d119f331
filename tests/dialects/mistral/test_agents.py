"""Agents through the official SDK: their versions, the names of versions, lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from mistralai.client.errors import HTTPValidationError, SDKError

from tests.dialects.conftest import Server
from tests.dialects.mistral.conftest import TOOL


def test_an_agent_is_created_with_all_that_it_is(agents: Any) -> None:
    made = agents.create(
        model="echo",
        name="Ada",
        description="Knows words.",
        instructions="Be kind.",
        tools=[TOOL],
        completion_args={"temperature": 0.3, "top_p": 0.9, "max_tokens": 50, "random_seed": 7},
        metadata={"team": "blue", "size": 3},
        version_message="the first",
    )
    assert made.id.startswith("ag_")
    assert (made.object, made.version, made.versions, made.source) == ("agent", 0, [0], "api")
    assert (made.name, made.description, made.instructions, made.model) == ("Ada", "Knows words.", "Be kind.", "echo")
    assert made.tools[0].function.model_dump() == {**TOOL["function"], "strict": False}  # type: ignore[dict-item]
    args = made.completion_args
    assert (args.temperature, args.top_p, args.max_tokens, args.random_seed) == (0.3, 0.9, 50, 7)
    assert made.metadata == {"team": "blue", "size": 3}
    assert made.version_message == "the first"
    assert agents.get(agent_id=made.id) == made


def test_a_change_makes_a_version_and_no_change_makes_none(agents: Any) -> None:
    made = agents.create(model="echo", name="Ada", tools=[TOOL], instructions="Be kind.")
    same = agents.update(agent_id=made.id, tools=[TOOL], name="Ada")
    assert (same.version, same.updated_at) == (0, made.updated_at)
    other = agents.update(agent_id=made.id, instructions="Be brief.", version_message="shorter")
    assert (other.version, other.versions, other.instructions) == (1, [0, 1], "Be brief.")
    assert (other.name, other.tools, other.version_message) == ("Ada", made.tools, "shorter")
    assert agents.update(agent_id=made.id, instructions=None).instructions is None


def test_each_version_can_be_read_and_be_what_it_is_again(agents: Any) -> None:
    made = agents.create(model="echo", name="A")
    for name in "BC":
        agents.update(agent_id=made.id, name=name)
    listed = agents.list_versions(agent_id=made.id)
    assert [(one.version, one.name) for one in listed] == [(2, "C"), (1, "B"), (0, "A")]
    assert [one.version for one in agents.list_versions(agent_id=made.id, page=1, page_size=2)] == [0]
    assert agents.get_version(agent_id=made.id, version="1").name == "B"
    assert agents.get(agent_id=made.id, agent_version=0).name == "A"
    back = agents.update_version(agent_id=made.id, version=0)
    assert (back.version, back.versions, back.name) == (0, [0, 1, 2], "A")
    assert agents.get(agent_id=made.id).name == "A"
    further = agents.update(agent_id=made.id, description="again")
    assert (further.version, further.name, further.versions) == (3, "A", [0, 1, 2, 3])


def test_versions_go_by_names(agents: Any) -> None:
    made = agents.create(model="echo", name="A")
    agents.update(agent_id=made.id, name="B")
    alias = agents.create_version_alias(agent_id=made.id, alias="prod", version=0)
    assert (alias.alias, alias.version) == ("prod", 0)
    assert agents.get(agent_id=made.id, agent_version="prod").name == "A"
    moved = agents.create_version_alias(agent_id=made.id, alias="prod", version=1)
    assert (moved.version, moved.created_at) == (1, alias.created_at)
    assert moved.updated_at > alias.updated_at
    assert [one.alias for one in agents.list_version_aliases(agent_id=made.id)] == ["prod"]
    agents.delete_version_alias(agent_id=made.id, alias="prod")
    assert agents.list_version_aliases(agent_id=made.id) == []
    with pytest.raises(SDKError) as raised:
        agents.get(agent_id=made.id, agent_version="prod")
    assert raised.value.status_code == 404


def test_what_is_not_there_is_not_found(agents: Any) -> None:
    made = agents.create(model="echo", name="A")
    asked: tuple[Callable[[], Any], ...] = (
        lambda: agents.get(agent_id="ag_06Z8ixdFfoDgvSh1Rx32mrga"),
        lambda: agents.get(agent_id="made-up"),
        lambda: agents.get(agent_id=made.id, agent_version=1),
        lambda: agents.get_version(agent_id=made.id, version="7"),
        lambda: agents.update_version(agent_id=made.id, version=1),
        lambda: agents.create_version_alias(agent_id=made.id, alias="prod", version=1),
        lambda: agents.delete_version_alias(agent_id=made.id, alias="prod"),
        lambda: agents.update(agent_id="ag_06Z8ixdFfoDgvSh1Rx32mrga", name="B"),
    )
    for ask in asked:
        with pytest.raises(SDKError) as raised:
            ask()
        assert raised.value.status_code == 404, raised.value.body


def test_a_deleted_agent_is_gone(agents: Any, talks: Any) -> None:
    made = agents.create(model="echo", name="A")
    begun = talks.start(agent_id=made.id, inputs="Hello")
    agents.delete(agent_id=made.id)
    asked: tuple[Callable[[], Any], ...] = (
        lambda: agents.get(agent_id=made.id),
        lambda: agents.delete(agent_id=made.id),
        lambda: talks.append(conversation_id=begun.conversation_id, inputs="And?"),
    )
    for ask in asked:
        with pytest.raises(SDKError) as raised:
            ask()
        assert raised.value.status_code == 404
        assert made.id in raised.value.body


def test_agents_are_listed_and_found(agents: Any) -> None:
    made = [agents.create(model="echo", name=f"Lister {n}", metadata={"set": "list", "n": n}) for n in range(5)]
    ids = [one.id for one in made][::-1]
    mine = {"metadata": {"set": "list"}}
    assert [one.id for one in agents.list(**mine)] == ids
    assert [one.id for one in agents.list(page=1, page_size=2, **mine)] == ids[2:4]
    assert [one.id for one in agents.list(name="Lister 3")] == [made[3].id]
    assert [one.id for one in agents.list(search="lister 4")] == [made[4].id]
    assert [one.id for one in agents.list(id=made[0].id)] == [made[0].id]
    assert [one.id for one in agents.list(metadata={"n": 2, "set": "list"})] == [made[2].id]
    assert agents.list(deployment_chat=True) == []
    assert agents.list(sources=["playground"]) == []
    assert [one.id for one in agents.list(sources=["api", "playground"], **mine)] == ids


def test_pages_lead_from_one_to_the_next(agents: Any, http: httpx2.Client) -> None:
    made = [agents.create(model="echo", name=f"Pager {n}", metadata={"set": "pages"}) for n in range(5)]
    seen: list[str] = []
    page = agents.list_pages(page_size=2, metadata={"set": "pages"})
    while page is not None:
        seen += [one.id for one in page.result.data]
        page = page.next()
    assert seen == [one.id for one in made][::-1]
    assert http.get("/agents/pages?page_token=nonsense").status_code == 400


def test_a_conversation_is_of_an_agent_as_it_is_when_it_answers(agents: Any, talks: Any, server: Server) -> None:
    made = agents.create(model="echo", name="A", instructions="Be kind.", completion_args={"temperature": 0.1})
    begun = talks.start(agent_id=made.id, inputs="Hello", name="Trip")
    [output] = begun.outputs
    assert (output.agent_id, output.model) == (made.id, "echo")
    kept = talks.get(conversation_id=begun.conversation_id)
    assert (kept.agent_id, kept.agent_version, kept.name) == (made.id, None, "Trip")
    agents.update(agent_id=made.id, instructions="Be brief.")
    talks.append(conversation_id=begun.conversation_id, inputs="And?")
    told = [(sent["instructions"], sent["temperature"]) for sent in server.provider.sent[-2:]]
    assert told == [("Be kind.", 0.1), ("Be brief.", 0.1)]


@pytest.mark.parametrize("pinned", [0, "prod"])
def test_a_conversation_may_be_of_a_version(pinned: Any, agents: Any, talks: Any, server: Server) -> None:
    made = agents.create(model="echo", name="A", instructions="one")
    agents.create_version_alias(agent_id=made.id, alias="prod", version=0)
    agents.update(agent_id=made.id, instructions="two")
    begun = talks.start(agent_id=made.id, agent_version=pinned, inputs="Hello")
    told = [sent["instructions"] for sent in server.provider.sent]
    assert told[-1] == "one"
    assert talks.get(conversation_id=begun.conversation_id).agent_version == pinned
    again = talks.restart(
        conversation_id=begun.conversation_id, from_entry_id=begun.outputs[0].id, inputs="And?", agent_version=1
    )
    told = [sent["instructions"] for sent in server.provider.sent]
    assert told[-1] == "two"
    assert talks.get(conversation_id=again.conversation_id).agent_version == 1


def test_what_an_agent_has_of_its_own_is_not_said_beside_it(agents: Any, talks: Any) -> None:
    made = agents.create(model="echo", name="A")
    for about in ({"instructions": "Be kind."}, {"tools": [TOOL]}):
        with pytest.raises(HTTPValidationError) as raised:
            talks.start(agent_id=made.id, inputs="Hello", **about)
        assert raised.value.data.detail[0].loc == ["body", *about]  # type: ignore[index]


def test_agents_that_it_hands_over_to_are_there(agents: Any) -> None:
    with pytest.raises(HTTPValidationError) as raised:
        agents.create(model="echo", name="A", handoffs=["ag_06Z8ixdFfoDgvSh1Rx32mrga"])
    assert raised.value.data.detail[0].loc == ["body", "handoffs", 0]  # type: ignore[index]
