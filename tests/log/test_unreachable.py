"""A store that cannot be reached or may not be used: one clear line, no password in it, exit code 2.

What can come back is waited for; rights are what the database says they are.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.parse import quote

import httpx2
import psycopg
import pytest

from clew.cli import main
from tests.log.schema import dump
from tests.rigs.commands import refused, shown
from tests.rigs.postgres import NoPostgres, Postgres
from tests.rigs.processes import Server, free_port
from tests.rigs.processes import clew as start

pytestmark = pytest.mark.slow

PASSWORD = "geheim%7 &x"
# Our own user may come by any way; everybody else needs a password.
_WHO_MAY_COME = """
local all all trust
host all postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""
_ROLES = ("nobodys", "keeper", "looker", "blind")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """One that asks for passwords, with people of different rights."""
    try:
        server = Postgres(fsync=False, loopback=True)
    except NoPostgres as missing:
        pytest.skip(str(missing))
    rules = server.folder / "who_may_come"
    rules.write_text(_WHO_MAY_COME)
    rules.chmod(0o644)
    server.settings = {"hba_file": str(rules)}
    with server:
        with server.connect() as connection:
            for role in _ROLES:
                connection.execute(f"create role {role} login password '{PASSWORD}'")
        yield server


@pytest.fixture
def database(server: Postgres, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of an empty one."""
    name = f"d{abs(hash(request.node.name))}"
    server.create_database(name)
    yield name
    server.drop_database(name)


@pytest.fixture
def store(server: Postgres, database: str) -> str:
    """A database with a store that is up to date, made by somebody who may make tables."""
    shown("migrate", store=server.dsn(database))
    return database


def dsn_of(server: Postgres, role: str, database: str, password: str = PASSWORD) -> str:
    return f"postgresql://{role}:{quote(password)}@127.0.0.1:{server.port}/{database}"


def allow(server: Postgres, database: str, *grants: str) -> None:
    with psycopg.connect(server.dsn(database)) as connection:
        for grant in grants:
            connection.execute(grant)


def refused_quietly(*arguments: str, store: str) -> str:
    """The line of a refusal, which tells nobody a password."""
    told = refused(*arguments, store=store)
    for secret in (PASSWORD, quote(PASSWORD), "geheim"):
        assert secret not in told
    return told


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("work",), ("migrate",), ("threads",)])
def test_a_wrong_password_is_told_in_one_line(server: Postgres, command: tuple[str, ...]) -> None:
    told = refused_quietly(*command, store=dsn_of(server, "keeper", "postgres", "geheim but wrong"))
    assert told.startswith(f"clew: postgresql://keeper@127.0.0.1:{server.port}/postgres cannot be used: ")
    assert 'password authentication failed for user "keeper"' in told


def test_a_role_that_is_not_there_is_told_in_one_line(server: Postgres) -> None:
    told = refused_quietly("serve", "--port", "0", store=server.dsn().replace("postgres@", "stranger@"))
    assert 'role "stranger" does not exist' in told


def test_a_database_that_is_not_there_is_told_in_one_line(server: Postgres) -> None:
    told = refused_quietly("serve", "--port", "0", store=dsn_of(server, "keeper", "nowhere"))
    assert 'database "nowhere" does not exist' in told


@pytest.mark.parametrize(
    ("dsn", "told"),
    [
        ("postgresql://ada:geheim@localhost/threads?nonsense=1", "no PostgreSQL address (invalid URI query parameter)"),
        ("postgresql://ada:100%geheim@localhost/threads", "no PostgreSQL address (invalid percent-encoded token)"),
        ("postgresql://ada:geheim@[localhost/threads", "no PostgreSQL address (end of string reached"),
        ("postgresql://ada:geheim@localhost:port/threads", "port 'port' does not exist"),
        ("postgresql://ada:geheim@localhost:99999/threads", "port '99999' does not exist"),
        ("postgresql://ada:geheim@localhost/threads?connect_timeout=soon", "bad value for connect_timeout"),
        ("postgresql://ada:geheim@localhost/threads?sslmode=soon", "invalid sslmode value"),
        ("postgresql+psycopg://ada:geheim@localhost/threads", "postgresql+psycopg://, which names no store of Clew's"),
        ("mysql://ada:geheim@localhost/threads", "write a path, sqlite:///path, or postgresql://"),
        ("postgresql://localhost/threads?password=geheim%zz", "no PostgreSQL address (invalid percent-encoded token)"),
    ],
)
def test_an_address_that_is_none_is_told_in_one_line(dsn: str, told: str) -> None:
    """And in no other: a second attempt would be told in a line of its own, and this does not mend itself."""
    assert told in refused_quietly("serve", "--port", "0", store=dsn)


def test_a_host_that_refuses_is_asked_for_a_while_and_then_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("clew.log.postgres_setup._START_SECONDS_MAX", 0.5)
    port = free_port()
    monkeypatch.setattr(
        sys, "argv", ["clew", "migrate", "--store", f"postgresql://ada:geheim@127.0.0.1:{port}/threads"]
    )
    began = time.monotonic()
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert time.monotonic() - began > 0.5
    told = capsys.readouterr().err.splitlines()[-1]
    assert f"clew: postgresql://ada@127.0.0.1:{port}/threads cannot be used: " in told
    assert "Connection refused" in told
    assert "geheim" not in told


def test_a_schema_of_somebody_elses_is_left_as_it_is(server: Postgres, database: str) -> None:
    allow(server, database, "create schema clew", "create table clew.theirs (x integer)")
    for command in (("serve", "--port", "0"), ("migrate",), ("threads",)):
        told = refused_quietly(*command, store=server.dsn(database))
        assert "its schema clew holds tables that Clew did not make" in told
    with psycopg.connect(server.dsn(database)) as connection:
        tables = connection.execute("select tablename from pg_tables where schemaname = 'clew'").fetchall()
    assert tables == [("theirs",)]


@pytest.mark.parametrize("columns", ["x integer", "migration integer, partition integer"])
def test_a_table_of_somebody_elses_by_the_name_of_ours_is_left_as_it_is(
    server: Postgres, database: str, columns: str
) -> None:
    allow(server, database, "create schema clew", f"create table clew.log_head ({columns})")
    told = refused_quietly("serve", "--port", "0", store=server.dsn(database))
    assert "Clew did not make" in told


def test_who_may_not_make_a_store_is_told_so(server: Postgres, database: str) -> None:
    for command in (("serve", "--port", "0"), ("migrate",)):
        told = refused_quietly(*command, store=dsn_of(server, "nobodys", database))
        assert "permission denied for database" in told
        assert "this user may not make tables here" in told
    assert "there is no log in it yet" in refused_quietly("threads", store=dsn_of(server, "nobodys", database))


def test_who_has_no_rights_in_a_store_is_told_so(server: Postgres, store: str) -> None:
    before = dump(server.dsn(store))
    for command in (("serve", "--port", "0"), ("migrate",), ("threads",)):
        assert "permission denied" in refused_quietly(*command, store=dsn_of(server, "blind", store))
    allow(server, store, "grant usage on schema clew to blind")
    for command in (("serve", "--port", "0"), ("migrate",), ("threads",)):
        assert "permission denied" in refused_quietly(*command, store=dsn_of(server, "blind", store))
    assert dump(server.dsn(store)) == before


def test_who_may_only_read_reads_and_is_told_that_it_cannot_serve(server: Postgres, store: str) -> None:
    allow(server, store, "grant usage on schema clew to looker", "grant select on all tables in schema clew to looker")
    assert shown("threads", "--json", store=dsn_of(server, "looker", store)).strip() == "[]"
    shown("doctor", store=dsn_of(server, "looker", store))
    assert "permission denied" in refused_quietly("serve", "--port", "0", store=dsn_of(server, "looker", store))


def test_who_may_not_make_tables_serves_a_store_that_is_up_to_date(server: Postgres, store: str) -> None:
    allow(
        server,
        store,
        "grant usage on schema clew to keeper",
        "grant select, insert, update, delete on all tables in schema clew to keeper",
    )
    dsn = dsn_of(server, "keeper", store)

    with Server(dsn, ("--default-provider", "scripted")) as served:
        thread = {"messages": [{"role": "user", "content": "Hello"}]}
        made = httpx2.post(f"{served.url}/v1/threads", json=thread, headers={"openai-beta": "assistants=v2"})
    assert made.is_success, made.text
    assert made.json()["id"] in shown("threads", store=dsn)


@pytest.mark.parametrize(("command", "told"), [("migrate", "is up: migration"), ("serve", "Clew serves")])
def test_a_server_that_comes_up_later_is_waited_for(command: str, told: str) -> None:
    try:
        late = Postgres(fsync=False, loopback=True)
    except NoPostgres as missing:
        pytest.skip(str(missing))
    more = ["--port", "0"] if command == "serve" else []
    process = start(command, "--store", late.tcp_dsn(), *more, environment={}, stdout=subprocess.PIPE)
    try:
        time.sleep(3)
        assert process.poll() is None, "it waits"
        with late:
            assert process.stdout is not None
            assert any(told in line.decode() for line in process.stdout), "it came up"
            process.terminate()
            process.wait(20)
    finally:
        process.kill()
        process.communicate()
