"""Function calls that the client executes, tools that the server executes, and those that it asks about first."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from mistralai.client.errors import SDKError

from tests.dialects.conftest import Server
from tests.dialects.mistral.conftest import TOOL, result

LOOK_UP = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}
PAY = {"type": "function", "function": {"name": "pay", "parameters": {"type": "object"}}}


def code(raised: pytest.ExceptionInfo[SDKError]) -> tuple[int, str]:
    return raised.value.status_code, httpx2.Response(200, text=raised.value.body).json()["code"]


def test_calls_are_returned_and_answered(talks: Any) -> None:
    begun = talks.start(model="two-tools", inputs="Weather?", tools=[TOOL])
    assert [(one.type, one.name, one.arguments) for one in begun.outputs] == [
        ("function.call", "get_weather", '{"city":"Paris"}'),
        ("function.call", "get_weather", '{"city":"Rome"}'),
    ]
    assert all(one.confirmation_status is None for one in begun.outputs)
    answered = talks.append(
        conversation_id=begun.conversation_id,
        inputs=[result(begun.outputs[1], "sun"), result(begun.outputs[0], "rain")],
    )
    [message] = answered.outputs
    assert message.content == "It is sun and rain."
    # Each response has what it used itself.
    assert (begun.usage.total_tokens, answered.usage.total_tokens) == (25, 25)
    history = talks.get_history(conversation_id=begun.conversation_id).entries
    assert [one.type for one in history] == [
        "message.input",
        "function.call",
        "function.call",
        "function.result",
        "function.result",
        "message.output",
    ]
    assert [one.id for one in history[1:3]] == [one.id for one in begun.outputs]
    assert len({one.id for one in history}) == len(history)


def test_what_is_said_beside_a_call_is_an_output_of_its_own(talks: Any) -> None:
    begun = talks.start(model="talks-and-calls", inputs="Weather?", tools=[TOOL])
    assert [one.type for one in begun.outputs] == ["message.output", "function.call"]


def test_nothing_else_is_taken_while_calls_are_unanswered(talks: Any) -> None:
    begun = talks.start(model="two-tools", inputs="Weather?", tools=[TOOL])
    ids = [one.tool_call_id for one in begun.outputs]
    for inputs in ("Never mind.", [result(begun.outputs[0], "sun"), {"role": "user", "content": "And?"}]):
        with pytest.raises(SDKError) as raised:
            talks.append(conversation_id=begun.conversation_id, inputs=inputs)
        assert code(raised) == (400, "function_calls_unanswered")
        assert all(id in raised.value.body for id in ids)
    for inputs in ([result(begun.outputs[0], "sun")], []):
        with pytest.raises(SDKError) as raised:
            talks.append(conversation_id=begun.conversation_id, inputs=inputs)
        assert code(raised) == (400, "function_results_incomplete")


def test_a_result_that_nobody_waits_for_is_refused(talks: Any) -> None:
    begun = talks.start(model="echo", inputs="Hello")
    with pytest.raises(Exception, match="nor waited for"):
        talks.append(conversation_id=begun.conversation_id, inputs=[result({"tool_call_id": "c1"}, "42")])


def test_how_an_answer_is_made_is_not_changed_in_its_middle(http: httpx2.Client) -> None:
    begun = http.post("/conversations", json={"model": "weather", "inputs": "Weather?", "tools": [TOOL]}).json()
    answers = [result(one, "sun") for one in begun["outputs"]]
    body = {"inputs": answers, "completion_args": {"temperature": 0.1}}
    refused = http.post(f"/conversations/{begun['conversation_id']}", json=body)
    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["body", "completion_args"])


def test_what_the_server_executes_is_told_and_needs_no_answer(talks: Any) -> None:
    begun = talks.start(model="looks-up", inputs="clew?", tools=[LOOK_UP])
    execution, message = begun.outputs
    assert (execution.type, execution.name, execution.arguments) == ("tool.execution", "look_up", '{"word":"clew"}')
    assert execution.info == {"status": "completed", "output": "clew means something"}
    assert message.content == "It is clew means something."
    history = talks.get_history(conversation_id=begun.conversation_id).entries
    assert history[1:] == begun.outputs


def test_a_call_is_made_when_it_is_allowed(talks: Any) -> None:
    begun = talks.start(model="pays", inputs="Pay!", tools=[PAY])
    [call] = begun.outputs
    assert (call.type, call.name, call.confirmation_status) == ("function.call", "pay", "pending")
    [_, pending] = talks.get_history(conversation_id=begun.conversation_id).entries
    assert pending.confirmation_status == "pending"
    allowed = talks.append(
        conversation_id=begun.conversation_id,
        tool_confirmations=[{"tool_call_id": call.tool_call_id, "confirmation": "allow"}],
    )
    execution, message = allowed.outputs
    assert (execution.type, execution.info) == ("tool.execution", {"status": "completed", "output": "paid 3"})
    assert message.content == "It is paid 3."
    history = talks.get_history(conversation_id=begun.conversation_id).entries
    assert [one.type for one in history] == ["message.input", "function.call", "tool.execution", "message.output"]
    assert history[1].confirmation_status == "allowed"
    assert history[2:] == allowed.outputs


def test_a_call_that_is_denied_is_not_made(talks: Any) -> None:
    begun = talks.start(model="pays", inputs="Pay!", tools=[PAY])
    [call] = begun.outputs
    denied = talks.append(
        conversation_id=begun.conversation_id,
        inputs=[],
        tool_confirmations=[{"tool_call_id": call.tool_call_id, "confirmation": "deny"}],
    )
    [message] = denied.outputs
    assert message.content == "It is The user did not allow this call, so it was not made.."
    history = talks.get_history(conversation_id=begun.conversation_id).entries
    assert [one.type for one in history] == ["message.input", "function.call", "function.result", "message.output"]
    assert history[1].confirmation_status == "denied"


def test_the_clients_answers_and_confirmations_come_together(talks: Any) -> None:
    begun = talks.start(model="pays-and-asks", inputs="Pay!", tools=[PAY, TOOL])
    pay, ask = begun.outputs
    assert (pay.confirmation_status, ask.confirmation_status) == ("pending", None)
    with pytest.raises(SDKError) as raised:
        talks.append(conversation_id=begun.conversation_id, inputs=[result(ask, "sun")])
    assert code(raised) == (400, "function_results_incomplete")
    both = talks.append(
        conversation_id=begun.conversation_id,
        inputs=[result(ask, "sun")],
        tool_confirmations=[{"tool_call_id": pay.tool_call_id, "confirmation": "allow"}],
    )
    assert [one.type for one in both.outputs] == ["tool.execution", "message.output"]
    assert both.outputs[1].content == "It is sun and paid 3."


def test_only_what_waits_to_be_confirmed_is(talks: Any) -> None:
    begun = talks.start(model="weather", inputs="Weather?", tools=[TOOL])
    confirm = [{"tool_call_id": begun.outputs[0].tool_call_id, "confirmation": "allow"}]
    with pytest.raises(SDKError) as raised:
        talks.append(conversation_id=begun.conversation_id, tool_confirmations=confirm)
    assert code(raised) == (400, "nothing_to_confirm")
    quiet = talks.start(model="echo", inputs="Hello")
    with pytest.raises(SDKError) as raised:
        talks.append(conversation_id=quiet.conversation_id, tool_confirmations=confirm)
    assert code(raised) == (400, "no_function_call_waits")


def test_what_was_allowed_is_streamed_as_it_is_made(talks: Any) -> None:
    begun = talks.start(model="pays", inputs="Pay!", tools=[PAY])
    confirm = [{"tool_call_id": begun.outputs[0].tool_call_id, "confirmation": "allow"}]
    with talks.append_stream(conversation_id=begun.conversation_id, tool_confirmations=confirm) as stream:
        events = [event.data for event in stream]
    kinds = [event.type for event in events]
    assert kinds[:3] == ["conversation.response.started", "tool.execution.started", "tool.execution.done"]
    assert kinds[-1] == "conversation.response.done"
    assert events[1].id == events[2].id
    assert {event.output_index for event in events if event.type == "message.output.delta"} == {1}


def test_a_conversation_that_waits_does_so_for_as_long_as_it_takes(talks: Any, server: Server) -> None:
    begun = talks.start(model="weather", inputs="Weather?", tools=[TOOL])
    with server.engine.log.reading() as reader:
        thread_id = begun.conversation_id.replace("conv_", "thread_")
        expires: list[Any] = [one.event for one in reader.stream(thread_id) if one.event.kind == "run.queued"]
    assert [one.expires_at for one in expires] == [None]
