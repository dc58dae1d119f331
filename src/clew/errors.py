"""Everything that can go wrong, as one family.

    ClewError
    ├── Refused                 what was asked cannot be done; asking again is useless
    │   ├── NotFound            no thread, message, run, step, assistant … of that id
    │   ├── ThreadBusy          a run is active on the thread
    │   ├── NothingToRun        a run on a thread without a user message, without instructions
    │   ├── OutputsNotExpected  tool outputs for a run that does not wait for any
    │   ├── OutputsIncomplete   not exactly the outputs that the run waits for
    │   ├── RunEnded            the run has ended and cannot be cancelled
    │   ├── RunUnderWay         the run cannot be changed while it is under way
    │   ├── NotInDoubt          a tool call that nobody needs to settle
    │   ├── StaleFence          a worker that lost its claim tried to go on
    │   ├── KeyReused           an idempotency key that stands for another request
    │   └── TooLarge            an event over the size that the log takes
    ├── Conflict                somebody else appended first; decide again
    ├── Unusable                the store cannot be opened; nothing was touched
    │   ├── StoreLocked         another process writes to it
    │   ├── NotOurs             a file that Clew did not make
    │   └── NewerStore          a newer Clew has been here
    ├── StoreFailed             the store refused to write (disk full, I/O error); nothing was acknowledged
    ├── UnknownKind             an event that this version cannot read
    ├── BrokenChain             stored events do not fit their hashes
    ├── Misconfigured           settings that cannot work
    └── ProviderFailed          a model call failed

Errors carry facts, never HTTP codes: each dialect has its own table from these classes to its answers.
"""

from __future__ import annotations


class ClewError(Exception):
    """The root of the family."""


class Refused(ClewError):
    """What was asked cannot be done in the state things are in; asking again changes nothing."""


class NotFound(Refused):
    def __init__(self, *, noun: str, id: str) -> None:
        super().__init__(f"no {noun} has the id {id!r}")
        self.noun = noun
        self.id = id


class ThreadBusy(Refused):
    """`wish` is what was refused: "message" or "run"."""

    def __init__(self, *, thread_id: str, run_id: str, wish: str) -> None:
        super().__init__(f"run {run_id} is active on thread {thread_id}; cancel it or wait for its end")
        self.thread_id = thread_id
        self.run_id = run_id
        self.wish = wish


class NothingToRun(Refused):
    def __init__(self, *, thread_id: str) -> None:
        super().__init__(f"thread {thread_id} has no user message and the run has no instructions")
        self.thread_id = thread_id


class OutputsNotExpected(Refused):
    def __init__(self, *, run_id: str, status: str) -> None:
        super().__init__(f"run {run_id} is {status} and waits for no tool outputs")
        self.run_id = run_id
        self.status = status


class OutputsIncomplete(Refused):
    def __init__(self, *, run_id: str, expected: tuple[str, ...], given: tuple[str, ...]) -> None:
        super().__init__(f"run {run_id} waits for outputs of {list(expected)}, got {list(given)}")
        self.run_id = run_id
        self.expected = expected
        self.given = given


class RunEnded(Refused):
    def __init__(self, *, run_id: str, status: str) -> None:
        super().__init__(f"run {run_id} is {status} and cannot be cancelled")
        self.run_id = run_id
        self.status = status


class RunUnderWay(Refused):
    def __init__(self, *, run_id: str, status: str) -> None:
        super().__init__(f"run {run_id} is {status}; change it when it waits or has ended")
        self.run_id = run_id
        self.status = status


class NotInDoubt(Refused):
    def __init__(self, *, tool_call_id: str) -> None:
        super().__init__(f"tool call {tool_call_id} is not in doubt, so there is nothing to settle")
        self.tool_call_id = tool_call_id


class StaleFence(Refused):
    """A worker that was paused for longer than its lease woke up; its run is somebody else's now."""

    def __init__(self, *, run_id: str, fence: int, newest: int) -> None:
        super().__init__(f"fence {fence} of run {run_id} is stale; the newest is {newest}")
        self.run_id = run_id
        self.fence = fence
        self.newest = newest


class KeyReused(Refused):
    def __init__(self, *, key: str) -> None:
        super().__init__(f"idempotency key {key!r} was used for a different request; take a new key")
        self.key = key


class TooLarge(Refused):
    def __init__(self, *, what: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"{what} has {size_bytes} bytes; at most {limit_bytes} are taken")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class Conflict(ClewError):
    """The stream is not at the version the append was decided on."""

    def __init__(self, *, stream: str, expected: int, found: int | None = None) -> None:
        at = "another version" if found is None else f"version {found}"
        super().__init__(f"stream {stream} is at {at}, not at {expected}; read it again and decide again")
        self.stream = stream
        self.expected = expected
        self.found = found


class Unusable(ClewError):
    """The store cannot be opened. The file or database is as it was."""


class StoreLocked(Unusable):
    def __init__(self, *, path: str, holder: str) -> None:
        super().__init__(
            f"{path} is in use by another Clew process ({holder}); stop that process, or use another --store"
        )
        self.path = path


class NotOurs(Unusable):
    def __init__(self, *, path: str, why: str) -> None:
        super().__init__(f"{path} is not a Clew store ({why}); name another file with --store")
        self.path = path


class NewerStore(Unusable):
    def __init__(self, *, path: str, found: int, known: int) -> None:
        super().__init__(
            f"{path} was written by a newer Clew (schema {found}, this one knows {known}); upgrade Clew to open it"
        )
        self.path = path


class StoreFailed(ClewError):
    def __init__(self, *, why: str) -> None:
        super().__init__(f"the store could not write: {why}; nothing of this request was kept")


class UnknownKind(ClewError):
    def __init__(self, *, kind: str) -> None:
        super().__init__(f"no event is called {kind!r} here; this log was written by a newer Clew: upgrade to read it")
        self.kind = kind


class BrokenChain(ClewError):
    """`position` is the first event whose stored hash does not follow from what is stored."""

    def __init__(self, *, stream: str, version: int, position: int, why: str) -> None:
        super().__init__(f"event {version} of {stream} (position {position}) was changed after it was written: {why}")
        self.stream = stream
        self.version = version
        self.position = position


class Misconfigured(ClewError):
    """Settings that cannot work; the message says which and what to write instead."""


class ProviderFailed(ClewError):
    """A model call failed.

    `code` is one of server_error, rate_limit_exceeded, invalid_prompt, timeout, broken_stream, nonsense, lost.
    `retryable` says whether the same call may succeed later, `retry_after_seconds` when the provider asks to come back.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        retryable: bool,
        retry_after_seconds: float | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds
        self.status = status
