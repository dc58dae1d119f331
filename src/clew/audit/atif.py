"""An audit as a trajectory in the Agent Trajectory Interchange Format, ATIF-v1.7.

Steps are: the instructions (system), what the first model call was shown, in order, and then one step for each
model call with its tool calls and their results. What came before the run has no metrics and is marked in `extra`.
A model call that was never answered is a step of the system, because something happened and no agent spoke.

Written against the published models of the package `atif` 1.8.0, which is not the format's own, and checked with
them by hand and in the tests where it is installed; the format's own validator, in harbor, was not at hand. The
format knows costs as dollars and as binary fractions; exact decimals, and what has no price, are in `extra`, and a
total that would leave something out is left out itself. Arguments that are no JSON object are kept under `_unparsed`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import orjson

from clew import exact_json
from clew.audit.costs import Costs
from clew.audit.records import Audit, ItemRecord, StepRecord
from clew.events.usage import Usage

SCHEMA_VERSION = "ATIF-v1.7"
_CURRENCY = "USD"


def atif(audit: Audit) -> bytes:
    """The trajectory of one run, as indented JSON."""
    config = audit.config
    steps = [*_before(audit), *(_step(step) for step in audit.steps)]
    for number, step in enumerate(steps, 1):
        step["step_id"] = number
    trajectory = {
        "schema_version": SCHEMA_VERSION,
        "session_id": audit.thread_id,
        "agent": {
            "name": config.assistant_id or "clew",
            "version": str(config.assistant_version or version("clew")),
            "model_name": config.model,
            "extra": {"provider": config.provider, "clew_version": version("clew")},
        },
        "steps": [{"step_id": step.pop("step_id"), **step} for step in steps],
        "final_metrics": _final(audit, len(steps)),
        "extra": {
            "run_id": audit.run_id,
            "status": audit.status,
            "error": audit.error,
            "crashes_survived": audit.totals.crashes_survived,
            "notes": [{"timestamp": _time(note.at), "what": note.what} for note in audit.notes],
        },
    }
    if config.tools:
        trajectory["agent"]["tool_definitions"] = [  # type: ignore[index]
            {"type": "function", "function": tool.model_dump(mode="json", exclude={"type"}, exclude_none=True)}
            for tool in config.tools
        ]
    return exact_json.dumps(trajectory, option=orjson.OPT_INDENT_2)


def _before(audit: Audit) -> list[dict[str, Any]]:
    """The instructions, and what the first model call was shown."""
    steps: list[dict[str, Any]] = []
    if audit.config.instructions:
        steps.append({"source": "system", "message": audit.config.instructions})
    agent: dict[str, Any] | None = None
    for item in audit.first_shown:
        if item.kind in ("call", "result"):
            if agent is None:
                agent = _from_before({"source": "agent", "message": ""})
                steps.append(agent)
            _add(agent, item)
        elif item.kind == "message" and item.role == "assistant":
            agent = _from_before({"source": "agent", "message": item.text})
            steps.append(agent)
        elif item.kind != "reasoning":
            agent = None
            steps.append({"source": "user" if item.role == "user" else "system", "message": item.text})
    return steps


def _from_before(step: dict[str, Any]) -> dict[str, Any]:
    return {**step, "extra": {"before_this_run": True}}


def _add(agent: dict[str, Any], item: ItemRecord) -> None:
    if item.kind == "call":
        agent.setdefault("tool_calls", []).append(_call(item.id, item.name or "", item.text))
        return
    known = {call["tool_call_id"] for call in agent.get("tool_calls", ())}
    result: dict[str, Any] = {"content": item.text}
    if item.id in known:
        result = {"source_call_id": item.id, **result}
    agent.setdefault("observation", {"results": []})["results"].append(result)


def _step(step: StepRecord) -> dict[str, Any]:
    extra = {
        "model_call_id": step.model_call_id,
        "prompt_sha256": step.digest,
        "prompt_proven": step.proven,
        "worker": step.worker,
        "attempts": [one.model_dump(mode="json", exclude_none=True, exclude={"usage"}) for one in step.attempts],
    }
    if step.finish_reason is None:
        last = step.attempts[-1] if step.attempts else None
        why = f"{last.code}: {last.message}" if last is not None and last.code else "no answer yet"
        return {
            "timestamp": _time(step.at),
            "source": "system",
            "message": f"A model call was not answered ({why}).",
            "extra": extra,
        }
    if step.compacted is not None:
        extra |= {"summary_of_items": step.compacted.items, "summary_tokens_before": step.compacted.tokens_before}
        return {
            "timestamp": _time(step.at),
            "source": "system",
            "message": step.compacted.text,
            "extra": {**extra, "metrics": _metrics(step.usage or Usage(), step.costs)},
        }
    made: dict[str, Any] = {
        "timestamp": _time(step.at),
        "source": "agent",
        "model_name": step.model,
        "message": "\n".join(step.says),
        "metrics": _metrics(step.usage or Usage(), step.costs),
        "extra": {**extra, "finish_reason": step.finish_reason},
    }
    if step.tools:
        made["tool_calls"] = [_call(tool.tool_call_id, tool.name, tool.arguments) for tool in step.tools]
        results = [
            {"source_call_id": tool.tool_call_id, "content": tool.output}
            for tool in step.tools
            if tool.output is not None
        ]
        if results:
            made["observation"] = {"results": results}
    return made


def _call(tool_call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"tool_call_id": tool_call_id, "function_name": name, "arguments": _object(arguments)}


def _object(arguments: str) -> dict[str, Any]:
    try:
        parsed = exact_json.loads(arguments)
    except ValueError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {"_unparsed": arguments}


def _metrics(usage: Usage, costs: Costs) -> dict[str, Any]:
    dollars = costs.amounts.get(_CURRENCY)
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "cached_tokens": usage.cached,
        **({"cost_usd": float(dollars)} if dollars is not None else {}),
        "extra": {
            "reasoning_tokens": usage.reasoning,
            "cache_write_tokens": usage.cache_write,
            "costs": costs.model_dump(),
        },
    }


def _is_whole(costs: Costs) -> bool:
    return list(costs.amounts) == [_CURRENCY] and not costs.unpriced and not costs.unknown


def _final(audit: Audit, steps: int) -> dict[str, Any]:
    costs = audit.totals.costs
    return {
        "total_prompt_tokens": audit.usage.input,
        "total_completion_tokens": audit.usage.output,
        "total_cached_tokens": audit.usage.cached,
        **({"total_cost_usd": float(costs.amounts[_CURRENCY])} if _is_whole(costs) else {}),
        "total_steps": steps,
        "extra": {"costs": costs.model_dump()},
    }


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1_000_000, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
