"""An assistant is created, changed and deleted; each change is a version of it, which may have names."""

from __future__ import annotations

from clew.errors import NoSuchVersion, NotFound
from clew.events.assistant import (
    AssistantAliasRemoved,
    AssistantAliasSet,
    AssistantChanged,
    AssistantCreated,
    AssistantDeleted,
    AssistantSettings,
    AssistantVersionSelected,
)
from clew.rules.assistant import (
    ChangeAssistant,
    CreateAssistant,
    DeleteAssistant,
    RemoveAlias,
    SelectVersion,
    SetAlias,
    assistant_rules,
)
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


RENAMED = AssistantChanged(settings=SETTINGS.model_copy(update={"name": "Bea"}))
BACK = SelectVersion(assistant_id=A, version=1, settings=SETTINGS)
PROD = SetAlias(assistant_id=A, alias="prod", version=1)


def test_an_earlier_version_may_be_what_it_is_again() -> None:
    selected = AssistantVersionSelected(version=1, settings=SETTINGS)
    given(assistant_rules, CREATED, RENAMED).when(BACK).then(selected)
    given(assistant_rules, CREATED, RENAMED, selected).when(BACK).then_nothing()
    given(assistant_rules, CREATED, RENAMED, selected).when(RENAME).then(RENAMED)


def test_what_changes_it_makes_a_new_version_whichever_it_was() -> None:
    selected = AssistantVersionSelected(version=1, settings=SETTINGS)
    assert assistant_rules.fold((CREATED, RENAMED, selected, RENAMED)).version == 3


def test_a_version_that_never_was_cannot_be_selected_or_named() -> None:
    for version in (0, 3):
        other = SelectVersion(assistant_id=A, version=version, settings=SETTINGS)
        given(assistant_rules, CREATED, RENAMED).when(other).then_refused(NoSuchVersion, version=version, versions=2)
        named = SetAlias(assistant_id=A, alias="prod", version=version)
        given(assistant_rules, CREATED, RENAMED).when(named).then_refused(NoSuchVersion, version=version, versions=2)


def test_an_alias_stands_for_one_version_at_a_time() -> None:
    first = AssistantAliasSet(alias="prod", version=1)
    given(assistant_rules, CREATED, RENAMED).when(PROD).then(first)
    given(assistant_rules, CREATED, RENAMED, first).when(PROD).then_nothing()
    moved = SetAlias(assistant_id=A, alias="prod", version=2)
    given(assistant_rules, CREATED, RENAMED, first).when(moved).then(AssistantAliasSet(alias="prod", version=2))


def test_an_alias_is_removed_once() -> None:
    first = AssistantAliasSet(alias="prod", version=1)
    remove = RemoveAlias(assistant_id=A, alias="prod")
    removed = AssistantAliasRemoved(alias="prod")
    given(assistant_rules, CREATED, first).when(remove).then(removed)
    given(assistant_rules, CREATED, first, removed).when(remove).then_refused(NotFound, noun="alias", id="prod")
