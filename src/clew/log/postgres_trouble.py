"""What goes wrong with PostgreSQL, in our words: gone and may come back, refused, or raced by another process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from clew.errors import StoreFailed, StoreLost
from clew.log.store import Raced

# What a server says that will take connections again by itself.
_PASSING = (
    "starting up",
    "shutting down",
    "recovery mode",
    "not yet accepting",
    "too many clients",
    "connection slots",
    "terminating connection",
)


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Errors of psycopg as ours. `name` is the store's."""
    try:
        yield
    except (errors.UniqueViolation, errors.SerializationFailure, errors.DeadlockDetected) as error:
        raise Raced(str(error)) from error
    except psycopg.Error as error:
        if is_lost(error):
            raise StoreLost(name=name, why=first_line(error)) from error
        raise StoreFailed(why=first_line(error)) from error


def is_lost(error: psycopg.Error) -> bool:
    """Whether the connection is gone, rather than the statement refused.

    A refusal carries a code; classes 08 (connection) and 57P (the operator's hand) are no refusals. Nor are 25P03, we
    were silent for too long in a transaction and were thrown out, and 55P03, somebody else is and was not yet.
    """
    code = error.sqlstate
    if code is None:
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return code.startswith(("08", "57P", "25P03", "55P03"))


def is_hopeless(error: psycopg.Error) -> bool:
    """Whether trying to connect again is of no use: the server answered, and did not want us; or never will."""
    told = str(error)
    if "FATAL" in told:
        return not any(passing in told for passing in _PASSING)
    # Nobody was asked: the address itself says something that cannot be.
    return ": invalid " in told


def first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines and "FATAL" in lines[-1] else lines[0] if lines else type(error).__name__
