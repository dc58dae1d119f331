"""Everything that can go wrong, as one family.

    ClewError
    ├── Refused                 what was asked cannot be done; asking again is useless
    │   ├── NotFound            no thread, message, run, step, assistant … of that id
    │   │   └── NoSuchVersion       the assistant has no version of that number
    │   ├── ThreadBusy          a run is active on the thread
    │   │   └── CallsUnanswered     and waits for its client to answer tool calls
    │   ├── NothingToRun        a run on a thread without a user message, without instructions
    │   ├── OutputsNotExpected  tool outputs for a run that does not wait for any
    │   ├── OutputsIncomplete   not exactly the outputs that the run waits for
    │   ├── NothingToConfirm    tool calls that nobody needs to allow or to deny
    │   ├── RunEnded            the run has ended and cannot be cancelled
    │   ├── RunUnderWay         the run cannot be changed while it is under way
    │   ├── NotInDoubt          a tool call that nobody needs to settle
    │   ├── NotABudget          a budget that cannot be
    │   ├── StaleFence          a worker that lost its claim tried to go on
    │   ├── KeyReused           an idempotency key that stands for another request
    │   ├── NoSuchPoint         a point in the past that is none, or is still to come
    │   ├── NoSuchStrategy      a truncation that is none, or lacks its number
    │   ├── NoSuchProvider      a model of a provider that this server cannot call
    │   ├── PastIsReadOnly      something new was asked for as of a point in the past
    │   ├── BadQuestion         a question to the ledger that means nothing
    │   ├── Erased              an event whose body was destroyed on purpose
    │   ├── NotCovered          a proof about events that the signed tree does not have (yet)
    │   └── TooLarge            an event over the size that the log takes
    ├── Conflict                somebody else appended first; decide again
    ├── Unusable                the store cannot be opened; nothing was touched
    │   ├── StoreLocked         another process writes to it
    │   ├── NotOurs             a file that Clew did not make
    │   ├── NoPlace             a file that nothing can be written to
    │   ├── NewerStore          a newer Clew has been here
    │   └── NoStore             no database answers there, or it does not let us in
    ├── StoreFailed             the store refused to write (disk full, I/O error); nothing was acknowledged
    ├── StoreLost               the store went away; what was asked may or may not have been kept
    ├── Leaving                 this process ends before what was asked of it is done
    ├── UnknownKind             an event that this version cannot read
    ├── BrokenChain             stored events do not fit their hashes
    ├── DamagedTree             the stored Merkle tree is not whole
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


class NoSuchVersion(NotFound):
    """Versions count from 1; there are as many as `versions` says."""

    def __init__(self, *, assistant_id: str, version: int, versions: int) -> None:
        super().__init__(noun="version", id=f"{assistant_id}@{version}")
        self.assistant_id = assistant_id
        self.version = version
        self.versions = versions


class ThreadBusy(Refused):
    """`wish` is what was refused: "message" or "run"."""

    def __init__(self, *, thread_id: str, run_id: str, wish: str) -> None:
        super().__init__(f"run {run_id} is active on thread {thread_id}; cancel it or wait for its end")
        self.thread_id = thread_id
        self.run_id = run_id
        self.wish = wish


class CallsUnanswered(ThreadBusy):
    def __init__(self, *, thread_id: str, run_id: str, wish: str, tool_call_ids: tuple[str, ...]) -> None:
        super().__init__(thread_id=thread_id, run_id=run_id, wish=wish)
        self.tool_call_ids = tool_call_ids


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


class NothingToConfirm(Refused):
    def __init__(self, *, run_id: str, tool_call_ids: tuple[str, ...]) -> None:
        super().__init__(f"nobody needs to allow or to deny {list(tool_call_ids)} of run {run_id}; answer them instead")
        self.run_id = run_id
        self.tool_call_ids = tool_call_ids


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


class NotABudget(Refused):
    def __init__(self, *, budget_id: str, why: str) -> None:
        super().__init__(f"{budget_id!r} cannot be such a budget: {why}")
        self.budget_id = budget_id
        self.why = why


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


class BadQuestion(Refused):
    """`name` is the part of the question that is wrong, in words that the asker knows."""

    def __init__(self, *, name: str, given: str, why: str) -> None:
        shown = given if len(given) <= 60 else f"{given[:59]}…"
        super().__init__(f"{name}: {shown!r} means nothing here: {why}")
        self.name = name


class NoSuchPoint(Refused):
    """`where` is what named the point: a header, a part of a path, an option."""

    def __init__(self, *, point: str, where: str, why: str) -> None:
        super().__init__(f"{where} names no point in the past: {point!r}: {why}")
        self.point = point
        self.where = where
        self.why = why


class NoSuchStrategy(Refused):
    """`where` is what named the strategy: a setting, a field, an option."""

    def __init__(self, *, written: str, where: str, why: str) -> None:
        super().__init__(f"{where} is {written!r}: {why}")
        self.written = written
        self.where = where
        self.why = why


class NoSuchProvider(Refused):
    """A model of a provider that is not configured, or that nobody here is called.

    `where` is what named the model: a field, an option. `key_setting` and `url_setting` are the settings of which one
    would do; both are None for a provider that Clew does not have. `openai_elsewhere`: the provider `openai` is a
    server of the operator's, which may have a model of that whole name.
    """

    def __init__(
        self,
        *,
        asked: str,
        provider: str,
        where: str,
        key_setting: str | None = None,
        url_setting: str | None = None,
        openai_elsewhere: bool = False,
    ) -> None:
        self.asked = asked if len(asked) <= 100 else f"{asked[:99]}…"
        self.provider = provider
        self.where = where
        if key_setting is None:
            self.why = f"needs the provider {provider}, and this server has none of that name"
        else:
            self.why = (
                f"needs the provider {provider}, and {key_setting} is not set: set it, or {url_setting} for a server"
                " that wants no key"
            )
            if openai_elsewhere and provider != "openai" and asked.startswith(f"{provider}/"):
                self.why += (
                    f"; if the server behind CLEW_OPENAI_BASE_URL has a model of that name, write openai/{self.asked}"
                )
        super().__init__(f"{where} {self.asked!r} {self.why}")
        self.key_setting = key_setting
        self.url_setting = url_setting


class PastIsReadOnly(Refused):
    def __init__(self, *, point: str, where: str) -> None:
        super().__init__(f"{where} is {point!r}, and the past is read-only: send what changes something without it")
        self.point = point
        self.where = where


class Erased(Refused):
    def __init__(self, *, thread_id: str, version: int) -> None:
        super().__init__(f"event {version} of {thread_id} was erased: only its hashes are left")
        self.thread_id = thread_id
        self.version = version


class NotCovered(Refused):
    def __init__(self, *, size: int, covered: int) -> None:
        has = f"covers {covered} events" if covered else "is empty: checkpoints are signed by `clew serve`, soon after"
        super().__init__(f"nothing can be proved of {size}: the signed tree {has}")
        self.size = size
        self.covered = covered


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


class NoPlace(Unusable):
    def __init__(self, *, path: str, why: str) -> None:
        super().__init__(f"{path} cannot be written ({why}); name another file with --store")
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


class NoStore(Unusable):
    def __init__(self, *, name: str, why: str) -> None:
        super().__init__(f"{name} cannot be used: {why}")
        self.name = name


class StoreLost(ClewError):
    """The store went away in the middle, and did not come back in time."""

    def __init__(self, *, name: str, why: str) -> None:
        super().__init__(
            f"{name} went away ({why}); whether this was kept is not known: ask again with the same idempotency key"
        )
        self.name = name


class Leaving(ClewError):
    def __init__(self, *, run_id: str) -> None:
        super().__init__(f"this process ends before run {run_id} does; the run goes on: ask again in a moment")
        self.run_id = run_id


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


class DamagedTree(ClewError):
    """`first` and `last` are the positions that the missing part is over."""

    def __init__(self, *, level: int, number: int, first: int, last: int) -> None:
        super().__init__(f"tile {number} of level {level} of the stored tree is missing or damaged")
        self.first = first
        self.last = last


class Misconfigured(ClewError):
    """Settings that cannot work; the message says which and what to write instead."""


class ProviderFailed(ClewError):
    """A model call failed.

    `code` is one of server_error, rate_limit_exceeded, invalid_prompt, timeout, broken_stream, nonsense, lost.
    `retryable` says whether the same call may succeed later, `retry_after_seconds` when the provider asks to come back.
    `status` is set when the provider said no; `reached` is false when the request never got to it.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        retryable: bool,
        retry_after_seconds: float | None = None,
        status: int | None = None,
        reached: bool = True,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds
        self.status = status
        self.reached = reached
