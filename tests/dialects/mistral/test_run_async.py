"""The SDK's own loop, `run_async`: it executes functions and tools of MCP servers until there are no more calls."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from mcp import StdioServerParameters
from mistralai.client import Mistral
from mistralai.extra.exceptions import DeferredToolCallsException
from mistralai.extra.mcp.stdio import MCPClientSTDIO
from mistralai.extra.run.context import RunContext
from mistralai.extra.run.result import RunResult

from tests.dialects.conftest import Server
from tests.dialects.mistral.conftest import TOOL
from tests.rigs.processes import ROOT

pytestmark = pytest.mark.slow

PAY: Any = {"type": "function", "function": {"name": "pay", "parameters": {"type": "object"}}}


def run(server: Server, work: Callable[[Mistral], Awaitable[Any]]) -> Any:
    async def inside() -> Any:
        async with Mistral(api_key="k", server_url=server.mistral_url, timeout_ms=20_000) as client:
            return await work(client)

    return asyncio.run(inside())


def get_weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: which city
    """
    return f"sunny in {city}"


def test_functions_are_executed_until_there_are_no_more_calls(server: Server) -> None:
    async def work(client: Mistral) -> RunResult:
        async with RunContext(model="two-tools") as context:
            context.register_func(get_weather)
            return await client.beta.conversations.run_async(run_ctx=context, inputs="Weather?")

    found = run(server, work)
    assert found.output_as_text == "It is sunny in Paris and sunny in Rome."
    kinds = [entry.type for entry in found.output_entries]
    assert kinds == ["function.call", "function.call", "function.result", "function.result", "message.output"]


def test_a_conversation_is_gone_on_with(server: Server) -> None:
    async def work(client: Mistral) -> list[str]:
        tools: Any = [TOOL]
        begun = await client.beta.conversations.start_async(model="weather", inputs="Weather?", tools=tools)
        [call] = begun.outputs
        said = []
        async with RunContext(model="weather", conversation_id=begun.conversation_id) as context:
            context.register_func(get_weather)
            for inputs in ([{"tool_call_id": call.tool_call_id, "result": "rain"}], "Thanks"):  # type: ignore[union-attr]
                found = await client.beta.conversations.run_async(run_ctx=context, inputs=inputs)  # type: ignore[arg-type]
                said.append(found.output_as_text)
        return said

    assert run(server, work) == ["It is rain.", "It is rain."]


def test_tools_of_an_mcp_server_are_executed(server: Server) -> None:
    process = StdioServerParameters(
        command=sys.executable, args=["-m", "tests.dialects.mistral.weather_server"], cwd=str(ROOT)
    )

    async def work(client: Mistral) -> RunResult:
        async with RunContext(model="weather") as context:
            await context.register_mcp_client(mcp_client=MCPClientSTDIO(stdio_params=process))
            return await client.beta.conversations.run_async(run_ctx=context, inputs="Weather?")

    found = run(server, work)
    assert "sunny in Paris" in found.output_as_text


def test_an_agents_tools_are_said_at_every_start_and_make_one_version(server: Server) -> None:
    async def work(client: Mistral) -> tuple[list[str], int]:
        agent = await client.beta.agents.create_async(model="weather", name="Ada")
        said = []
        for _ in range(3):
            async with RunContext(agent_id=agent.id) as context:
                context.register_func(get_weather)
                found = await client.beta.conversations.run_async(run_ctx=context, inputs="Weather?")
                said.append(found.output_as_text)
        return said, (await client.beta.agents.get_async(agent_id=agent.id)).version

    assert run(server, work) == (["It is sunny in Paris."] * 3, 1)


def test_it_streams(server: Server) -> None:
    async def work(client: Mistral) -> tuple[list[str], RunResult]:
        seen: list[str] = []
        async with RunContext(model="two-tools") as context:
            context.register_func(get_weather)
            events = await client.beta.conversations.run_stream_async(run_ctx=context, inputs="Weather?")
            async for event in events:
                if isinstance(event, RunResult):
                    return seen, event
                seen.append(event.event)
        raise AssertionError("the last one is the result")

    seen, found = run(server, work)
    assert found.output_as_text == "It is sunny in Paris and sunny in Rome."
    assert seen.count("conversation.response.started") == seen.count("conversation.response.done") == 2
    assert seen.count("function.result") == 2


@pytest.mark.parametrize("allowed", [True, False])
def test_what_the_server_asks_about_is_put_to_a_person(allowed: bool, server: Server) -> None:
    async def work(client: Mistral) -> RunResult:
        async with RunContext(model="pays-and-asks") as context:
            context.register_func(get_weather)
            with pytest.raises(DeferredToolCallsException) as raised:
                await client.beta.conversations.run_async(run_ctx=context, inputs="Pay!", tools=[PAY])
            deferred = raised.value
            [pay] = deferred.deferred_calls
            assert (pay.tool_name, pay.reason.value) == ("pay", "server_side_confirmation_required")
            decided = pay.confirm() if allowed else pay.reject("No.")
            inputs: Any = [decided, *deferred.executed_results]
            return await client.beta.conversations.run_async(run_ctx=context, inputs=inputs)

    found = run(server, work)
    assert ("paid 3" in found.output_as_text) == allowed
    assert "sunny in Paris" in found.output_as_text


def test_what_the_client_asks_about_is_put_to_a_person(server: Server) -> None:
    async def work(client: Mistral) -> RunResult:
        async with RunContext(model="weather") as context:
            context.register_func(get_weather, requires_confirmation=True)
            with pytest.raises(DeferredToolCallsException) as raised:
                await client.beta.conversations.run_async(run_ctx=context, inputs="Weather?")
            inputs: Any = [one.confirm() for one in raised.value.deferred_calls]
            return await client.beta.conversations.run_async(run_ctx=context, inputs=inputs)

    assert run(server, work).output_as_text == "It is sunny in Paris."


def test_what_the_server_executes_the_client_does_not(server: Server) -> None:
    look_up: Any = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}

    async def work(client: Mistral) -> RunResult:
        async with RunContext(model="looks-up") as context:
            return await client.beta.conversations.run_async(run_ctx=context, inputs="clew?", tools=[look_up])

    found = run(server, work)
    assert [entry.type for entry in found.output_entries] == ["tool.execution", "message.output"]
    assert found.output_as_text == "It is clew means something."
