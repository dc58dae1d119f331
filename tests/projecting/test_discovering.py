"""Dropping a file in is enough; a file that is no read model is told so."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel, ConfigDict

import clew_projections
from clew.errors import Misconfigured
from clew.events import Recorded
from clew.events.thread import ThreadChanged, ThreadDeleted
from clew.projecting import Fold, Projection, Rows, discover, documents
from tests.projecting.ledger import Ledger

Package = Callable[..., ModuleType]

GOOD = """
from clew.projecting import Projection
projection = Projection(name={name!r}, version=1, lifecycle="inline", tables=())
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """Makes a package of modules, given by name and text."""
    before = set(sys.modules)

    def make(**modules: str) -> ModuleType:
        folder = tmp_path / "dropped_in"
        folder.mkdir()
        (folder / "__init__.py").touch()
        for name, text in modules.items():
            (folder / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        return importlib.import_module("dropped_in")

    yield make
    for name in set(sys.modules) - before:
        if name.startswith("dropped_in"):
            del sys.modules[name]


def test_every_file_is_found(package: Package) -> None:
    found = discover(package(b=GOOD.format(name="second"), a=GOOD.format(name="first"), _helper="x = 1"))
    assert [projection.name for projection in found] == ["first", "second"]


def test_a_file_without_a_projection_is_refused(package: Package) -> None:
    with pytest.raises(Misconfigured, match=r"stray\.py has no value `projection`"):
        discover(package(good=GOOD.format(name="good"), stray="projections = 3"))


def test_two_of_one_name_are_refused(package: Package) -> None:
    with pytest.raises(Misconfigured, match="two projections are called 'same'"):
        discover(package(a=GOOD.format(name="same"), b=GOOD.format(name="same")))


def test_clews_own_are_found_and_their_tables_do_not_collide() -> None:
    found = discover(clew_projections)
    folder = Path(clew_projections.__path__[0])
    assert len(found) == len([file for file in folder.glob("*.py") if not file.name.startswith("_")])
    tables = [table.name for projection in found for table in projection.tables]
    assert len(tables) == len(set(tables))
    assert all(projection.handlers for projection in found)


def test_an_event_has_one_handler_in_a_projection() -> None:
    projection = Projection(name="p", version=1, lifecycle="inline", tables=())

    @projection.on(ThreadDeleted)
    def _(recorded: Recorded[ThreadDeleted], rows: Rows) -> None: ...

    with pytest.raises(TypeError, match=r"projection p handles thread\.deleted twice"):

        @projection.on(ThreadDeleted)
        def _(recorded: Recorded[ThreadDeleted], rows: Rows) -> None: ...


class Changes(BaseModel):
    model_config = ConfigDict(frozen=True)
    thread_id: str
    number: int


def test_a_fold_makes_each_view_from_the_one_before_and_ends_with_none() -> None:
    table = documents("changes", Changes, key=("thread_id",), columns={"thread_id": "text not null"})
    fold = Fold(name="changes", version=1, table=table)

    @fold.on(ThreadChanged)
    def _(view: Changes | None, recorded: Recorded[ThreadChanged]) -> Changes:
        number = view.number if view is not None else 0
        return Changes(thread_id=recorded.stream, number=number + 1)

    @fold.on(ThreadDeleted)
    def _(view: Changes | None, recorded: Recorded[ThreadDeleted]) -> None:
        return None

    with Ledger(table) as ledger:
        events = [ThreadChanged(), ThreadChanged(), ThreadDeleted(), ThreadChanged()]
        for position, event in enumerate(events, start=1):
            fold.projection.apply(Recorded(position, "thread-1", position, 0, None, event), ledger.rows)
            if position == 2:
                assert ledger.rows.load(table, "thread-1") == Changes(thread_id="thread-1", number=2)
                ledger.end_batch()
                ledger.memory.forget()
        ledger.end_batch()
        kept = [(table.read(row[1]).number, *row[2:]) for row in ledger.stored()]
    assert kept == [(1, 1, 2), (2, 2, 3), (1, 4, None)]
