"""The PostgreSQL of the tests does what they rely on: it crashes for good, comes back, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from tests.rigs.postgres import (
    NOBODY,
    Databases,
    NoPostgres,
    Postgres,
    children_of,
    installations,
    is_alive,
    newest_first,
)
from tests.rigs.processes import ROOT

pytestmark = pytest.mark.slow

_LIMIT_SECONDS = 15.0
_SESSION = """
import threading, time
from tests.rigs.postgres import Postgres

server = Postgres(fsync=False)
thread = threading.Thread(target=server.start)
thread.start()
thread.join()
server.connect().close()
print(server.pid, server.folder, flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """One to crash."""
    try:
        server = Postgres()
    except NoPostgres as missing:
        pytest.skip(str(missing))
    with server:
        yield server


@pytest.mark.parametrize("end", [Postgres.stop, Postgres.crash, Postgres.kill])
def test_what_was_committed_outlives_the_server(server: Postgres, end: Callable[[Postgres], None]) -> None:
    dsn = server.create_database(end.__name__)
    fill(dsn)
    with closing(psycopg.connect(dsn)) as unfinished:
        unfinished.execute("insert into number values (2)")
        end(server)
        with pytest.raises(psycopg.OperationalError):
            unfinished.execute("select")
    server.start()
    assert numbers(dsn) == [1]


def test_kill_ends_every_process_at_once(server: Postgres) -> None:
    parent = server.pid
    children = children_of(parent)
    assert len(children) > 3
    server.kill()
    assert not any(map(is_alive, [parent, *children]))
    server.start()


def test_databases_do_not_see_each_other(postgres: Databases) -> None:
    names = unique("one"), unique("other")
    one, other = map(postgres.create_database, names)
    fill(one)
    with psycopg.connect(other) as connection:
        assert connection.execute("select to_regclass('number')").fetchone() == (None,)
    for name in names:
        postgres.drop_database(name)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(one)


def test_a_template_is_prepared_once_and_copied_often(postgres: Databases) -> None:
    prepared = []

    def prepare(dsn: str) -> None:
        fill(dsn)
        prepared.append(dsn)

    template, copies = unique("template"), [unique("copy"), unique("copy")]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: postgres.template(template, prepare), range(4)))
        one, other = pool.map(lambda copy: postgres.create_database(copy, template), copies)
    assert len(prepared) == 1
    with psycopg.connect(one) as connection:
        connection.execute("insert into number values (2)")
    assert (numbers(one), numbers(other)) == ([1, 2], [1])
    for copy in copies:
        postgres.drop_database(copy)


def test_a_template_half_made_is_made_anew(postgres: Databases) -> None:
    def fail(dsn: str) -> None:
        fill(dsn)
        raise ZeroDivisionError

    template = unique("template")
    with pytest.raises(ZeroDivisionError):
        postgres.template(template, fail)
    postgres.template(template, fill)


def test_every_test_has_a_database_of_its_own(postgres: Databases, postgres_dsn: str) -> None:
    fill(postgres_dsn)
    with postgres.connect() as connection:
        assert connection.execute("show fsync").fetchone() == ("off",)


def test_a_server_ends_with_the_process_and_not_the_thread_that_started_it() -> None:
    with subprocess.Popen([sys.executable, "-c", _SESSION], cwd=ROOT, stdout=subprocess.PIPE, text=True) as session:
        assert session.stdout is not None
        pid, folder = session.stdout.readline().split()
        assert is_alive(int(pid))
        session.kill()
    end = time.monotonic() + _LIMIT_SECONDS
    while is_alive(int(pid)) or Path(folder).exists():
        assert time.monotonic() < end, f"the server or its folder is still there after {_LIMIT_SECONDS:g} s"
        time.sleep(0.02)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be nobody")
def test_nobody_gets_a_copy_of_what_is_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binaries = next(installations(), None)
    if binaries is None or not (binaries.parent / "share").is_dir():
        pytest.skip("there is no PostgreSQL that can be copied")
    package = binaries.parents[1]
    tmp_path.chmod(0o700)
    for name in package.name, f"{package.name}.libs":
        (tmp_path / name).symlink_to(package.with_name(name))
    monkeypatch.setenv("CLEW_TEST_POSTGRES", str(tmp_path / binaries.relative_to(package.parent)))
    with Postgres(allowed=(NOBODY,), fsync=False) as server:
        fill(server.dsn())
        assert server.folder.owner() == "nobody"
        assert (server.folder / "copy").is_dir()
    assert not server.folder.exists()


def test_no_binaries_are_a_reason_to_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLEW_TEST_POSTGRES", raising=False)
    monkeypatch.setattr("tests.rigs.postgres.installations", lambda: iter([]))
    with pytest.raises(NoPostgres, match="neither the wheel"):
        Postgres()


def test_wrong_binaries_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLEW_TEST_POSTGRES", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="where no PostgreSQL runs"):
        Postgres()


def test_the_newest_binaries_come_first() -> None:
    folders = [Path(version) / "bin" for version in ("pginstall", "9.6", "18", "15")]
    assert [folder.parent.name for folder in newest_first(folders)] == ["18", "15", "9.6", "pginstall"]


def unique(name: str) -> str:
    """The server is shared, also with this very test in another worker."""
    return f"{name}_{uuid4().hex}"


def fill(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("create table number as select 1 as value")


def numbers(dsn: str) -> list[int]:
    with psycopg.connect(dsn) as connection:
        return [value for (value,) in connection.execute("select value from number order by value")]
