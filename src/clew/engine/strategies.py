"""Which strategy a run is queued with, and how people write one down.

The run's own comes first, then the thread's, the assistant's and the server's; the first that says something wins.
What was decided is in the run's configuration, so that nothing is looked up once it is queued.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

from clew.engine.models import resolve
from clew.errors import NoSuchStrategy
from clew.events.run import Strategy, Truncation
from clew.providers.base import Provider
from clew.rules.commands import QueueRun

if TYPE_CHECKING:  # The engine itself forks with the strategies that are written here.
    from clew.engine.engine import Engine

_WRITTEN = re.compile(r"(?P<strategy>[a-z_]+)(?::(?P<n>[0-9]{1,9}))?(?:@(?P<model>\S+))?")
_NEEDS_NUMBER = ("last_messages", "token_budget", "clear_tool_results")
_MAY_HAVE_NUMBER = (*_NEEDS_NUMBER, "summarise")
# Nothing may be left of the results but notes; elsewhere nothing would be left at all.
_MAY_BE_NOUGHT = ("clear_tool_results",)
_HELP = (
    "write auto, none, last_messages:20, token_budget:8000, clear_tool_results:3, summarise, or summarise:8000 where a"
    " context is to have at most 8000 tokens, with @MODEL behind it where another model is to summarise"
)


def written(text: str, where: str) -> Truncation:
    """`summarise:8000@openai/gpt-4o-mini` as a strategy; `where` is what names it. Raises `NoSuchStrategy`."""
    found = _WRITTEN.fullmatch(text.strip())
    if found is None or found["strategy"] not in get_args(Strategy):
        raise NoSuchStrategy(written=text, where=where, why=_HELP)
    n = int(found["n"]) if found["n"] is not None else None
    return checked(Truncation(strategy=found["strategy"], n=n, model=found["model"]), where)  # type: ignore[arg-type]


def checked(truncation: Truncation, where: str) -> Truncation:
    """The strategy, if it has what it needs and nothing else. Raises `NoSuchStrategy`."""
    why = _what_is_wrong(truncation.strategy, truncation.n, truncation.model)
    if why is not None:
        raise NoSuchStrategy(written=as_written(truncation), where=where, why=f"{why}; {_HELP}")
    return truncation


def _what_is_wrong(strategy: str, n: int | None, model: str | None) -> str | None:
    if n is None and strategy in _NEEDS_NUMBER:
        return f"{strategy} needs a number"
    if n is not None and strategy not in _MAY_HAVE_NUMBER:
        return f"{strategy} takes no number"
    if n is not None and n < (0 if strategy in _MAY_BE_NOUGHT else 1):
        return "nothing would be shown"
    if model is not None and strategy != "summarise":
        return "only summarise takes a model"
    return None


def as_written(truncation: Truncation) -> str:
    """A strategy as people write it."""
    number = f":{truncation.n}" if truncation.n is not None else ""
    provider = f"{truncation.provider}/" if truncation.provider is not None else ""
    return f"{truncation.strategy}{number}" + (f"@{provider}{truncation.model}" if truncation.model else "")


def settled(
    engine: Engine,
    command: QueueRun,
    *,
    asked: Truncation | None = None,
    of_thread: Truncation | None = None,
    assistant: Truncation | None = None,
    where: str = "truncation",
) -> QueueRun:
    """The run with the strategy that it is to have: the first that somebody says. Raises `NoSuchProvider`.

    `of_thread` is best read when the run is queued: `engine.desk.thread(…).truncation`. A model that summarises is
    looked for as any other; a bare name is one of the run's own provider. `where` is what names `asked`.
    """
    chosen = next((one for one in (asked, of_thread, assistant, engine.truncation) if one is not None), Truncation())
    where = where if chosen is asked else "truncation"
    chosen = with_provider(chosen, engine.providers, command.config.provider, where)
    return replace(command, config=command.config.model_copy(update={"truncation": chosen}))


def with_provider(
    truncation: Truncation, providers: Mapping[str, Provider], own: str, where: str = "truncation"
) -> Truncation:
    """With the provider of the model that summarises, if another one than the run's does; `own` is the run's.

    Raises `NoSuchProvider`.
    """
    if truncation.model is None:
        return truncation
    provider, model = resolve(truncation.model, providers, truncation.provider or own, where)
    return truncation.model_copy(update={"provider": provider, "model": model})


def callable_by(truncation: Truncation, providers: Mapping[str, Provider], where: str = "truncation") -> Truncation:
    """The strategy as it is, for runs to come. Raises `NoSuchProvider` when no run could have its model summarise."""
    with_provider(truncation, providers, "", where)
    return truncation
