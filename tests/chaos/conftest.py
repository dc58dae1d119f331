"""A PostgreSQL that may be crashed: it writes to the disk, and no other test uses it meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rigs.postgres import NoPostgres, Postgres


@pytest.fixture(scope="package")
def own_postgres() -> Iterator[Postgres]:
    """Whoever stops it starts it again."""
    try:
        server = Postgres(loopback=True)
    except NoPostgres as missing:
        pytest.skip(str(missing))
    with server:
        yield server
        # There is nothing to keep, and stopping it in good order takes seconds.
        server.crash()
