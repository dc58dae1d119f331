"""An assistant is created, changed and deleted; each event is a version of it."""

from __future__ import annotations

from clew.errors import NotFound
from clew.events.assistant import AssistantChanged, AssistantCreated, AssistantDeleted, AssistantSettings
from clew.rules.assistant import ChangeAssistant, CreateAssistant, DeleteAssistant, assistant_rules
from tests.specify import given

A = "asst_1"
SETTINGS = AssistantSettings(model="gpt-4o", name="Ada", metadata={"team": "blue"})
CREATE = CreateAssistant(assistant_id=A, tenant="acme", dialect="openai", settings=SETTINGS)
RENAME = ChangeAssistant(assistant_id=A, changes={"name": "Bea"})
DELETE = DeleteAssistant(assistant_id=A, by="key_1")
CREATED = AssistantCreated(tenant="acme", dialect="openai", settings=SETTINGS)


def test_an_assistant_is_created_once() -> None:
    given(assistant_rules).when(CREATE).then(CREATED)
    given(assistant_rules, CREATED).when(CREATE).then_nothing()


def test_a_change_holds_the_whole_assistant() -> None:
    renamed = SETTINGS.model_copy(update={"name": "Bea"})
    given(assistant_rules, CREATED).when(RENAME).then(AssistantChanged(settings=renamed))


def test_a_change_builds_on_the_change_before_it() -> None:
    first = AssistantChanged(settings=SETTINGS.model_copy(update={"model": "gpt-5"}))
    both = SETTINGS.model_copy(update={"model": "gpt-5", "name": "Bea"})
    given(assistant_rules, CREATED, first).when(RENAME).then(AssistantChanged(settings=both))


def test_a_change_to_what_it_is_already_is_none() -> None:
    given(assistant_rules, CREATED).when(ChangeAssistant(assistant_id=A, changes={})).then_nothing()
    same = ChangeAssistant(assistant_id=A, changes={"name": "Ada"})
    given(assistant_rules, CREATED).when(same).then_nothing()


def test_a_deleted_assistant_is_gone() -> None:
    given(assistant_rules, CREATED).when(DELETE).then(AssistantDeleted(by="key_1"))
    gone = (CREATED, AssistantDeleted())
    given(assistant_rules, *gone).when(RENAME).then_refused(NotFound, noun="assistant", id=A)
    given(assistant_rules, *gone).when(DELETE).then_refused(NotFound, noun="assistant", id=A)


def test_an_assistant_that_never_was_is_not_found() -> None:
    given(assistant_rules).when(RENAME).then_refused(NotFound, noun="assistant", id=A)
    given(assistant_rules).when(DELETE).then_refused(NotFound, noun="assistant", id=A)
