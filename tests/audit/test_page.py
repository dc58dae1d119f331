"""The page of an audit stands alone, and nothing that anybody said is anything but text in it."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from clew.audit.markup import escaped, tag
from clew.audit.page import page
from tests.audit.histories import HOSTILE, audit_of, everything, hostile

_TAGS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "section", "details", "summary", "pre", "p"),
    *("code", "b", "span", "div", "dl", "dt", "dd", "table", "tr", "th", "td", "bdi"),
}
_ATTRIBUTES = {"class", "charset", "name", "content", "http-equiv", "lang", "open"}


class Read(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, written: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.said: list[str] = []
        self.styles: list[str] = []
        self.feed(written)
        self.close()

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(name)
        self.attributes |= {key for key, _ in attributes}
        if name != "meta":
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        (self.styles if self.open and self.open[-1] == "style" else self.said).append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")


def shown(text: str) -> str:
    """Control characters are shown as their pictures, marks of direction by name."""
    return "".join(map(_shown, text))


def _shown(c: str) -> str:
    if c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069":
        return f"[U+{ord(c):04X}]"
    if c == "\x7f":
        return "\u2421"
    return chr(0x2400 + ord(c)) if c < " " and c not in "\t\n\r" else c


def test_hostile_texts_stay_texts() -> None:
    read = Read(page(audit_of(everything(hostile))))
    assert read.open == []
    assert read.tags <= _TAGS
    assert read.attributes <= _ATTRIBUTES
    said = "".join(read.said)
    for text in HOSTILE:
        assert shown(text) in said
    assert len(read.styles) == 1


def test_nothing_is_loaded_from_anywhere() -> None:
    written = page(audit_of(everything()))
    for word in ("http://", "https://", "url(", "@import", "<script", "<link", "<iframe", " src="):
        assert word not in written
    assert "default-src &#x27;none&#x27;" in written


def test_it_tells_what_the_audit_tells() -> None:
    said = " ".join("".join(Read(page(audit_of(everything()))).said).split())
    for words in (
        "lost in a crash",
        "crashes survived",
        "Left out: 2 items by auto, because max_prompt_tokens is 50",
        "Not sent: reasoning (2 in 14 to 30 of thread_1): words 13",
        "Started 2 times, with the key key a",
        "Settled by words 11: happened.",
        "not proven: the model was shown 1 items and 7 of them can be found",
        "rate_limit: words 3; asked to wait 1.5 s",
        "Reasoned: 1 blocks",
        "0.0009 USD, 1 unpriced, 1 of unknown cost",
        "100 input at 2.5 for 1000000; 20 output at 10 for 1000000; gpt-4o of openai in genai-prices/1",
    ):
        assert words in said, words


@given(st.text())
def test_any_text_can_be_read_back(text: str) -> None:
    read = Read(tag("p", text, lang=text))
    assert read.tags == {"p"}
    assert "".join(read.said).replace("\r", "") == shown(text).replace("\r", "")
    assert escaped(text) == escaped(text)
