"""The bad network of the tests is as bad as they ask for, and no worse."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from tests.rigs.postgres import NoPostgres, Postgres
from tests.rigs.proxy import Proxy

HOST = "127.0.0.1"
SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # The shortest question that PostgreSQL answers: no (N), it speaks plain.
_SILENCE_SECONDS = 0.2
_LIMIT_SECONDS = 15.0


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """One that listens where a proxy can reach it."""
    try:
        server = Postgres(loopback=True, fsync=False)
    except NoPostgres as missing:
        pytest.skip(str(missing))
    with server:
        yield server


@pytest.fixture
def proxy(server: Postgres) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def dsn(server: Postgres, proxy: Proxy) -> str:
    return server.tcp_dsn(port=proxy.port)


def test_it_hands_on_much_as_it_is(dsn: str) -> None:
    text = "0123456789" * 500_000
    with psycopg.connect(dsn) as connection:
        assert connection.execute("select %s", [text]).fetchone() == (text,)


def test_cut_connections_are_lost_and_new_ones_are_not(proxy: Proxy, dsn: str) -> None:
    with closing(psycopg.connect(dsn)) as one, closing(psycopg.connect(dsn)) as other:
        proxy.cut()
        for connection in one, other:
            with pytest.raises(psycopg.OperationalError):
                connection.execute("select")
    assert answers(dsn)


def test_a_cut_is_a_reset(proxy: Proxy) -> None:
    with socket.create_connection((HOST, proxy.port)) as client:
        client.sendall(SSL_REQUEST)
        assert client.recv(1) == b"N"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_the_server_notices_a_cut(server: Postgres, proxy: Proxy, dsn: str) -> None:
    sessions = "select count(*) from pg_stat_activity where application_name = 'cut_off'"
    with closing(psycopg.connect(dsn, application_name="cut_off")), server.connect() as witness:
        assert witness.execute(sessions).fetchone() == (1,)
        proxy.cut()
        end = time.monotonic() + _LIMIT_SECONDS
        while witness.execute(sessions).fetchone() != (0,):
            assert time.monotonic() < end
            time.sleep(0.01)


def test_a_pause_is_silence_and_then_all_arrives(proxy: Proxy, dsn: str) -> None:
    with psycopg.connect(dsn) as old, socket.create_connection((HOST, proxy.port)) as new, ThreadPoolExecutor() as pool:
        proxy.pause()
        new.sendall(SSL_REQUEST)
        rows, answer = pool.submit(old.execute, "select 1"), pool.submit(new.recv, 1)
        time.sleep(_SILENCE_SECONDS)
        assert not rows.done()
        assert not answer.done()
        proxy.resume()
        assert rows.result().fetchone() == (1,)
        assert answer.result() == b"N"


def test_a_cut_ends_a_pause_for_those_who_wait(proxy: Proxy, dsn: str) -> None:
    with closing(psycopg.connect(dsn)) as connection, ThreadPoolExecutor() as pool:
        proxy.pause()
        answer = pool.submit(connection.execute, "select")
        time.sleep(_SILENCE_SECONDS)
        proxy.cut()
        with pytest.raises(psycopg.OperationalError):
            answer.result()


def test_refusing_spares_the_connections_there_are(proxy: Proxy, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        proxy.refuse()
        with pytest.raises(psycopg.OperationalError, match="refused"):
            answers(dsn)
        connection.execute("select")
    proxy.accept()
    assert answers(dsn)


def test_latency_delays_what_flows_without_thinning_it(proxy: Proxy, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        proxy.latency_ms = 50
        began = time.monotonic()
        with connection.pipeline():
            for _ in range(20):
                connection.execute("select")
        assert 0.1 <= time.monotonic() - began < 0.5


def test_a_dead_server_is_passed_on(server: Postgres, dsn: str) -> None:
    with closing(psycopg.connect(dsn)) as connection:
        server.kill()
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select")
    with pytest.raises(psycopg.OperationalError):
        answers(dsn)
    server.start()
    assert answers(dsn)


def answers(dsn: str) -> bool:
    with psycopg.connect(dsn) as connection:
        return connection.execute("select 1").fetchone() == (1,)
