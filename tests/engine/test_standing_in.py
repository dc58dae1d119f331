"""Which recorded call stands in for a call: one of the same name, with the same arguments, whatever these are."""

from __future__ import annotations

import pytest

from clew.engine.standing_in import _key
from tests.rules.example import called

DEEP = "[" * 500 + "]" * 500


def same(one: str, other: str) -> bool:
    first, second = (_key(called("call_a").model_copy(update={"arguments": written})) for written in (one, other))
    return first == second


@pytest.mark.parametrize(
    ("one", "other"),
    [('{"a":1,"b":2}', '{"b": 2, "a": 1}'), (DEEP, DEEP), (r'{"a":"\ud800"}', r'{"a":"\ud800"}'), ("{", "{"), ("", "")],
)
def test_the_same_arguments_are_the_same(one: str, other: str) -> None:
    assert same(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f'{{"a":{2**70}}}', f'{{"a":{2**70 + 1}}}'),
        ('{"a":0.1}', '{"a":0.10000000000000000001}'),
        (DEEP, f"[{DEEP}]"),
        ("{", "["),
    ],
)
def test_other_arguments_are_others(one: str, other: str) -> None:
    assert not same(one, other)
