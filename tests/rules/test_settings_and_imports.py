"""What a thread says of its runs, what a client brings along, and threads that are there for one run only."""

from __future__ import annotations

from clew.errors import NotFound
from clew.events.run import RunCompleted, RunQueued
from clew.events.thread import ThreadConfigured, ThreadCreated, ThreadForked, ThreadSettings
from clew.events.tool import ToolFailed, ToolImported, ToolReplaced
from clew.rules.commands import AppendMessages, ConfigureThread, CreateThread, DeleteThread, ForkThread
from clew.rules.parts import NewCall, NewResult
from clew.rules.thread import thread_rules
from tests.rules.example import (
    ASKED,
    CREATED,
    HELLO,
    IDLE,
    QUEUED,
    WAITING,
    T,
    answer,
    answered,
    call,
    called,
    new_message,
    queue_run,
    queued,
    tokens,
)
from tests.specify import given

SETTINGS = ThreadSettings(model="m", instructions="Be kind.", name="Trip")
CALL = NewCall(
    tool_call_id="call_x", model_call_id="mc_x", name="look", arguments="{}", executor="client", tokens=tokens(4)
)
RESULT = NewResult(tool_call_id="call_x", output="42", tokens=tokens(2))
IMPORTED = ToolImported(
    tool_call_id="call_x", model_call_id="mc_x", name="look", arguments="{}", executor="client", tokens=tokens(4)
)
ITS_RESULT = ToolReplaced(tool_call_id="call_x", output="42", had_result=False, tokens=tokens(2))
UNSTORED = ThreadCreated(tenant="acme", dialect="mistral", stored=False)


def create(**more: object) -> CreateThread:
    return CreateThread(thread_id=T, tenant="acme", dialect="mistral", metadata={}, tool_resources={}, **more)  # type: ignore[arg-type]


def test_a_thread_may_say_what_its_runs_are_like() -> None:
    configured = ThreadConfigured(settings=SETTINGS)
    created = ThreadCreated(tenant="acme", dialect="mistral")
    given(thread_rules).when(create(settings=SETTINGS)).then(created, configured)
    given(thread_rules, CREATED).when(ConfigureThread(thread_id=T, settings=SETTINGS)).then(configured)


def test_calls_that_were_made_elsewhere_are_items_outside_any_run() -> None:
    bring = AppendMessages(thread_id=T, messages=(new_message(), CALL, RESULT))
    given(thread_rules, CREATED).when(bring).then(HELLO, IMPORTED, ITS_RESULT)
    after = thread_rules.fold((CREATED, HELLO, IMPORTED, ITS_RESULT))
    assert (after.items, after.tokens, after.user_messages, after.run) == (3, 9, 1, None)


def test_nobody_finds_or_goes_on_with_a_thread_that_is_not_stored() -> None:
    for wish in (
        AppendMessages(thread_id=T, messages=()),
        queue_run("run_2"),
        DeleteThread(thread_id=T),
        ConfigureThread(thread_id=T, settings=SETTINGS),
    ):
        given(thread_rules, UNSTORED, HELLO).when(wish).then_refused(NotFound, noun="thread", id=T)
    fork = ForkThread(
        thread_id="thread_2",
        parent=T,
        parent_version=2,
        parent_position=2,
        inherited=thread_rules.fold((UNSTORED, HELLO)),
        dialect="mistral",
        metadata={},
        tool_resources={},
    )
    given(thread_rules).when(fork).then_refused(NotFound, noun="thread", id=T)


def test_a_thread_that_is_not_stored_has_the_run_that_it_is_for() -> None:
    one = create(messages=(new_message(),), run=queue_run(), stored=False)
    given(thread_rules).when(one).then(UNSTORED, HELLO, queued())


def test_a_fork_may_have_its_run_at_once_and_need_not_be_stored() -> None:
    fork = ForkThread(
        thread_id="thread_2",
        parent=T,
        parent_version=2,
        parent_position=2,
        inherited=thread_rules.fold(IDLE),
        dialect="mistral",
        metadata={},
        tool_resources={},
        edits=(ConfigureThread(thread_id="thread_2", settings=SETTINGS),),
        run=queue_run(),
        stored=False,
    )
    forked, _, _ = given(thread_rules).when(fork).then_kinds(ThreadForked, ThreadConfigured, RunQueued)
    assert isinstance(forked, ThreadForked)
    assert not forked.stored


def test_where_nobody_can_answer_a_call_the_run_ends() -> None:
    unstored = (UNSTORED, *ASKED[1:])
    asked = answer(call("call_a"), finish="tool_calls")
    *_, failed, ended = given(thread_rules, *unstored).when(asked).decide()
    assert isinstance(failed, ToolFailed)
    assert (failed.tool_call_id, failed.reason) == ("call_a", "run_completed")
    assert isinstance(ended, RunCompleted)
    assert thread_rules.fold((*unstored, answered("tool_calls"), called("call_a"), failed, ended)).run is None


def test_the_settings_of_a_thread_may_change_while_it_is_busy() -> None:
    for history in (QUEUED, WAITING):
        given(thread_rules, *history).when(ConfigureThread(thread_id=T, settings=SETTINGS)).then_kinds(ThreadConfigured)
