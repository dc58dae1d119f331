"""Tools as they are declared and loaded: what cannot be meant is refused at once, in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import clew
from clew.engine.tool_modules import load_tools
from clew.engine.tools import ServerTool, Toolbox
from clew.errors import Misconfigured

_OF_NO_CLASS = "class C:\n    __class__ = property(lambda self: exit(1))\ntool = C()"


class Name(str):
    """As it is written in an enumeration."""


def look() -> str:
    return "seen"


WRONG: list[tuple[str, Any, str]] = [
    ("effect", "bogus", "effect is 'bogus'; it takes one of pure, idempotent, once"),
    ("effect", None, "effect is None; it takes one of pure, idempotent, once"),
    ("effect", ["pure"], "effect is a list; it takes one of pure, idempotent, once"),
    ("timeout_seconds", "x", "timeout_seconds is 'x'; it takes a number of seconds above 0, at most 10^9"),
    ("timeout_seconds", None, "timeout_seconds is None; it takes a number of seconds above 0, at most 10^9"),
    ("timeout_seconds", float("nan"), "timeout_seconds is nan; it takes a number of seconds above 0, at most 10^9"),
    ("timeout_seconds", float("inf"), "timeout_seconds is inf; it takes a number of seconds above 0, at most 10^9"),
    ("timeout_seconds", -1, "timeout_seconds is -1; it takes a number of seconds above 0, at most 10^9"),
    ("timeout_seconds", 0, "timeout_seconds is 0; it takes a number of seconds above 0, at most 10^9"),
    ("timeout_seconds", True, "timeout_seconds is True; it takes a number of seconds above 0, at most 10^9"),
    ("output_bytes_max", -5, "output_bytes_max is -5; it takes a whole number above 0"),
    ("output_bytes_max", 0, "output_bytes_max is 0; it takes a whole number above 0"),
    ("output_bytes_max", "a", "output_bytes_max is 'a'; it takes a whole number above 0"),
    ("output_bytes_max", 1.5, "output_bytes_max is 1.5; it takes a whole number above 0"),
    ("probe", 5, "probe is 5; it takes None, or a function"),
    ("in_doubt", "zz", "in_doubt is 'zz'; it takes one of ask, tell_model"),
    ("requires_confirmation", "no", "requires_confirmation is 'no'; it takes True or False"),
    ("requires_confirmation", None, "requires_confirmation is None; it takes True or False"),
]


@pytest.mark.parametrize(("argument", "given", "told"), WRONG)
def test_what_cannot_be_meant_is_refused_when_it_is_declared(argument: str, given: Any, told: str) -> None:
    with pytest.raises(Misconfigured) as raised:
        clew.tool(name="look", **{argument: given})(look)
    assert str(raised.value) == f"the tool look: {told}"
    with pytest.raises(Misconfigured):
        Toolbox([ServerTool("look", look, **{argument: given})])


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a b\nc", "'a b\\nc'"), ("", "''"), ("a" * 129, f"'{'a' * 59}…"), ("wär", "'wär'"), (5, "5")],
)
def test_a_name_that_no_model_could_call_is_refused(name: Any, shown: str) -> None:
    with pytest.raises(Misconfigured) as raised:
        clew.tool(name=name)(look)
    assert str(raised.value).startswith(f"a tool: name is {shown}; it takes 1 to 128 of ")


def test_a_name_that_is_more_than_a_text_is_taken_as_that_text() -> None:
    assert type(clew.tool(name=Name("look_out"))(look).name) is str


@pytest.mark.parametrize("given", [5, "look", None])
def test_what_is_no_function_is_refused(given: Any) -> None:
    with pytest.raises(Misconfigured, match="not a function"):
        clew.tool(effect="pure")(given)


def test_a_tool_may_be_declared_with_nothing_to_say() -> None:
    @clew.tool
    def bare() -> str:
        return "seen"

    @clew.tool()
    def called() -> str:
        return "seen"

    assert (bare.name, bare.effect, bare.function()) == ("bare", "once", "seen")
    assert (called.name, called.effect) == ("called", "once")
    with pytest.raises(Misconfigured, match="'look' is not a function"):
        clew.tool("look")  # type: ignore[call-overload]


def module(folder: Path, name: str, source: str, patch: pytest.MonkeyPatch) -> str:
    (folder / f"{name}.py").write_text(source)
    patch.syspath_prepend(str(folder))
    return f"{name}:tool"


@pytest.mark.parametrize(
    ("name", "source", "told"),
    [
        ("does_not_parse", "def (", "SyntaxError"),
        ("raises_what_is_no_exception", "raise type('Odd', (BaseException,), {})('no key')", "Odd: no key"),
        ("raises_several", "raise BaseExceptionGroup('no keys', [KeyboardInterrupt()])", "BaseExceptionGroup: no keys"),
        ("has_one_that_exits", "import sys\ndef __getattr__(name): sys.exit(name)", "SystemExit: "),
        (
            "has_one_that_raises_what_is_no_exception",
            "def __getattr__(name): raise type('Odd', (BaseException,), {})(name)",
            "Odd: ",
        ),
        ("has_a_list_that_raises", "class L(list):\n    def __iter__(self): exit(1)\ntool = L([print])", "SystemExit"),
        ("has_an_empty_list", "tool = []", "there is no tool in this list"),
        ("has_one_without_a_class", _OF_NO_CLASS, "what is a C there is not a function"),
        ("declares_what_is_none", "import clew\ntool = clew.tool(effect='bogus')(print)", "effect is 'bogus'"),
        ("has_a_lambda", "tool = lambda: 1", "name is '<lambda>'"),
        ("raises", "raise ValueError('no\\nkey')", "ValueError: no key"),
        ("exits", "import sys; sys.exit('no key')", "SystemExit: no key"),
        ("misses", "import there_is_no_such_module", "there_is_no_such_module"),
        (
            "is_unprintable",
            "class E(Exception):\n    def __str__(self): 1 / 0\nraise E",
            "whose text cannot be written",
        ),
        ("misses_an_attribute", "import sys; sys.there_is_none", "AttributeError"),
        ("has_none", "", "has no tool"),
        ("has_one_that_raises", "def __getattr__(name): raise ValueError(name)", "ValueError"),
        ("is_no_function", "tool = 7", "int"),
        ("is_unshowable", "class T:\n    def __repr__(self): 1 / 0\ntool = T()", "T"),
        ("has_no_name", "from functools import partial\ntool = partial(print)", "has no name"),
        ("declares_none", "from functools import partial\nimport clew\ntool = clew.tool()(partial(print))", "no name"),
        ("is_twice", "def f(): pass\ntool = [f, f]", "two tools are called 'f'"),
        ("is_declared_twice", "import clew\ntool = clew.tool()(clew.tool()(print))", "'print' is a tool already"),
    ],
)
def test_a_module_that_cannot_be_loaded_is_told_of_in_one_line(
    name: str, source: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Misconfigured) as raised:
        load_tools([module(tmp_path, f"tools_{name}", source, monkeypatch)])
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_tool_without_a_name_of_its_own_is_given_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "from functools import partial\nimport clew\ntool = clew.tool(name='shout')(partial(str.upper, 'a'))"
    loaded = load_tools([module(tmp_path, "tools_named", source, monkeypatch)])
    assert loaded.names() == ["shout"]
    shout = loaded.get("shout")
    assert shout is not None
    assert shout.function() == "A"
