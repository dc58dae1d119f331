"""The lines of a server's log: one a record, quoted where others chose the words, and never in anybody's way."""

from __future__ import annotations

import fcntl
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pytest

from clew.cli import log_lines
from clew.cli.log_lines import LINES_MAX
from clew.errors import ProviderFailed, StoreFailed

logger = logging.getLogger("clew.tests.log_lines")
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR|CRITICAL) (.*)")


@contextmanager
def written(monkeypatch: pytest.MonkeyPatch, level: str = "info") -> Iterator[list[str]]:
    """What is logged within comes to lines when it is over."""
    reading, writing = os.pipe()
    lines: list[str] = []
    with os.fdopen(reading) as told:
        with os.fdopen(writing, "w") as standard_error:
            monkeypatch.setattr(sys, "stderr", standard_error)
            with alone(), log_lines.log_lines(level):
                yield lines
        monkeypatch.undo()
        lines += told.read().splitlines()


@contextmanager
def alone() -> Iterator[None]:
    """Without the handlers of pytest; levels are afterwards as before."""
    root, ours = logging.getLogger(), logging.getLogger("clew")
    before, handlers = (root.level, ours.level), root.handlers
    root.handlers = []
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(before[0])
        ours.setLevel(before[1])


def messages(lines: list[str]) -> list[str]:
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found), lines
    return [one[2] for one in found if one is not None]


def test_a_record_is_a_line_with_its_time_and_level(monkeypatch: pytest.MonkeyPatch) -> None:
    with written(monkeypatch) as lines:
        logger.info("run %s has %d steps", "run_1", 3)
        logger.debug("not told")
        logging.getLogger("somebody.else").info("nor this")
        logging.getLogger("somebody.else").warning("but this")
    assert messages(lines) == ["run run_1 has 3 steps", "but this"]


@pytest.mark.parametrize(
    ("level", "told"),
    [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)],
    ids=["debug", "info", "warning", "error"],
)
def test_less_important_lines_are_left_out(level: str, told: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with written(monkeypatch, level) as lines:
        for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logger.log(number, "x")
    assert len(lines) == told


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("gpt-4o", "gpt-4o"),
        ("a b", '"a b"'),
        ("x code=none", '"x code=none"'),
        ("x\n2026-01-01T00:00:00.000Z INFO forged", r'"x\n2026-01-01T00:00:00.000Z INFO forged"'),
        ("\x1b[2J\r\x00", r'"\u001b[2J\r\u0000"'),
        ("\u202e\u2028é", r'"\u202e\u2028\u00e9"'),
        ("", '""'),
    ],
)
def test_words_that_others_chose_are_quoted(text: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with written(monkeypatch) as lines:
        logger.warning("model=%s code=%s", text, "1")
    assert messages(lines) == [f"model={shown} code=1"]


def test_lines_of_others_are_one_line_too_and_not_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    with written(monkeypatch) as lines:
        logging.getLogger("somebody.else").error("one\ntwo\x1b")
        logging.getLogger("somebody.else").error("x" * 1_000_000 + "the end")
    first, second = messages(lines)
    assert first == r"one\ntwo\x1b"
    assert len(second) < 3_000
    assert second.endswith("the end")


SAID = "my secret plan"


def test_an_error_is_told_by_its_place_and_kind_and_not_by_what_it_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    with written(monkeypatch) as lines:
        try:
            try:
                raise KeyError(SAID)
            except KeyError as error:
                raise ValueError(f"what is {SAID}?") from error
        except ValueError as error:
            logger.error("it broke", exc_info=error)
            logger.error("it broke: %s", error)
            logging.getLogger("uvicorn.error").error(error)
        logger.error("%s", ExceptionGroup(SAID, [ValueError(SAID)]), exc_info=ExceptionGroup(SAID, [TypeError(SAID)]))
    text = "\n".join(lines)
    assert SAID not in text.replace('raise ValueError(f"what is {SAID}?")', "")
    assert text.count("test_log_lines.py") == 2
    assert "ValueError\nafter, or because of:\n" in text
    assert "KeyError" in text
    assert "TypeError" in text
    assert text.count("it broke: ValueError") == 1


def test_errors_of_ours_and_of_the_system_are_told_in_their_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with written(monkeypatch) as lines:
        logger.error("%s", StoreFailed(why="disk\nfull"))
        logger.error("%s", FileNotFoundError(2, "No such file or directory", "x.db"))
        logger.error("%s", ProviderFailed(f"you said {SAID}", code="rate_limit_exceeded", retryable=True))
    assert messages(lines) == [
        r"StoreFailed: the store could not write: disk\nfull; nothing of this request was kept",
        "FileNotFoundError: No such file or directory",
        "ProviderFailed: rate_limit_exceeded",
    ]


def test_a_line_that_cannot_be_made_costs_only_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    with written(monkeypatch) as lines:
        logger.warning("%d", SAID)
        logger.warning("and on")
    assert lines[0] == "a line of clew.tests.log_lines could not be written: TypeError"
    assert lines[1].endswith("and on")


def pipe_that_nobody_reads() -> tuple[IO[str], IO[str]]:
    """Its two ends; it holds a page and no more."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    return os.fdopen(reading), os.fdopen(writing, "w")


def test_a_pipe_that_nobody_reads_holds_nobody_up_and_what_was_dropped_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told, standard_error = pipe_that_nobody_reads()
    more = 2_000
    with told, alone():
        with standard_error:
            monkeypatch.setattr(sys, "stderr", standard_error)
            with log_lines.log_lines("info"):
                began = time.monotonic()
                for number in range(LINES_MAX + more):
                    logger.info("line %d", number)
                assert time.monotonic() - began < 5, "nobody waited for the pipe"
                found = [told.readline() for _ in range(LINES_MAX)]
                while "dropped" not in found[-1]:
                    found.append(told.readline())
                logger.info("and on")
        monkeypatch.undo()
        last = told.read().splitlines()
    numbers = [int(line.split()[-1]) for line in found[:-1]]
    assert numbers == list(range(len(numbers)))
    dropped = re.search(r"WARNING (\d+) lines were dropped here", found[-1])
    assert dropped is not None
    assert len(numbers) + int(dropped[1]) == LINES_MAX + more
    assert [line.split("Z ")[1] for line in last] == ["INFO and on"]


def test_a_process_does_not_wait_for_ever_to_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    told, standard_error = pipe_that_nobody_reads()
    with standard_error, told, alone():
        monkeypatch.setattr(sys, "stderr", standard_error)
        began = time.monotonic()
        with log_lines.log_lines("info"):
            for _ in range(1_000):
                logger.info("unread")
        assert time.monotonic() - began < 5
        monkeypatch.undo()


def test_without_a_standard_error_nothing_is_written_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with alone():
        monkeypatch.setattr(sys, "stderr", None)
        with log_lines.log_lines("info"):
            logger.info("to nobody")
        monkeypatch.undo()
