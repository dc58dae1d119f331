"""OpenAI's own client, unchanged and in its strict mode, gets everything that it expects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from openai import AssistantEventHandler, AsyncAssistantEventHandler, AsyncOpenAI, OpenAI
from openai.types.beta import Assistant, Thread
from openai.types.beta.threads import Message, Run, Text, TextDelta
from openai.types.beta.threads.runs import RunStep, ToolCall
from typing_extensions import override

from tests.dialects.conftest import Server

pytestmark = [
    pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*deprecated in favor of the Responses API:DeprecationWarning"),
]

TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture
def assistant(client: OpenAI) -> Assistant:
    return client.beta.assistants.create(model="echo", name="Echo", instructions="Say it again.")


@pytest.fixture
def weather(client: OpenAI) -> Assistant:
    return client.beta.assistants.create(model="weather", tools=[TOOL])


@pytest.fixture
def thread(client: OpenAI) -> Thread:
    return client.beta.threads.create(messages=[{"role": "user", "content": "Good morning"}])


def said(message: Message) -> str:
    return "".join(part.text.value for part in message.content if part.type == "text")


def outputs(run: Run, output: str = "sunny") -> Any:
    assert run.required_action is not None
    calls = run.required_action.submit_tool_outputs.tool_calls
    return [{"tool_call_id": call.id, "output": output} for call in calls]


def test_models(client: OpenAI, server: Server) -> None:
    assert [model.id for model in client.models.list()] == ["echo"]
    assert client.models.retrieve("echo").owned_by == "tests"
    assert client.models.retrieve("fake/echo").id == "fake/echo"
    server.provider.down = True
    assert client.models.list().data == []
    server.provider.down = False


def test_an_assistant_is_kept_changed_listed_and_deleted(client: OpenAI) -> None:
    made = client.beta.assistants.create(model="echo", temperature=0.5, metadata={"a": "1"}, tools=[TOOL])
    assert made.temperature == 0.5
    assert made.top_p == 1.0
    changed = client.beta.assistants.update(made.id, name="Ada", top_p=0.1, response_format={"type": "json_object"})
    assert (changed.name, changed.top_p, changed.temperature) == ("Ada", 0.1, 0.5)
    assert changed.metadata == {"a": "1"}
    assert changed.tools == made.tools
    assert client.beta.assistants.retrieve(made.id) == changed
    assert client.beta.assistants.update(made.id, metadata=None).metadata == {}
    assert client.beta.assistants.delete(made.id).deleted
    assert made.id not in [one.id for one in client.beta.assistants.list(limit=100)]


def test_threads_and_messages(client: OpenAI) -> None:
    thread = client.beta.threads.create(metadata={"who": "Ada"})
    assert client.beta.threads.update(thread.id, metadata={"who": "Bob"}).metadata == {"who": "Bob"}
    assert client.beta.threads.retrieve(thread.id).metadata == {"who": "Bob"}
    message = client.beta.threads.messages.create(
        thread.id,
        role="user",
        content=[
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "low"}},
        ],
        metadata={"n": "1"},
    )
    assert [part.type for part in message.content] == ["text", "image_url"]
    assert message.status == "completed"
    changed = client.beta.threads.messages.update(message.id, thread_id=thread.id, metadata={"n": "2"})
    assert changed.metadata == {"n": "2"}
    assert changed.content == message.content
    assert client.beta.threads.messages.retrieve(message.id, thread_id=thread.id) == changed
    mine = client.beta.threads.messages.create(thread.id, role="assistant", content="A picture.")
    assert [one.id for one in client.beta.threads.messages.list(thread.id)] == [mine.id, message.id]
    assert client.beta.threads.messages.delete(message.id, thread_id=thread.id).deleted
    assert [one.id for one in client.beta.threads.messages.list(thread.id)] == [mine.id]
    assert client.beta.threads.delete(thread.id).deleted


def test_paging_reaches_everything_once_in_both_orders(client: OpenAI) -> None:
    thread = client.beta.threads.create()
    made = [client.beta.threads.messages.create(thread.id, role="user", content=str(n)).id for n in range(7)]
    listed = client.beta.threads.messages.list
    assert [one.id for one in listed(thread.id, limit=3)] == made[::-1]
    assert [one.id for one in listed(thread.id, limit=3, order="asc")] == made
    page = listed(thread.id, limit=2, after=made[5], before=made[1])
    assert [one.id for one in page.data] == [made[4], made[3]]
    assert [one.id for one in listed(thread.id, limit=2, before=made[1]).data] == [made[3], made[2]]
    assert [one.id for one in listed(thread.id, limit=2, before=made[3], order="asc").data] == [made[1], made[2]]


def test_other_lists_page_too(client: OpenAI, assistant: Assistant, thread: Thread) -> None:
    more = [client.beta.assistants.create(model="echo").id for _ in range(3)]
    page = client.beta.assistants.list(limit=2)
    assert [one.id for one in page.data] == more[:0:-1]
    assert page.has_next_page()
    assert client.beta.assistants.list(limit=2, after=more[1]).data[0].id == more[0]
    runs = [
        client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id).id for _ in range(3)
    ]
    assert [one.id for one in client.beta.threads.runs.list(thread.id, limit=1)] == runs[::-1]
    assert [one.id for one in client.beta.threads.runs.list(thread.id, order="asc", after=runs[0])] == runs[1:]
    assert [one.id for one in client.beta.threads.runs.list(thread.id, before=runs[0], limit=1).data] == [runs[1]]


def test_a_run_is_polled_to_its_end(client: OpenAI, assistant: Assistant, thread: Thread, server: Server) -> None:
    run = client.beta.threads.runs.create_and_poll(
        thread_id=thread.id,
        assistant_id=assistant.id,
        additional_instructions="And be quick.",
        additional_messages=[{"role": "user", "content": "Tell me more"}],
        metadata={"run": "1"},
        temperature=0.25,
        truncation_strategy={"type": "last_messages", "last_messages": 1},
    )
    assert run.status == "completed"
    assert run.instructions == "Say it again.\nAnd be quick."
    assert run.temperature == 0.25
    assert run.truncation_strategy is not None
    assert run.truncation_strategy.last_messages == 1
    assert run.usage is not None
    assert (run.usage.prompt_tokens, run.usage.completion_tokens, run.usage.total_tokens) == (20, 5, 25)
    newest = client.beta.threads.messages.list(thread.id, run_id=run.id).data
    assert [said(message) for message in newest] == ["You said: Tell me more"]
    assert newest[0].assistant_id == assistant.id
    assert server.provider.sent[-1]["items"] == [{"kind": "message", "role": "user", "text": "Tell me more"}]
    [step] = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data
    assert step.step_details.type == "message_creation"
    assert step.step_details.message_creation.message_id == newest[0].id
    assert step.usage is not None
    assert step.usage.model_dump() == run.usage.model_dump()
    assert client.beta.threads.runs.steps.retrieve(step.id, thread_id=thread.id, run_id=run.id) == step
    assert client.beta.threads.runs.update(run.id, thread_id=thread.id, metadata={"run": "2"}).metadata == {"run": "2"}


def test_tool_outputs_are_submitted_and_polled(client: OpenAI, weather: Assistant, thread: Thread) -> None:
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=weather.id, model="two-tools")
    assert run.status == "requires_action"
    assert run.model == "two-tools"
    assert len(outputs(run)) == 2
    [waiting] = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data
    assert waiting.status == "in_progress"
    done = client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=thread.id, tool_outputs=outputs(run)
    )
    assert done.status == "completed"
    assert done.usage is not None
    assert done.usage.prompt_tokens == 40
    assert said(client.beta.threads.messages.list(thread.id).data[0]) == "It is sunny and sunny."
    steps = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id, order="asc").data
    assert [step.type for step in steps] == ["tool_calls", "message_creation"]
    assert steps[0].step_details.type == "tool_calls"
    assert [one.function.output for one in steps[0].step_details.tool_calls if one.type == "function"] == ["sunny"] * 2


def test_create_and_run(client: OpenAI, assistant: Assistant) -> None:
    messages: Any = [{"role": "user", "content": "Hello"}]
    queued = client.beta.threads.create_and_run(assistant_id=assistant.id, thread={"messages": messages})
    assert queued.status == "queued"
    assert queued.expires_at == queued.created_at + 600
    assert client.beta.threads.runs.poll(queued.id, queued.thread_id).status == "completed"
    done = client.beta.threads.create_and_run_poll(assistant_id=assistant.id, thread={"messages": messages})
    assert done.status == "completed"
    assert done.expires_at is None


def test_a_waiting_run_is_cancelled(client: OpenAI, weather: Assistant, thread: Thread) -> None:
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=weather.id)
    assert client.beta.threads.runs.cancel(run.id, thread_id=thread.id).status == "cancelling"
    ended = client.beta.threads.runs.poll(run.id, thread.id)
    assert ended.status == "cancelled"
    assert ended.cancelled_at is not None
    [step] = client.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data
    assert step.status == "cancelled"


def test_a_run_that_is_cut_short_says_so(client: OpenAI, assistant: Assistant, thread: Thread) -> None:
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, model="long")
    assert run.status == "incomplete"
    assert run.incomplete_details is not None
    assert run.incomplete_details.reason == "max_completion_tokens"
    newest = client.beta.threads.messages.list(thread.id).data[0]
    assert newest.status == "incomplete"
    assert newest.incomplete_details is not None
    assert newest.incomplete_details.reason == "max_tokens"


def test_a_failed_run_says_why(client: OpenAI, assistant: Assistant, thread: Thread) -> None:
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id, model="fails")
    assert run.status == "failed"
    assert run.last_error is not None
    assert (run.last_error.code, run.last_error.message) == ("rate_limit_exceeded", "the provider says no")


class Listener(AssistantEventHandler):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    @override
    def on_message_created(self, message: Message) -> None:
        self.heard.append("message")

    @override
    def on_text_delta(self, delta: TextDelta, snapshot: Text) -> None:
        self.heard.append(f"+{delta.value}")

    @override
    def on_text_done(self, text: Text) -> None:
        self.heard.append(f"={text.value}")

    @override
    def on_tool_call_created(self, tool_call: ToolCall) -> None:
        self.heard.append("call")

    @override
    def on_tool_call_done(self, tool_call: ToolCall) -> None:
        assert tool_call.type == "function"
        self.heard.append(f"called {tool_call.function.name}{tool_call.function.arguments}")

    @override
    def on_run_step_done(self, run_step: RunStep) -> None:
        self.heard.append(f"{run_step.type} {run_step.status}")

    @override
    def on_end(self) -> None:
        self.heard.append("end")


def test_the_stream_helper_hears_a_message(client: OpenAI, assistant: Assistant, thread: Thread) -> None:
    listener = Listener()
    with client.beta.threads.runs.stream(
        thread_id=thread.id, assistant_id=assistant.id, event_handler=listener
    ) as stream:
        stream.until_done()
    whole = "You said: Good morning"
    assert listener.heard == [
        *("message", "+You", "+ said:", "+ Good", "+ morning"),
        *(f"={whole}", "message_creation completed", "end"),
    ]
    run = stream.get_final_run()
    assert run == client.beta.threads.runs.retrieve(run.id, thread_id=thread.id)
    assert [said(message) for message in stream.get_final_messages()] == [whole]


def test_the_stream_helper_hears_tool_calls_and_goes_on(client: OpenAI, weather: Assistant, thread: Thread) -> None:
    first = Listener()
    with client.beta.threads.runs.create_and_stream(
        thread_id=thread.id, assistant_id=weather.id, event_handler=first
    ) as stream:
        run = stream.get_final_run()
    assert first.heard == ["call", 'called get_weather{"city":"Paris"}', "end"]
    assert run.status == "requires_action"
    second = Listener()
    with client.beta.threads.runs.submit_tool_outputs_stream(
        thread_id=thread.id, run_id=run.id, tool_outputs=outputs(run), event_handler=second
    ) as stream:
        final = stream.get_final_run()
    assert final.status == "completed"
    assert second.heard[0] == "tool_calls completed"
    assert second.heard[-3:] == ["=It is sunny.", "message_creation completed", "end"]


def test_a_broken_answer_does_not_confuse_the_helper(client: OpenAI, assistant: Assistant) -> None:
    with client.beta.threads.create_and_run_stream(
        assistant_id=assistant.id,
        model="breaks-once",
        thread={"messages": [{"role": "user", "content": "Break, please"}]},
    ) as stream:
        run = stream.get_final_run()
        said_in_all = [said(message) for message in stream.get_final_messages() if message.status == "completed"]
    assert run.status == "completed"
    assert said_in_all == ["Whole again."]


def test_a_raw_stream_is_typed(client: OpenAI, assistant: Assistant, thread: Thread) -> None:
    events = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, stream=True)
    names = [event.event for event in events]
    assert names[0] == "thread.run.created"
    assert names[-1] == "thread.run.completed"


# The asynchronous client


@pytest.fixture
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


async def strict(server: Server) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(
        base_url=server.base_url, api_key="x", max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


class AsyncListener(AsyncAssistantEventHandler):
    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    @override
    async def on_text_delta(self, delta: TextDelta, snapshot: Text) -> None:
        self.text += delta.value or ""


def test_asynchronously(loop: asyncio.Runner, server: Server) -> None:
    async def everything() -> None:
        async for client in strict(server):
            assistant = await client.beta.assistants.create(model="weather", tools=[TOOL])
            thread = await client.beta.threads.create()
            await client.beta.threads.messages.create(thread.id, role="user", content="Paris?")
            run = await client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
            done = await client.beta.threads.runs.submit_tool_outputs_and_poll(
                run_id=run.id, thread_id=thread.id, tool_outputs=outputs(run, "wet")
            )
            assert done.status == "completed"
            listener = AsyncListener()
            async with client.beta.threads.create_and_run_stream(
                assistant_id=assistant.id,
                model="echo",
                thread={"messages": [{"role": "user", "content": "Bye"}]},
                event_handler=listener,
            ) as stream:
                await stream.until_done()
            assert listener.text == "You said: Bye"
            found = [said(message) async for message in client.beta.threads.messages.list(thread.id, limit=1)]
            assert found == ["It is wet.", "Paris?"]

    loop.run(everything())
