"""Calls of the past are sent in a form that every provider takes, and stay in the log as they were written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clew import exact_json
from clew.events.items import Item
from clew.events.run import Tool
from clew.providers.base import Prompt
from clew.providers.renderers import RENDERERS, omitted
from clew.providers.valid_calls import valid_arguments, valid_id, valid_name
from tests.providers.histories import HISTORIES, called, config, everything, message, placed, result, thought
from tests.rigs import valid_anthropic, valid_mistral, valid_openai
from tests.rigs.valid_calls import calls_fault_of

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Rendering:
    """A renderer, and whoever knows which requests its provider takes."""

    renderer: str
    provider: str
    model: str
    fault_of: Callable[[Any], Any]
    before: str

    def __str__(self) -> str:
        return self.renderer

    @property
    def render(self) -> Callable[[Prompt], bytes]:
        return RENDERERS[self.renderer]

    def prompt(self, *items: Item, **more: Any) -> Prompt:
        return Prompt(config(self.provider, self.model, **more), placed(items))

    def calls(self, *items: Item, **more: Any) -> list[tuple[str, str, str]]:
        """The calls in the request for these: ids, names and arguments, where an object is as JSON writes it."""
        found = []
        for one in exact_json.loads(self.render(self.prompt(*items, **more)))["messages"]:
            for call in one.get("tool_calls") or ():
                found.append((call["id"], call["function"]["name"], call["function"]["arguments"]))
            for block in one["content"] if isinstance(one.get("content"), list) else ():
                if block["type"] == "tool_use":
                    found.append((block["id"], block["name"], exact_json.dumps(block["input"]).decode()))
        return found

    def notes(self, *items: Item, **more: Any) -> list[tuple[str, str]]:
        return [(one.what, one.reason) for one in omitted(self.renderer, self.prompt(*items, **more))]


_CLAUDE = "claude-opus-5-5"
RENDERINGS = (
    Rendering("openai-chat/3", "openai", "gpt-4o", valid_openai.fault_of, "openai-chat/2"),
    Rendering("openai-chat/4", "openai", "gpt-4o", valid_openai.fault_of, "openai-chat/3"),
    Rendering("mistral-chat/2", "mistral", "mistral-large-4", valid_mistral.fault_of, "mistral-chat/1"),
    Rendering("anthropic-messages/2", "anthropic", _CLAUDE, valid_anthropic.fault_of, "anthropic-messages/1"),
    Rendering("anthropic-messages/3", "anthropic", _CLAUDE, valid_anthropic.fault_of, "anthropic-messages/2"),
)
OF_ALL = pytest.mark.parametrize("rendering", RENDERINGS, ids=str)


@pytest.fixture
def _schema(rendering: Rendering) -> None:
    """What Mistral takes is told by its published schema, which is not ours."""
    if rendering.provider == "mistral" and not valid_mistral.SCHEMA.exists():
        pytest.skip(f"the published schema is not in {valid_mistral.SCHEMA}")


NAMES = ['view_file" path="src/a.py', "", "a.b", "functions.search:0", "größe", "x" * 65, "a b", "\n", "ok_name-1", "…"]
ARGUMENTS = [
    *("", " ", "null", "{}", '{ "q" : "Paris" }', "Paris", '{"q": "a', "[1]", '"x"', "7", '{"q": NaN}', "{}{}"),
    *('{"n": 1180591620717411303424, "d": 0.10}', '{"q": "\\ud83d"}', '{"q": "\\ud83d\\ude00"}', '{"q": "\x07"}'),
]


def asked(name: str, arguments: str, id: str = "ABCdef123") -> tuple[Item, ...]:
    return (message("user", "Hi"), called(id, name, arguments, "mc_1"), result(id, "so"), message("user", "And?"))


@pytest.mark.usefixtures("_schema")
@OF_ALL
@pytest.mark.parametrize("name", NAMES)
def test_whatever_a_model_called_the_next_request_is_valid(rendering: Rendering, name: str) -> None:
    for arguments in ARGUMENTS:
        body = orjson.loads(rendering.render(rendering.prompt(*asked(name, arguments))))
        assert rendering.fault_of(body) is None
        assert calls_fault_of(body) is None


@pytest.mark.usefixtures("_schema")
@OF_ALL
@given(data=st.data())
def test_whatever_the_log_holds_the_request_is_valid(rendering: Rendering, data: st.DataObject) -> None:
    written = st.tuples(st.sampled_from(NAMES) | st.text(max_size=80), st.sampled_from(ARGUMENTS) | st.text())
    items = []
    for item in data.draw(HISTORIES):
        items.append(item)
        if data.draw(st.booleans()):
            name, arguments = data.draw(written)
            items += [called("x" * 50, name, arguments, "mc_9"), result("x" * 50, "so")]
    prompt = rendering.prompt(*items, tools=(Tool(type="function", name="f"),))
    body = orjson.loads(rendering.render(prompt))
    # Whether results have calls is not a matter of this format, and histories of ours may have others.
    if rendering.provider != "openai":
        assert rendering.fault_of(body) is None
    assert calls_fault_of(body) is None
    assert rendering.render(prompt) == rendering.render(prompt)


@OF_ALL
def test_a_call_that_is_valid_is_sent_as_it_was_written(rendering: Rendering) -> None:
    for arguments in ("{}", '{ "q" : "Paris" }', '{"n": 1180591620717411303424, "d": 0.10}', '{"q": "\\ud83d\\ude00"}'):
        body = rendering.render(rendering.prompt(*asked("search", arguments)))
        assert arguments.encode() in body or orjson.dumps(arguments) in body
        assert rendering.notes(*asked("search", arguments)) == []


@OF_ALL
def test_what_a_call_is_sent_as(rendering: Rendering) -> None:
    [(_, name, arguments)] = rendering.calls(*asked('view_file" path="src/a.py', '{"q": "a'))
    assert name == "view_file_path_src_a_py"
    assert exact_json.loads(arguments) == {"INVALID_JSON": '{"q": "a'}
    assert rendering.calls(*asked("f", ""))[0][2] == "{}"
    assert rendering.calls(*asked("f", " null "))[0][2] == "{}"
    assert exact_json.loads(rendering.calls(*asked("f", "[1]"))[0][2]) == {"INVALID_JSON": "[1]"}


@OF_ALL
def test_a_name_that_the_request_itself_offers_stays_as_it_is(rendering: Rendering) -> None:
    """Some servers take names that others do not, and the model must find its tool again."""
    tools = (Tool(type="function", name="a.b"),)
    assert rendering.calls(*asked("a.b", "{}"), tools=tools)[0][1] == "a.b"
    assert rendering.calls(*asked("a.c", "{}"), tools=tools)[0][1] == "a_c"


@OF_ALL
def test_the_manifest_says_which_calls_are_not_sent_as_they_were_written(rendering: Rendering) -> None:
    def changed(*items: Item) -> list[tuple[str, str]]:
        return [one for one in rendering.notes(*items) if one[0] in ("name", "arguments")]

    name = ("name", f"no function can have it, so {rendering.provider} is sent what is left of it")
    arguments = ("arguments", f"they are no JSON object, so {rendering.provider} is sent one")
    assert changed(*asked("a b", "Paris")) == [name, arguments]
    assert changed(*asked("search", "Paris")) == [arguments]
    assert changed(*asked("search", "{}")) == []


@OF_ALL
def test_numbers_in_schemas_are_sent_as_they_were_written(rendering: Rendering) -> None:
    schema = exact_json.loads('{"type":"object","properties":{"n":{"maximum":18446744073709551616,"multipleOf":0.10}}}')
    tools = (Tool(type="function", name="f", parameters=schema),)
    body = rendering.render(rendering.prompt(message("user", "Hi"), tools=tools))
    assert exact_json.dumps(schema) in body


@OF_ALL
def test_without_anything_odd_the_bytes_are_those_of_the_version_before(rendering: Rendering) -> None:
    plain = rendering.prompt(
        message("user", "Hi"), *asked("f", '{"a": 1}')[1:], tools=(Tool(type="function", name="f"),)
    )
    assert rendering.render(plain) == RENDERERS[rendering.before](plain)


@OF_ALL
def test_the_bytes_of_a_request_never_change(rendering: Rendering) -> None:
    recorded = HERE / "recorded" / f"{rendering.renderer.replace('/', '-')}.json"
    assert rendering.render(with_everything(rendering)) == recorded.read_bytes()


OWN = {
    "openai": (
        '{"reasoning_content":"Hm."}',
        '{"tool_call":0,"extra_content":{"google":{"thought_signature":"c2ln"}}}',
    ),
    "mistral": ('{"type": "thinking", "thinking": [{"type": "text", "text": "Hm \\u2026"}], "closed": true}',),
    "anthropic": ('{"type": "thinking", "thinking": "Hm \\u2026", "signature": "c2ln"}',),
}


def with_everything(rendering: Rendering) -> Prompt:
    """All that a prompt may hold, and calls that no provider takes."""
    own = OWN[rendering.provider]
    prompt = everything(rendering.provider, rendering.model, own[0])
    wrong = list(enumerate(zip(NAMES, ARGUMENTS, strict=False)))
    odd: list[Item] = [
        replace(thought(rendering.provider, "mc_8", *own, model=rendering.model), origin="x:1"),
        *(called(f"{n}{'y' * 50}", name, arguments, "mc_8") for n, (name, arguments) in wrong),
        *(result(f"{n}{'y' * 50}", "so") for n, _ in wrong),
        message("user", "And?"),
    ]
    schema = exact_json.loads('{"type":"object","properties":{"n":{"maximum":18446744073709551616,"multipleOf":0.10}}}')
    tools = (*prompt.config.tools, Tool(type="function", name="odd", parameters=schema))
    config = prompt.config.model_copy(update={"tools": tools})
    return replace(prompt, config=config, items=placed([*prompt.items, *odd]), origin="x:1")


def test_a_name_is_made_of_what_is_left_of_it() -> None:
    assert [valid_name(name) for name in NAMES] == [
        *("view_file_path_src_a_py", "unnamed", "a_b", "functions_search_0", "gr_e", "x" * 64, "a_b", "unnamed"),
        *("ok_name-1", "unnamed"),
    ]


def test_an_id_that_is_too_long_is_made_shorter_and_always_the_same() -> None:
    assert valid_id("x" * 40) == "x" * 40
    assert valid_id("x" * 41) == valid_id("x" * 41) != valid_id("x" * 42)
    assert len(valid_id("x" * 41)) <= 40


def test_half_a_pair_in_arguments_is_replaced_and_all_else_stays() -> None:
    assert valid_arguments('{"q": "\\ud83d\\ude00 \\ud83d \\\\ud83d", "n": 0.10}') == (
        '{"q": "\\ud83d\\ude00 \\ufffd \\\\ud83d", "n": 0.10}'
    )
