"""Supposing that a run had been configured otherwise: the context that a call would have been shown then.

Nothing is called. Where a strategy would have asked for a summary first, one is imagined: as long as it is asked to
be, standing for what it would have stood for, until the thread outgrows that one too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from clew.billing.moments import Moment
from clew.engine.context import Context, assemble
from clew.engine.models import resolve
from clew.engine.planning import Plan
from clew.engine.strategies import written
from clew.engine.transcript import Standing
from clew.events.content import text
from clew.events.items import Place, SummaryItem
from clew.events.run import RunConfig, Truncation
from clew.events.usage import Usage
from clew.log import Reader

# A call that would need more summaries than this one after another has outgrown its room in some other way.
_SUMMARIES_MAX = 64


@dataclass(frozen=True, slots=True)
class Supposed:
    """What a call would have been shown, and the summaries that would have been asked for before it."""

    context: Context
    config: RunConfig
    summaries: tuple[Plan, ...] = ()


@dataclass(frozen=True, slots=True)
class Otherwise:
    """What is supposed to be otherwise; None is as it was. A model has its provider with it."""

    truncation: Truncation | None = None
    provider: str | None = None
    model: str | None = None

    @property
    def changes_contexts(self) -> bool:
        """Another model may have room for more, or for less."""
        return self.truncation is not None or self.model is not None

    def strategy(self, config: RunConfig) -> Truncation:
        """Who is named to summarise by a bare name is of the run's own provider, as when it is queued."""
        chosen = self.truncation or config.truncation
        if chosen.model is None or chosen.provider is not None:
            return chosen
        return chosen.model_copy(update={"provider": config.provider})

    def of(self, config: RunConfig) -> RunConfig:
        truncation = self.strategy(config)
        if self.model is None:
            return config.model_copy(update={"truncation": truncation})
        return config.model_copy(
            update={
                "truncation": truncation,
                "provider": self.provider or config.provider,
                "model": self.model,
                "asked_model": self.model,
            }
        )


def supposed_of(truncation: str, where: str, providers: Mapping[str, object]) -> Truncation:
    """A strategy as people write it, with the provider of whoever is named to summarise. Raises `NoSuchStrategy`
    and `NoSuchProvider`.
    """
    found = written(truncation, where)
    if found.model is None:
        return found
    provider, model = resolve(found.model, providers, "", where)
    return found.model_copy(update={"provider": provider or None, "model": model})


@dataclass(slots=True)
class Supposing:
    """One thread. `readers` gives who reads at the moment. `context_tokens` is what the server allows, where a call
    does not tell what it allowed then.
    """

    readers: Callable[[], Reader]
    thread_id: str
    otherwise: Otherwise
    context_tokens: int | None = None
    _standing: Standing | None = None
    _imagined: int = 0

    def keeps_strategy(self, moment: Moment) -> bool:
        """Summaries that were written are of use only to the strategy that they were written for."""
        return self.otherwise.strategy(moment.config) == moment.config.truncation

    def as_it_was(self, moment: Moment) -> Context:
        """Raises `ContextTooLarge`, if today's engine would not make it any more."""
        limit = self._server_limit(moment)
        return self._assembled(moment, moment.config, moment.spent, limit)

    def supposed(self, moment: Moment, spent: Usage) -> Supposed:
        """`spent` is what the run would have used by then. Raises `ContextTooLarge`."""
        config = self.otherwise.of(moment.config)
        limit = self._server_limit(moment)
        if self.keeps_strategy(moment):
            return Supposed(self._assembled(moment, config, spent, limit), config)
        plans: list[Plan] = []
        while True:
            context = assemble(
                self.readers(),
                self.thread_id,
                moment.thread,
                config,
                spent,
                limit,
                as_of=moment.as_of,
                summaries=False,
                imagined=self._standing,
            )
            if context.plan is None or len(plans) == _SUMMARIES_MAX:
                return Supposed(context, config, tuple(plans))
            plans.append(context.plan)
            self._standing = self._summary(context.plan)

    def _assembled(self, moment: Moment, config: RunConfig, spent: Usage, limit: int | None) -> Context:
        return assemble(self.readers(), self.thread_id, moment.thread, config, spent, limit, as_of=moment.as_of)

    def _summary(self, plan: Plan) -> Standing:
        """One that nobody has written. Each is another item: it has a place of its own, in no stream."""
        self._imagined += 1
        place = Place("", self._imagined)
        item = SummaryItem(place, text(""), plan.summarises.tokens)
        return Standing(item, plan.first, plan.last, plan.count, plan.tokens_before)

    def _server_limit(self, moment: Moment) -> int | None:
        """What the server allowed is told only where it cut; what was shown beyond today's limit was allowed then."""
        if moment.cut is not None and moment.cut.limit_name == "context_tokens":
            return moment.cut.limit
        if self.context_tokens is not None and moment.made.tokens.total > self.context_tokens:
            return None
        return self.context_tokens
