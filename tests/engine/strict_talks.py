"""Threads with servers that refuse what real ones refuse, and a tool that our server executes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import clew
from clew import exact_json
from clew.audit.prompts import exact_prompts
from clew.engine.replaying.files import recording
from clew.engine.replaying.verifying import Verifier
from clew.events.content import plain_text
from clew.events.message import MessageAppended
from clew.events.run import Tool
from clew.rules.commands import CreateThread
from tests.engine.test_switching import Talk, made, runs_of
from tests.rigs.raw_server import Reply, Server, json_reply, serving
from tests.rigs.valid_calls import calls_fault_of

SEARCH = Tool(type="function", name="search", parameters={"type": "object", "properties": {"q": {"type": "string"}}})
Judge = Callable[[dict[str, Any]], str | None]


@clew.tool(effect="pure")
def search(q: str = "") -> str:
    return f"found {q}"


def strict(server: Server, *judges: Judge) -> None:
    """From now on the server refuses what one of these finds fault with, and every call in a wrong form."""

    def refuses(body: bytes) -> Reply | None:
        request = exact_json.loads(body)
        fault = next((fault for judge in (calls_fault_of, *judges) if (fault := judge(request)) is not None), None)
        if fault is None:
            return None
        return json_reply({"error": {"message": fault, "type": "invalid_request_error"}}, 400)

    server.refuses = refuses


def talk(store: str, replies: dict[str, tuple[Reply, ...]], what: Callable[[Talk], Any]) -> None:
    """A thread, a server for each provider, and a tool that our server executes."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            servers = {name: await stack.enter_async_context(serving(*said)) for name, said in replies.items()}
            providers = {name: made(name, server) for name, server in servers.items()}
            opened = clew.open(store, providers=providers, default_provider=next(iter(providers)), tools=[search])
            held = Talk(await stack.enter_async_context(opened), servers)
            new = CreateThread(
                thread_id=held.thread_id, tenant="default", dialect="test", metadata={}, tool_resources={}, messages=()
            )
            await held.engine.desk.on_thread(held.thread_id, lambda: new, new=True)
            await what(held)
            assert await differences(held) == []
            assert all(prompt.proven for prompt in prompts(held))

    asyncio.run(main())


async def differences(held: Talk) -> list[str]:
    """What a replay of the thread does otherwise."""
    with held.engine.log.reading() as reader:
        recorded = recording(reader, held.thread_id)
    verifier = Verifier()
    try:
        verdicts = await verifier.thread(recorded)
    finally:
        await verifier.close()
    return [str(difference) for verdict in verdicts for difference in verdict.differences]


def prompts(held: Talk) -> list[Any]:
    with held.engine.log.reading() as reader:
        return [prompt for run_id in runs_of(held, reader) for prompt in exact_prompts(reader, run_id)]


def texts(held: Talk) -> list[str]:
    return [plain_text(one.content) for one in held.events(MessageAppended) if one.role == "assistant"]
