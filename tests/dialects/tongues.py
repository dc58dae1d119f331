"""The same deeds through each official SDK: begin a thread, go on with it, read it, fork it, answer what waits.

Threads are named by their 24 characters alone: each SDK is given them with the prefix of its own API.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import httpx2
from anthropic import Anthropic
from mistralai.client import Mistral
from openai import OpenAI

NAME, DESCRIPTION = "get_weather", "The weather in a city."
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
FUNCTION: Any = {"type": "function", "function": {"name": NAME, "description": DESCRIPTION, "parameters": SCHEMA}}
TOOL: Any = {"name": NAME, "description": DESCRIPTION, "input_schema": SCHEMA}
INSTRUCTIONS = "Be kind."

# Who said it, and what: `user` or `assistant`.
Said = tuple[str, str]
# The id of a call, what is called with which arguments, and what came of it.
Called = tuple[str, str, Any, str | None]


def written(arguments: str) -> Any:
    """The value of arguments, or the text of those that are no JSON."""
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


class Tongue(Protocol):
    """`url` is the server's, or that of a point in its past. Whoever made `http` closes it."""

    name: ClassVar[str]

    def __init__(self, url: str, http: httpx2.Client) -> None: ...

    def begin(self, text: str, model: str = "echo") -> str: ...

    def go_on(self, thread: str, text: str) -> str: ...

    def read(self, thread: str) -> list[Said]: ...

    def calls(self, thread: str) -> list[Called]: ...

    def answer(self, thread: str, outputs: Sequence[str]) -> str: ...

    def fork(self, thread: str, kept: int, text: str) -> str: ...

    def listed(self) -> list[str]: ...


def identity(id: str, prefix: str) -> str:
    head, _, tail = id.partition("_")
    assert (head, len(tail)) == (prefix, 24), id
    return tail


class ByOpenAI:
    name: ClassVar[str] = "openai"

    def __init__(self, url: str, http: httpx2.Client) -> None:
        self.url, self._http = url, http
        self._sdk = OpenAI(
            base_url=f"{url}/openai/v1", api_key="x", max_retries=0, http_client=http, _strict_response_validation=True
        )
        self.beta: Any = self._sdk.beta

    def begin(self, text: str, model: str = "echo") -> str:
        run = self.beta.threads.create_and_run_poll(
            assistant_id=self._assistant(model), thread={"messages": [{"role": "user", "content": text}]}
        )
        return identity(run.thread_id, "thread")

    def _assistant(self, model: str) -> str:
        made = self.beta.assistants.create(model=model, instructions=INSTRUCTIONS, tools=[FUNCTION])
        assert isinstance(made.id, str)
        return made.id

    def go_on(self, thread: str, text: str) -> str:
        id = f"thread_{thread}"
        self.beta.threads.messages.create(id, role="user", content=text)
        run = self.beta.threads.runs.create_and_poll(thread_id=id, assistant_id=self._assistant("repeats"))
        assert run.status == "completed", run
        return self._newest(id)

    def _newest(self, id: str) -> str:
        return _plain(self.beta.threads.messages.list(id, limit=1).data[0])

    def read(self, thread: str) -> list[Said]:
        found = self.beta.threads.messages.list(f"thread_{thread}", order="asc", limit=3)
        return [(message.role, _plain(message)) for message in found]

    def calls(self, thread: str) -> list[Called]:
        id, found = f"thread_{thread}", []
        for run in self.beta.threads.runs.list(id, order="asc"):
            for step in self.beta.threads.runs.steps.list(run.id, thread_id=id, order="asc"):
                for call in getattr(step.step_details, "tool_calls", None) or ():
                    of = call.function
                    found.append((call.id, of.name, written(of.arguments), of.output))
        return found

    def waits(self, thread: str) -> Any:
        run = self.beta.threads.runs.list(f"thread_{thread}", limit=1).data[0]
        assert run.status == "requires_action", run
        return run

    def answer(self, thread: str, outputs: Sequence[str]) -> str:
        id, run = f"thread_{thread}", self.waits(thread)
        waiting = run.required_action.submit_tool_outputs.tool_calls
        answers = [{"tool_call_id": call.id, "output": output} for call, output in zip(waiting, outputs, strict=True)]
        ended = self.beta.threads.runs.submit_tool_outputs_and_poll(run_id=run.id, thread_id=id, tool_outputs=answers)
        assert ended.status == "completed", ended
        return self._newest(id)

    def fork(self, thread: str, kept: int, text: str) -> str:
        """OpenAI has no word for it: the fork is made through Clew's own API, and gone on with through the SDK."""
        events = self._http.get(f"{self.url}/clew/v1/threads/thread_{thread}/events").json()["events"]
        spoken = [event["version"] for event in events if event["kind"] == "message.appended"]
        place = {"version": spoken[kept - 1]}
        made = self._http.post(f"{self.url}/clew/v1/threads/thread_{thread}/fork", json=place)
        fork = identity(made.raise_for_status().json()["thread_id"], "thread")
        self.go_on(fork, text)
        return fork

    def listed(self) -> list[str]:
        found = self._sdk.get("/threads", cast_to=object)
        assert isinstance(found, dict)
        return [identity(one["id"], "thread") for one in found["data"]]


def _plain(message: Any) -> str:
    return "".join(part.text.value for part in message.content if part.type == "text")


class ByMistral:
    name: ClassVar[str] = "mistral"

    def __init__(self, url: str, http: httpx2.Client) -> None:
        never_used = httpx2.AsyncClient(verify=False)  # It would make one that reads certificates first.
        self._sdk = Mistral(api_key="k", server_url=f"{url}/mistral", client=http, async_client=never_used)
        self.talks: Any = self._sdk.beta.conversations
        self.agents: Any = self._sdk.beta.agents

    def begin(self, text: str, model: str = "echo") -> str:
        begun = self.talks.start(model=model, inputs=text, instructions=INSTRUCTIONS, tools=[FUNCTION])
        return identity(begun.conversation_id, "conv")

    def go_on(self, thread: str, text: str) -> str:
        further = self.talks.append(conversation_id=f"conv_{thread}", inputs=text)
        assert identity(further.conversation_id, "conv") == thread
        return str(further.outputs[-1].content)

    def read(self, thread: str) -> list[Said]:
        entries = self.talks.get_messages(conversation_id=f"conv_{thread}").messages
        return [(entry.role, entry.content) for entry in entries]

    def entries(self, thread: str) -> list[Any]:
        return list(self.talks.get_history(conversation_id=f"conv_{thread}").entries)

    def calls(self, thread: str) -> list[Called]:
        entries = self.entries(thread)
        results = {entry.tool_call_id: entry.result for entry in entries if entry.type == "function.result"}
        return [
            (entry.tool_call_id, entry.name, written(entry.arguments), results.get(entry.tool_call_id))
            for entry in entries
            if entry.type == "function.call"
        ]

    def answer(self, thread: str, outputs: Sequence[str]) -> str:
        waiting = [id for id, _, _, output in self.calls(thread) if output is None]
        inputs = [
            {"type": "function.result", "tool_call_id": id, "result": output}
            for id, output in zip(waiting, outputs, strict=True)
        ]
        return str(self.talks.append(conversation_id=f"conv_{thread}", inputs=inputs).outputs[-1].content)

    def fork(self, thread: str, kept: int, text: str) -> str:
        entry = self.talks.get_messages(conversation_id=f"conv_{thread}").messages[kept - 1]
        made = self.talks.restart(conversation_id=f"conv_{thread}", from_entry_id=entry.id, inputs=text)
        return identity(made.conversation_id, "conv")

    def listed(self) -> list[str]:
        return [identity(one.id, "conv") for one in self.talks.list()]


class ByAnthropic:
    """Its API has threads without a name of their own: what reads them here is an extension, through the same SDK."""

    name: ClassVar[str] = "anthropic"

    def __init__(self, url: str, http: httpx2.Client) -> None:
        self._sdk = Anthropic(
            base_url=f"{url}/anthropic", api_key="k", max_retries=0, http_client=http, _strict_response_validation=True
        )

    def begin(self, text: str, model: str = "echo") -> str:
        made = self._sdk.messages.with_raw_response.create(
            model=model, max_tokens=99, messages=[user(text)], system=INSTRUCTIONS, tools=[TOOL]
        )
        return identity(made.headers["x-thread-id"], "thread")

    def go_on(self, thread: str, text: str) -> str:
        """As a program does that knows of the thread only which message it ends with."""
        return self._continue(thread, user(text))

    def _continue(self, thread: str, message: Any) -> str:
        told = self.get(f"/v1/threads/thread_{thread}")
        made = self.continued(told["last_message_id"], [message])
        assert identity(made.headers["x-thread-id"], "thread") == thread
        return "".join(block.text for block in made.parse().content if block.type == "text")

    def continued(self, message_id: str, messages: list[Any]) -> Any:
        """The raw answer to messages that go on from one."""
        return self._sdk.beta.messages.with_raw_response.create(
            model="repeats" if isinstance(messages[0]["content"], str) else "echo",
            max_tokens=99,
            messages=messages,
            thread={"type": "continue", "previous_message_id": message_id},
            betas=["message-threads-2026-08-12"],
        )

    def get(self, path: str, **query: Any) -> Any:
        return self._sdk.get(path, cast_to=object, options={"params": query})

    def messages(self, thread: str) -> list[Any]:
        found: list[Any] = []
        page: dict[str, str] = {}
        while True:
            answer = self.get(f"/v1/threads/thread_{thread}/messages", limit=3, **page)
            found += answer["data"]
            if answer["next_page"] is None:
                return found
            page = {"page": answer["next_page"]}

    def read(self, thread: str) -> list[Said]:
        found = []
        for message in self.messages(thread):
            texts = [block["text"] for block in message["content"] if block["type"] == "text"]
            if texts:
                found.append((message["role"], "".join(texts)))
        return found

    def calls(self, thread: str) -> list[Called]:
        blocks = [block for message in self.messages(thread) for block in message["content"]]
        results = {block["tool_use_id"]: block["content"] for block in blocks if block["type"] == "tool_result"}
        return [
            (
                block["id"],
                block["name"],
                block["input"],
                _text(results[block["id"]]) if block["id"] in results else None,
            )
            for block in blocks
            if block["type"] == "tool_use"
        ]

    def answer(self, thread: str, outputs: Sequence[str]) -> str:
        waiting = [id for id, _, _, output in self.calls(thread) if output is None]
        results = [
            {"type": "tool_result", "tool_use_id": id, "content": output}
            for id, output in zip(waiting, outputs, strict=True)
        ]
        return self._continue(thread, {"role": "user", "content": results})

    def fork(self, thread: str, kept: int, text: str) -> str:
        """The history is sent again and ends otherwise."""
        told = [{"role": one["role"], "content": one["content"]} for one in self.messages(thread)]
        return self.sent(thread, [*told[:kept], user(text)])

    def sent(self, thread: str | None, messages: list[Any], **more: Any) -> str:
        """Where it went; `thread` None: without a word of which thread it is."""
        header = {} if thread is None else {"x-thread-id": f"thread_{thread}"}
        said = {"model": "repeats", "max_tokens": 99, "system": INSTRUCTIONS, "tools": [TOOL], **more}
        made = self._sdk.messages.with_raw_response.create(messages=messages, extra_headers=header, **said)
        return identity(made.headers["x-thread-id"], "thread")

    def listed(self) -> list[str]:
        return [identity(one["id"], "thread") for one in self.get("/v1/threads", limit=100)["data"]]


def _text(blocks: list[Any]) -> str:
    return "".join(block["text"] for block in blocks)


def user(text: str) -> Any:
    return {"role": "user", "content": text}


TONGUES: dict[str, type[Tongue]] = {one.name: one for one in (ByOpenAI, ByMistral, ByAnthropic)}
