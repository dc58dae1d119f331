"""What would have been, beside what was: as the API and the command line tell it, with what it was worked out from."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from clew.billing.costs import CURRENCY, Cost
from clew.billing.what_if import Basis, CallIf, RunIf
from clew.prices import shown


class CostTold(BaseModel):
    """`counted_tokens` are by our count; the others are by the provider's, or in its measure. `amount` is a decimal."""

    calls: int
    summary_calls: int
    unpriced_calls: int
    lost_calls: int
    refused_calls: int
    counted_tokens: int
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    amount: str
    currency: str


class CallTold(BaseModel):
    """`basis` says how what would have been is known."""

    run_id: str
    model_call_id: str
    number: int
    position: int
    at: int
    basis: Basis
    was: CostTold
    otherwise: CostTold
    why: str | None = None


class RunTold(BaseModel):
    run_id: str
    thread_id: str
    at: int
    strategy: str
    model: str
    was: CostTold
    otherwise: CostTold
    difference: str
    bases: dict[Basis, int]
    calls: list[CallTold]


class WhatIf(BaseModel):
    """`difference` is what it would have cost more; `bases` counts the calls by how they are known; `erased_threads`
    could not be told of. `notes` say what was taken to be so."""

    truncation: str | None
    model: str | None
    prices: str | None
    was: CostTold
    otherwise: CostTold
    difference: str
    bases: dict[Basis, int]
    notes: list[str]
    runs: list[RunTold]
    erased_threads: list[str] = []


def tell(
    runs: Sequence[RunIf],
    *,
    truncation: str | None,
    model: str | None,
    prices: str | None,
    erased_threads: Sequence[str] = (),
) -> WhatIf:
    was, otherwise = _sum([run.was for run in runs]), _sum([run.otherwise for run in runs])
    bases = _bases([call for run in runs for call in run.calls])
    return WhatIf(
        truncation=truncation,
        model=model,
        prices=prices,
        was=_cost(was),
        otherwise=_cost(otherwise),
        difference=shown(otherwise.amount_more_than(was)),
        bases=bases,
        notes=list(_notes(bases, was, otherwise, model)),
        runs=[_run(run) for run in runs],
        erased_threads=list(erased_threads),
    )


def _sum(costs: Sequence[Cost]) -> Cost:
    return sum(costs, Cost())


def _bases(calls: Sequence[CallIf]) -> dict[Basis, int]:
    found: dict[Basis, int] = {}
    for call in calls:
        found[call.basis] = found.get(call.basis, 0) + 1
    return found


def _cost(cost: Cost) -> CostTold:
    return CostTold(
        calls=cost.calls,
        summary_calls=cost.summary_calls,
        unpriced_calls=cost.unpriced_calls,
        lost_calls=cost.lost_calls,
        refused_calls=cost.refused_calls,
        counted_tokens=cost.counted_tokens,
        input_tokens=cost.input_tokens,
        cached_tokens=cost.cached_tokens,
        cache_write_tokens=cost.cache_write_tokens,
        output_tokens=cost.output_tokens,
        amount=shown(cost.amount),
        currency=CURRENCY,
    )


def _run(run: RunIf) -> RunTold:
    was, otherwise = run.was, run.otherwise
    return RunTold(
        run_id=run.run_id,
        thread_id=run.thread_id,
        at=run.at,
        strategy=run.strategy,
        model=run.model,
        was=_cost(was),
        otherwise=_cost(otherwise),
        difference=shown(otherwise.amount_more_than(was)),
        bases=_bases(run.calls),
        calls=[_call(call) for call in run.calls],
    )


def _call(call: CallIf) -> CallTold:
    return CallTold(
        run_id=call.run_id,
        model_call_id=call.model_call_id,
        number=call.number,
        position=call.position,
        at=call.at,
        basis=call.basis,
        was=_cost(call.was),
        otherwise=_cost(call.otherwise),
        why=call.why,
    )


def _notes(bases: dict[Basis, int], was: Cost, otherwise: Cost, model: str | None) -> list[str]:
    """Only what this answer rests on."""
    said = {
        "estimated": "{} would have been shown something else: their input is our count of that, times what the"
        " provider counted for each token that we counted of what was sent; what was answered is taken as it was",
        "imagined": "{} for summaries that nobody asked for are imagined: prompts by our count, answers as long as they"
        " are asked to be, at the price of whoever summarises",
        "refused": "{} would have found no room, which ends the run; what came after in it would not have been made",
        "not_made": "{} would not have been made: they came after the end of their run, or asked for a summary that is"
        " not needed",
        "unknown": "{} used what nobody knows: they are in neither sum",
    }
    notes = [text.format(_calls(bases[basis])) for basis, text in said.items() if basis in bases]
    if "estimated" in bases and was.cached_tokens:
        notes.append(
            "of each token at the beginning that a request shares with the one before, as many are taken to be cached"
            " as were; where nothing was cached, nothing is taken to be"
        )
    if model is not None:
        notes.append(f"{model} is taken to count tokens, to cache and to answer as the model did that was asked")
    if unpriced := max(was.unpriced_calls, otherwise.unpriced_calls):
        notes.append(f"{_calls(unpriced)} have no price and are in no amount")
    return notes


def _calls(number: int) -> str:
    return f"{number:,} call{'s' if number != 1 else ''}"
