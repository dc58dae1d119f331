"""What all tests share: how Hypothesis behaves here, and one PostgreSQL server."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings

from tests.rigs.postgres import Databases, NoPostgres, Postgres

# No deadline: shared machines stall. No database: a test leaves nothing behind in the working tree.
settings.register_profile(
    "clew", deadline=None, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("clew")

# Until all tests are found: of what is loaded nothing becomes garbage, and looking for it takes a third of the time.
gc.disable()

_SERVER = pytest.StashKey[Postgres]()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Under pytest-xdist one server serves all workers: it belongs to the process that starts them."""
    config: pytest.Config = node.config
    try:
        if _SERVER not in config.stash:
            config.stash[_SERVER] = Postgres(fsync=False)
            config.stash[_SERVER].start()
    except NoPostgres as missing:
        node.workerinput["no_postgres"] = str(missing)
    else:
        node.workerinput["postgres"] = str(config.stash[_SERVER].folder)


def pytest_collection_finish() -> None:
    """What is loaded by now stays: looking through it for garbage again and again takes a tenth of the time."""
    gc.enable()
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    if _SERVER in config.stash:
        config.stash[_SERVER].close()


@pytest.fixture(scope="session", autouse=True)
def _data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is left in the data folder of whoever runs the tests: keys that sign checkpoints would be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> Iterator[Databases]:
    """A server for all tests, which none may stop; whoever wants to start one of its own."""
    of_worker: dict[str, str] = getattr(pytestconfig, "workerinput", {})
    if "no_postgres" in of_worker:
        pytest.skip(of_worker["no_postgres"])
    if "postgres" in of_worker:
        yield Databases(Path(of_worker["postgres"]))
        return
    try:
        server = Postgres(fsync=False)
    except NoPostgres as missing:
        pytest.skip(str(missing))
    with server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres: Databases) -> str:
    """The database of which every test gets a copy: migrations run once and not for each test."""
    return postgres.template("clew_template", prepare)


def prepare(dsn: str) -> None:
    """The log's migrations and the tables of the read models. Imported here, since few tests need them."""
    from clew.cli.keeping import bring_up

    bring_up(dsn)


@pytest.fixture
def postgres_dsn(postgres: Databases, postgres_template: str) -> Iterator[str]:
    """A fresh database."""
    name = f"test_{uuid4().hex}"
    yield postgres.create_database(name, postgres_template)
    postgres.drop_database(name)


def _named(kind: str, request: pytest.FixtureRequest) -> str:
    match kind:
        case "memory":
            return ":memory:"
        case "sqlite":
            folder: Path = request.getfixturevalue("tmp_path")
            return str(folder / "log.db")
        case _:
            dsn: str = request.getfixturevalue("postgres_dsn")
            return dsn


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> str:
    """The name of a fresh store, of every kind."""
    return _named(request.param, request)


@pytest.fixture(params=["sqlite", "postgres"])
def lasting_store(request: pytest.FixtureRequest) -> str:
    """The name of a fresh store of every kind that can be closed and opened again."""
    return _named(request.param, request)


@pytest.fixture
def fresh_databases(postgres: Databases, postgres_template: str) -> Iterator[Callable[[], str]]:
    """As many databases as one asks for: one for each example that Hypothesis finds."""
    made: list[str] = []

    def make() -> str:
        made.append(f"test_{uuid4().hex}")
        return postgres.create_database(made[-1], postgres_template)

    yield make
    for name in made:
        postgres.drop_database(name)
