"""A log of every store, one after the other. The tests never know which."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from clew.log import Log
from tests.log.stores import STORES, Opening, place_of


@pytest.fixture(params=STORES, ids=lambda kind: kind.name)
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opening]:
    opens = Opening(request.param, place_of(request.param, request, tmp_path), [])
    yield opens
    for log in list(opens.logs):
        opens.close(log)


@pytest.fixture
def log(opening: Opening) -> Log:
    return opening()
