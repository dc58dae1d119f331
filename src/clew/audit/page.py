"""An audit as one HTML file: nothing is loaded, nothing runs, everything that anybody said is escaped.

It can be mailed, kept, printed, and read on a phone.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.resources import files

from clew.audit.markup import Html, joined, tag
from clew.audit.records import Attempt, Audit, ItemRecord, StepRecord, ToolRecord
from clew.events.model import ItemRange

_STYLE = files("clew.audit").joinpath("page.css").read_text()
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STATUS_CLASS = {"completed": "good", "failed": "bad", "expired": "bad", "incomplete": "warn", "cancelled": "warn"}
_OUTCOME_CLASS = {"returned": "good", "failed": "bad", "in_doubt": "odd", "settled": "odd"}
_NOTE_CLASS = {"crash": "odd", "doubt": "odd", "cancel": "warn", "client": "", "run": ""}
_PREVIEW_CHARS = 120


def page(audit: Audit) -> str:
    """The whole file."""
    known: set[int] = set()
    steps = []
    for step in audit.steps:
        steps.append(_step(audit, step, known))
        known |= set(step.shown)
    body = tag(
        "body",
        _head(audit),
        tag("h2", "Steps"),
        *steps,
        tag("h2", "What happened to the run"),
        tag("section", _rows((_time(note.at), _noted(note.what, _NOTE_CLASS[note.kind])) for note in audit.notes)),
        tag("h2", "Who held it"),
        tag("section", _workers(audit)),
        tag("p", "Told by Clew from its log alone. Times are in UTC.", class_="dim"),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", f"Audit of {audit.run_id}"),
        tag("style", Html(_STYLE)),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _head(audit: Audit) -> Html:
    config, totals = audit.config, audit.totals
    facts: list[tuple[str, object]] = [
        ("status", tag("b", audit.status, class_=_STATUS_CLASS.get(audit.status, ""))),
        ("thread", tag("code", audit.thread_id)),
        ("queued", f"{_time(audit.queued_at)} through {audit.dialect}"),
        ("took", f"{(audit.ended_at - audit.queued_at) / 1e6:.2f} s" if audit.ended_at else "not over"),
        ("model", f"{config.provider}/{config.model}"),
        ("truncation", config.truncation.strategy + (f" {config.truncation.n}" if config.truncation.n else "")),
        ("used", f"{audit.usage.input} tokens in ({audit.usage.cached} cached), {audit.usage.output} out"),
        ("model calls", f"{totals.model_calls} in {totals.model_ms:.0f} ms, {totals.attempts} attempts"),
        ("cost", totals.costs.told or "no model was asked"),
        ("tool calls", f"{totals.tool_calls} in {totals.tool_ms:.0f} ms, {totals.tool_failures} failed"),
        ("prompts", f"{totals.prompts_proven} of {totals.model_calls} proven"),
    ]
    if totals.crashes_survived:
        facts.append(("crashes survived", tag("b", totals.crashes_survived, class_="odd")))
    if totals.items_left_out:
        facts.append(("left out", f"{totals.items_left_out} items, over all steps"))
    if totals.items_cleared:
        facts.append(("shown cleared", f"{totals.items_cleared} tool results, over all steps"))
    if totals.summaries:
        facts.append(("summaries", f"{totals.summaries} written"))
    if audit.cancelled_by:
        facts.append(("cancelled by", audit.cancelled_by))
    if audit.error:
        facts.append(("error", tag("span", audit.error, class_="bad")))
    return joined(
        (
            tag("h1", "Run ", tag("code", audit.run_id)),
            tag("section", _facts(facts), _text("Instructions", config.instructions), _tools_offered(audit)),
        )
    )


def _tools_offered(audit: Audit) -> Html | None:
    names = [tool.name for tool in audit.config.tools]
    return tag("p", "Tools: ", ", ".join(names), class_="dim") if names else None


def _facts(facts: list[tuple[str, object]]) -> Html:
    return tag("dl", *(joined((tag("dt", name), tag("dd", value))) for name, value in facts))


def _rows(rows: Iterable[Iterable[object]], *heads: str) -> Html:
    head = tag("tr", *(tag("th", name) for name in heads)) if heads else None
    return tag("table", head, *(tag("tr", *(tag("td", cell) for cell in row)) for row in rows))


def _noted(what: str, name: str) -> Html:
    return tag("span", what, class_=name)


def _text(title: str, text: str, *, open_: bool = False) -> Html | None:
    """Long texts are folded, with their beginning as the title."""
    if not text:
        return None
    line = " ".join(text.split())
    if line == text and len(text) <= _PREVIEW_CHARS:
        return tag("div", tag("span", title, class_="dim"), tag("pre", text))
    start = line[:_PREVIEW_CHARS] + ("…" if len(line) > _PREVIEW_CHARS else "")
    return tag(
        "details",
        tag("summary", tag("span", title, " ", class_="dim"), tag("bdi", start)),
        tag("pre", text),
        open=open_,
    )


def _step(audit: Audit, step: StepRecord, known: set[int]) -> Html:
    by = f" by {step.worker}" if step.worker else ""
    about = "" if step.tokens.exact else "about "
    new = [place for place in step.shown if place not in known]
    old = [place for place in step.shown if place in known]
    return tag(
        "section",
        tag("h3", f"Step {step.number}", _purpose(step)),
        tag("p", tag("code", step.model_call_id), f", {_time(step.at)}, fence {step.fence}{by}", class_="dim"),
        tag(
            "p",
            f"Shown: {step.manifest.items} items, {about}{step.tokens.total} tokens (instructions",
            f" {step.tokens.instructions}, tools {step.tokens.tools}, items {step.tokens.items})",
        ),
        _items(audit, f"{len(old)} as in the step before", old),
        _items(audit, f"{len(new)} new", new),
        _left_out(step),
        *(tag("p", f"Not sent: {missing}", class_="warn") for missing in step.manifest.not_rendered),
        _proof(step),
        _attempts(step),
        _compacted(step),
        tag("p", f"Reasoned: {step.reasoning_blocks} blocks", class_="dim") if step.reasoning_blocks else None,
        *(_says(step, said) for said in step.says),
        *(_tool(tool) for tool in step.tools),
    )


def _items(audit: Audit, title: str, places: list[int]) -> Html | None:
    if not places:
        return None
    return tag("details", tag("summary", title), *(_item(audit.items[place]) for place in places))


def _item(item: ItemRecord) -> Html | None:
    who = {"call": f"call of {item.name}", "result": "result"}.get(item.kind, item.role or item.kind)
    cleared = " (cleared)" if item.cleared else ""
    return _text(f"{item.number} {who}{cleared}, {item.tokens} tokens", item.text or "(nothing)")


def _purpose(step: StepRecord) -> Html | None:
    asked = step.summarises
    if asked is None:
        return None
    why = f"{asked.limit_name} is {asked.limit}"
    by = f" by {step.asked_provider}/{step.asked_model}" if step.asked_model else ""
    return tag("span", f" a summary{by}, of about {asked.tokens} tokens, because {why}", class_="odd")


def _compacted(step: StepRecord) -> Html | None:
    made = step.compacted
    if made is None:
        return None
    title = f"Stands for {made.items} items from now on; {made.tokens_before} tokens became {made.tokens}"
    return tag("div", tag("p", title, class_="odd"), tag("pre", made.text), class_="says")


def _left_out(step: StepRecord) -> Html | None:
    cut = step.truncated
    if cut is None:
        return None
    ranges = [f"{_range(one.items)}: {one.reason}" for one in cut.left_out]
    ranges += [f"{_range(one)}: results cleared" for one in cut.cleared]
    cleared = f" and {cut.items_cleared} results shown cleared" if cut.items_cleared else ""
    instead = f" (instead of {cut.instead_of.strategy}: {cut.instead_of.reason})" if cut.instead_of else ""
    return tag(
        "p",
        f"Left out: {cut.items_left_out} items{cleared} by {cut.strategy}{instead}, because {cut.limit_name} is"
        f" {cut.limit}; {cut.tokens_before} tokens became {cut.tokens_after}. ",
        "; ".join(ranges),
        class_="warn",
    )


def _range(items: ItemRange) -> str:
    return f"{items.first} to {items.last} of {items.stream}"


def _proof(step: StepRecord) -> Html:
    if step.proven:
        what = tag("span", "proven", class_="good")
    else:
        what = tag("span", f"not proven: {step.why_not}", class_="bad")
    return tag("p", "Request: ", what, " ", tag("code", step.digest, class_="dim"), f" by {step.renderer}")


def _attempts(step: StepRecord) -> Html:
    rows = [(one.attempt, _outcome(one), _ms(one.duration_ms), _said(one, step), _cost(one)) for one in step.attempts]
    return _rows(rows, "attempt", "outcome", "took", "", "cost")


def _outcome(attempt: Attempt) -> Html:
    if attempt.code == "lost":
        return tag("span", "lost in a crash", class_="odd")
    name = {"answered": "good", "failed": "bad"}.get(attempt.outcome, "")
    return tag("span", attempt.outcome, class_=name)


def _said(attempt: Attempt, step: StepRecord) -> str:
    if attempt.outcome == "answered" and step.usage is not None:
        first = f", first after {step.first_token_ms:.0f} ms" if step.first_token_ms is not None else ""
        return f"{step.usage.input} tokens in, {step.usage.output} out ({step.finish_reason}){first}"
    wait = f"; asked to wait {attempt.retry_after_seconds:g} s" if attempt.retry_after_seconds else ""
    return f"{attempt.code}: {attempt.message}{wait}" if attempt.code else ""


def _cost(attempt: Attempt) -> Html | str:
    """The amount, and folded behind it how it comes about."""
    price = attempt.price
    if price is None:
        if attempt.usage is not None:
            return "unpriced"
        return "unknown" if attempt.usage_unknown else ""
    lines = [f"{line.tokens} {line.kind} at {line.price} for {line.per}" for line in price.lines]
    why = "; ".join((*lines, f"{price.model} of {price.provider} in {price.table}"))
    return tag("details", tag("summary", f"{price.amount} {price.currency}"), tag("p", why, class_="dim"))


def _says(step: StepRecord, said: str) -> Html:
    cut = tag("span", f" (cut short: {step.incomplete})", class_="warn") if step.incomplete else None
    return tag("div", said, cut, class_="says")


def _tool(tool: ToolRecord) -> Html:
    took = _ms(tool.duration_ms)
    if tool.executor == "client" and tool.answered_at is not None:
        took = f"{(tool.answered_at - tool.called_at) / 1e6:.2f} s"
    by = ", ".join(filter(None, (f"by {tool.executor}", tool.effect, tool.answered_by)))
    doubts = (
        tag("p", f"In doubt at {_time(one.at)}: {one.reason}. ", _settled(one.by, one.outcome), class_="odd")
        for one in tool.doubts
    )
    starts = None
    if tool.attempts > 1:
        when = ", ".join(f"{_time(one.at)} by {one.worker}" for one in tool.starts)
        starts = tag("p", f"Started {tool.attempts} times, with the key {tool.idempotency_key}: {when}", class_="odd")
    return tag(
        "div",
        tag("b", tool.name),
        " ",
        tag("span", tool.outcome.replace("_", " "), class_=_OUTCOME_CLASS.get(tool.outcome, "")),
        tag("span", f" {took} {by} ", tag("code", tool.tool_call_id), class_="dim"),
        starts,
        *doubts,
        tag("p", tool.reason, class_="bad") if tool.reason and not tool.doubts else None,
        _text("arguments", tool.arguments),
        _text("result", tool.output or ""),
        tag("p", f"{tool.bytes_whole} bytes came in all", class_="dim") if tool.bytes_whole else None,
        class_="tool",
    )


def _settled(by: str | None, outcome: str | None) -> str:
    return f"Settled by {by}: {outcome.replace('_', ' ')}." if outcome else "Not settled yet."


def _workers(audit: Audit) -> Html:
    rows = (
        (held.fence, held.worker, _time(held.at), _time(held.until) if held.until else "", held.how or "holds it")
        for held in audit.workers
    )
    return _rows(rows, "fence", "worker", "from", "until", "then")


def _ms(duration: float | None) -> str:
    return f"{duration:.0f} ms" if duration is not None else ""


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
