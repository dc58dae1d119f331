"""Text that came in pieces, and the halves of characters in it."""

from __future__ import annotations

from collections.abc import Iterator

from clew.providers.text import TextPieces, whole_json, whole_text, written
from tests.providers.test_halves import FACE, HIGH, LOST, LOW


def test_halves_are_found_anywhere_in_json() -> None:
    assert whole_json({"a" + HIGH: [HIGH + LOW, 1, None, {"b": LOW}]}) == {"a" + LOST: [FACE, 1, None, {"b": LOST}]}
    assert written({"a": HIGH}) == f'{{"a":"{LOST}"}}'
    assert written({"a": "é", "n": 1}) == '{"a":"é","n":1}'
    assert whole_text("é" + FACE) == "é" + FACE


def split(text: str) -> Iterator[tuple[str, str]]:
    halves = text.encode("utf-16-le", "surrogatepass")
    for at in range(0, len(halves) + 1, 2):
        yield tuple(half.decode("utf-16-le", "surrogatepass") for half in (halves[:at], halves[at:]))  # type: ignore[misc]


def test_a_text_may_be_cut_between_any_two_units() -> None:
    for first, second in split(f"a{FACE}b{FACE}{FACE}é"):
        pieces = TextPieces()
        shown = pieces.add(first) + pieces.add(second) + pieces.end()
        assert shown == str(pieces) == f"a{FACE}b{FACE}{FACE}é"
