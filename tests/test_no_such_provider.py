"""Whole servers whose providers are not all configured: nobody is called in another's place, and no thread dies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from openai import BadRequestError, OpenAI

from tests.providers.calls import completion
from tests.rigs.commands import refused, shown, typed, verified
from tests.rigs.output import UNSET
from tests.rigs.processes import Server
from tests.rigs.raw_server import json_reply, serving

pytestmark = pytest.mark.slow

ASKED: dict[str, Any] = {"thread": {"messages": [{"role": "user", "content": "Hello"}]}}


@contextmanager
def sdk(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


def test_anthropics_models_are_not_asked_for_at_openais_base_url(tmp_path: Path) -> None:
    def talk(base_url: str) -> None:
        environment = {**UNSET, "CLEW_OPENAI_BASE_URL": base_url}
        with Server(tmp_path / "threads.db", environment=environment) as server, sdk(server) as client:
            assistant = client.beta.assistants.create(model="gpt-4o")
            with pytest.raises(BadRequestError, match="CLEW_ANTHROPIC_API_KEY is not set") as raised:
                client.beta.threads.create_and_run_poll(assistant_id=assistant.id, model="anthropic/claude-5", **ASKED)
            assert (raised.value.param, raised.value.code) == ("model", "provider_not_configured")
            assert "write openai/anthropic/claude-5" in raised.value.message
            for model in ("gpt-4o", "openai/anthropic/claude-5", "meta-llama/Llama-3"):
                run = client.beta.threads.create_and_run_poll(assistant_id=assistant.id, model=model, **ASKED)
                assert run.status == "completed"

    async def check() -> list[str]:
        async with serving(json_reply(completion("Hi"))) as provider:
            await asyncio.to_thread(talk, provider.base_url)
            return [json.loads(body)["model"] for body in provider.bodies]

    assert asyncio.run(check()) == ["gpt-4o", "anthropic/claude-5", "meta-llama/Llama-3"]


def test_without_any_key_a_bare_model_is_refused_and_models_are_listed(tmp_path: Path) -> None:
    with Server(tmp_path / "threads.db", environment=UNSET) as server, sdk(server) as client:
        for model in ("gpt-4o", "openai/gpt-4o"):
            with pytest.raises(BadRequestError, match="CLEW_OPENAI_API_KEY is not set") as raised:
                client.beta.assistants.create(model=model)
            assert "openai/openai" not in raised.value.message
        assert {one.id for one in client.models.list()} == {"scripted/scripted"}
        assistant = client.beta.assistants.create(model="scripted/echo")
        run = client.beta.threads.create_and_run_poll(assistant_id=assistant.id, **ASKED)
        assert run.status == "completed"


def test_an_assistant_whose_provider_has_gone_is_read_and_not_run(tmp_path: Path) -> None:
    store, keyed = tmp_path / "threads.db", {**UNSET, "CLEW_MISTRAL_API_KEY": "sk-of-nobody"}
    with Server(store, environment=keyed) as server, sdk(server) as client:
        made = client.beta.assistants.create(model="mistral/mistral-large-4")
    with Server(store, environment=UNSET) as server, sdk(server) as client:
        assert client.beta.assistants.retrieve(made.id).model == "mistral/mistral-large-4"
        thread = client.beta.threads.create(**ASKED["thread"])
        with pytest.raises(BadRequestError, match="CLEW_MISTRAL_API_KEY is not set"):
            client.beta.threads.runs.create(thread_id=thread.id, assistant_id=made.id)
        client.beta.threads.messages.create(thread.id, role="user", content="The thread goes on.")
        run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=made.id, model="scripted/echo")
        assert run.status == "completed"


def test_a_bare_model_that_summarises_is_one_of_the_provider_that_answers(tmp_path: Path) -> None:
    with Server(tmp_path / "threads.db", environment=UNSET) as server, sdk(server) as client:
        assistant = client.beta.assistants.create(model="scripted/echo")
        for model, shown_as in (("gpt-4o", "scripted/gpt-4o"), ("scripted/small", "scripted/small")):
            more = {"clew_truncation": f"summarise:500@{model}"}
            run = client.beta.threads.create_and_run(assistant_id=assistant.id, extra_body=more, **ASKED)
            assert run.truncation_strategy.model_dump()["clew_truncation"] == f"summarise:500@{shown_as}"
        more = {"clew_truncation": "summarise:500@openai/gpt-4o"}
        with pytest.raises(BadRequestError, match="CLEW_OPENAI_API_KEY is not set") as raised:
            client.beta.threads.create_and_run(assistant_id=assistant.id, extra_body=more, **ASKED)
        assert raised.value.param == "clew_truncation"


SCRIPT = {"rules": [{"call": [{"name": "hand_over_to_bea", "arguments": {}}]}]}


def test_a_run_that_hands_over_to_such_an_agent_fails_and_says_why(tmp_path: Path) -> None:
    store, script = tmp_path / "threads.db", tmp_path / "script.json"
    script.write_text(json.dumps(SCRIPT))
    options, keyed = ("--script", str(script)), {**UNSET, "CLEW_MISTRAL_API_KEY": "sk-of-nobody"}
    with Server(store, options, keyed) as server:
        agents = f"{server.url}/mistral/v1/agents"
        bea = httpx2.post(agents, json={"model": "mistral/large", "name": "Bea"}).json()["id"]
        ada = httpx2.post(agents, json={"model": "scripted/x", "name": "Ada", "handoffs": [bea]}).json()["id"]
    with Server(store, options, UNSET) as server:
        path = f"{server.url}/mistral/v1/conversations"
        answer = httpx2.post(path, json={"agent_id": ada, "inputs": "Hello"}, timeout=20)
        assert (answer.status_code, answer.json()["type"]) == (424, "model_call_failed")
        assert "the next agent cannot take over: model 'mistral/large' needs the provider mistral" in answer.text
        assert "CLEW_MISTRAL_API_KEY is not set" in answer.json()["message"]
        [kept] = httpx2.get(path).json()
        again = httpx2.post(f"{path}/{kept['id']}", json={}, timeout=20)
        assert again.status_code == 424, "the conversation is not locked"
    runs = [line for line in shown("events", store=store).splitlines() if "run.failed" in line]
    assert len(runs) == 2
    assert verified(store)["different"] == []


def test_chat_begins_no_thread_for_such_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in UNSET:
        monkeypatch.delenv(name, raising=False)
    store = tmp_path / "chat.db"
    told = refused("chat", "--model", "anthropic/claude-5", store=store)
    assert told.startswith(
        "clew: --model 'anthropic/claude-5' needs the provider anthropic, and CLEW_ANTHROPIC_API_KEY"
    )
    assert "CLEW_OPENAI_API_KEY is not set" in refused("chat", "--model", "gpt-4o", store=store)
    assert shown("threads", "--json", store=store).strip() == "[]"
    assert typed("chat", store=store, said="Hello\n").returncode == 0


def test_a_strategy_of_the_servers_that_needs_such_a_model_is_refused_at_start(tmp_path: Path) -> None:
    environment = {**UNSET, "CLEW_TRUNCATION": "summarise@anthropic/claude-5"}
    with pytest.raises(RuntimeError, match="ended with 2"), Server(tmp_path / "threads.db", environment=environment):
        pytest.fail("it serves")
