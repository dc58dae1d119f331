"""A thread comes to be, takes messages while nobody works on it, and goes."""

from __future__ import annotations

from clew.errors import CallsUnanswered, NotFound, NothingToRun, ThreadBusy
from clew.events import ThreadStreamEvent
from clew.events.content import text
from clew.events.message import MessageChanged, MessageEdited, MessageRemoved
from clew.events.run import RunCancelled, RunQueued
from clew.events.thread import ThreadChanged, ThreadCompacted, ThreadCreated, ThreadDeleted, ThreadErased, ThreadForked
from clew.rules.commands import (
    AppendMessages,
    ChangeMessage,
    ChangeThread,
    CreateThread,
    DeleteThread,
    EditMessage,
    RemoveMessage,
)
from clew.rules.thread import thread_rules
from tests.rules.example import (
    ASKED,
    CREATED,
    HELLO,
    IDLE,
    QUEUED,
    WAITING,
    R,
    T,
    closed_model_call,
    new_message,
    queue_run,
    queued,
    tokens,
    tool_failed,
)
from tests.specify import given, through_codec

CREATE = CreateThread(thread_id=T, tenant="acme", dialect="openai", metadata={}, tool_resources={})
APPEND = AppendMessages(thread_id=T, messages=(new_message("More", id="msg_9"),))
EDIT = EditMessage(thread_id=T, message_id="msg_1", content=text("Bye"), tokens=tokens(1), tokens_before=3)
CALLS_CANCELLED = "The run was cancelled before this call was answered."


def folded(*events: ThreadStreamEvent) -> tuple[int, int, int]:
    """Users' messages, items, tokens."""
    thread = thread_rules.fold(through_codec(event) for event in events)
    return thread.user_messages, thread.items, thread.tokens


def test_a_thread_is_created_with_what_is_in_it() -> None:
    create = CreateThread(
        thread_id=T,
        tenant="acme",
        dialect="openai",
        metadata={"mood": "good"},
        tool_resources={"file_search": {"vector_store_ids": ["vs_1"]}},
        messages=(new_message(),),
    )
    created = ThreadCreated(
        tenant="acme",
        dialect="openai",
        metadata={"mood": "good"},
        tool_resources={"file_search": {"vector_store_ids": ["vs_1"]}},
    )
    given(thread_rules).when(create).then(created, HELLO)


def test_creating_it_again_changes_nothing() -> None:
    given(thread_rules, CREATED).when(CREATE).then_nothing()
    given(thread_rules, CREATED, ThreadDeleted()).when(CREATE).then_nothing()


def test_a_thread_may_be_created_with_a_run() -> None:
    create = CreateThread(
        thread_id=T,
        tenant="acme",
        dialect="openai",
        metadata={},
        tool_resources={},
        messages=(new_message(),),
        run=queue_run(),
    )
    given(thread_rules).when(create).then(CREATED, HELLO, queued())


def test_a_thread_without_anything_to_run_is_not_created_with_a_run() -> None:
    create = CreateThread(thread_id=T, tenant="acme", dialect="openai", metadata={}, tool_resources={}, run=queue_run())
    given(thread_rules).when(create).then_refused(NothingToRun, thread_id=T)


def test_nothing_can_be_asked_of_a_thread_that_is_not_there() -> None:
    given(thread_rules).when(APPEND).then_refused(NotFound, noun="thread", id=T)
    given(thread_rules).when(queue_run()).then_refused(NotFound, noun="thread", id=T)


def test_nothing_can_be_asked_of_a_deleted_thread() -> None:
    deleted = (*IDLE, ThreadDeleted(by="key_1"))
    given(thread_rules, *deleted).when(APPEND).then_refused(NotFound, noun="thread", id=T)
    given(thread_rules, *deleted).when(DeleteThread(thread_id=T)).then_refused(NotFound, id=T)


def test_only_what_changes_is_in_the_change() -> None:
    change = ChangeThread(thread_id=T, metadata={"a": "b"})
    given(thread_rules, CREATED).when(change).then(ThreadChanged(metadata={"a": "b"}))
    given(thread_rules, CREATED).when(ChangeThread(thread_id=T, metadata={})).then(ThreadChanged(metadata={}))
    given(thread_rules, CREATED).when(ChangeThread(thread_id=T)).then_nothing()


def test_a_thread_may_be_changed_while_a_run_is_active() -> None:
    given(thread_rules, *WAITING).when(ChangeThread(thread_id=T, metadata={})).then_kinds(ThreadChanged)


def test_a_deleted_thread_closes_the_run_and_all_that_is_open_in_it() -> None:
    delete = DeleteThread(thread_id=T, by="key_1", reason="asked")
    gone = ThreadDeleted(by="key_1", reason="asked")
    given(thread_rules, *IDLE).when(delete).then(gone)
    given(thread_rules, *QUEUED).when(delete).then(RunCancelled(run_id=R), gone)
    given(thread_rules, *ASKED).when(delete).then(closed_model_call("run_cancelled"), RunCancelled(run_id=R), gone)
    kinds = given(thread_rules, *WAITING).when(delete).decide()
    assert kinds[:2] == [tool_failed(id, "run_cancelled", CALLS_CANCELLED) for id in ("call_a", "call_b")]
    assert isinstance(kinds[2], RunCancelled)
    assert kinds[3] == gone


def test_messages_are_appended_in_order_while_no_run_is_active() -> None:
    both = AppendMessages(thread_id=T, messages=(new_message("A", id="msg_a"), new_message("B", "assistant", "msg_b")))
    events = given(thread_rules, CREATED).when(both).decide()
    assert [getattr(event, "message_id", None) for event in events] == ["msg_a", "msg_b"]


def test_messages_are_refused_while_a_run_is_active() -> None:
    for history in (QUEUED, ASKED):
        given(thread_rules, *history).when(APPEND).then_refused(ThreadBusy, thread_id=T, run_id=R, wish="message")
        given(thread_rules, *history).when(EDIT).then_refused(ThreadBusy, thread_id=T, run_id=R, wish="message")
    for wish in (APPEND, EDIT):
        given(thread_rules, *WAITING).when(wish).then_refused(
            CallsUnanswered, thread_id=T, run_id=R, wish="message", tool_call_ids=("call_a", "call_b")
        )


def test_messages_are_taken_again_when_the_run_has_ended() -> None:
    given(thread_rules, *QUEUED, RunCancelled(run_id=R)).when(APPEND).then_kinds(type(HELLO))


def test_a_message_is_edited_and_what_it_said_before_is_counted_out() -> None:
    edited = MessageEdited(message_id="msg_1", content=text("Bye"), tokens=tokens(1), tokens_before=3)
    given(thread_rules, *IDLE).when(EDIT).then(edited)
    assert folded(*IDLE, edited) == (1, 1, 1)


def test_the_metadata_of_a_message_may_change_at_any_time() -> None:
    change = ChangeMessage(thread_id=T, message_id="msg_1", metadata={"seen": "yes"})
    changed = MessageChanged(message_id="msg_1", metadata={"seen": "yes"})
    given(thread_rules, *IDLE).when(change).then(changed)
    given(thread_rules, *WAITING).when(change).then(changed)
    assert folded(*IDLE, changed) == folded(*IDLE)


def test_a_removed_message_is_counted_out() -> None:
    remove = RemoveMessage(thread_id=T, message_id="msg_1", role="user", tokens=3)
    removed = MessageRemoved(message_id="msg_1", role="user", tokens=3)
    given(thread_rules, *IDLE).when(remove).then(removed)
    assert folded(*IDLE, removed) == (0, 0, 0)
    given(thread_rules, *IDLE, removed).when(queue_run()).then_refused(NothingToRun)


def test_a_fork_begins_with_what_it_inherits() -> None:
    forked = ThreadForked(
        parent="thread_0", parent_version=7, tenant="acme", user_messages=2, items=5, tokens=50, dialect="openai"
    )
    assert folded(forked, HELLO) == (3, 6, 53)
    given(thread_rules, forked).when(queue_run()).then_kinds(RunQueued)


def test_a_summary_says_nothing_more_and_an_erasure_takes_nothing_away() -> None:
    compacted = ThreadCompacted(item_id="sum_1", summary=text("…"), first_item=2, last_item=2, tokens=tokens(9))
    assert folded(*IDLE, compacted) == folded(*IDLE)
    assert folded(*IDLE, ThreadErased(upto_version=2, by="key_1", reason="asked")) == folded(*IDLE)
