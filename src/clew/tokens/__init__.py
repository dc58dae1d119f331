"""Counting tokens, offline.

A count says which encoding it was made with and whether it is exact. It is exact when the model is known to
use that encoding; for every other model it is an estimate and says so. Exact means the tokens of the text
itself: what a provider bills also holds its chat framing, tools and images, and comes from its own report.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from clew.tokens.encodings import RANKS, encoder, ranks_of

__all__ = ["Count", "count_text", "encoding_name_for", "warm"]

ENCODING_OF_UNKNOWN_MODELS = "o200k_base"

# tiktoken panics on a million spaces in a row, because its regular expression runs out of stack. A tenth of
# that is out of danger, and is longer than nearly every message.
CHUNK_CHARS_MAX = 100_000

# Model names come from clients, so the number of names remembered needs a limit.
MODELS_REMEMBERED_MAX = 1024

# Matches up to the last place where a text may be cut without changing its tokens, because both encodings
# begin a new word there whatever stands around it: a space after something that is not white space, a line
# break before something that is neither white space nor a slash, and the end of an ASCII word or number
# unless an apostrophe follows, which may be a contraction.
_SAFE_CUT = re.compile(r"(?s:.+)(?:(?<=\S)(?= )|(?<=\n)(?=[^\s/])|(?<=[A-Za-z0-9])(?=[\t\n\r -&(-/:-@\[-`{-~]))")


@dataclass(frozen=True, slots=True)
class Count:
    """How many tokens a text has, and how far that number may be trusted."""

    encoding: str
    count: int
    exact: bool


@lru_cache(maxsize=MODELS_REMEMBERED_MAX)
def encoding_name_for(model: str) -> tuple[str, bool]:
    """The name of the encoding to count with, and whether the model is known to use it.

    `model` may carry its provider in front, as in `openai/gpt-4o`, and may be fine-tuned, as in
    `ft:gpt-4o:acme::1`.
    """
    import tiktoken

    name = model.rpartition("/")[2]
    if name.startswith("ft:"):
        # tiktoken's own table knows only the first fine-tuned families, and takes gpt-4.1 for a gpt-4.
        name = name.split(":")[1]
    try:
        encoding = tiktoken.encoding_name_for_model(name)
    except KeyError:
        return ENCODING_OF_UNKNOWN_MODELS, False
    if ranks_of(encoding) not in RANKS:
        # Known, but retired years ago, and its ranks are not carried along.
        return ENCODING_OF_UNKNOWN_MODELS, False
    return encoding, True


def count_text(text: str, model: str) -> Count:
    """How many tokens `text` has for `model`.

    Special tokens are counted as the ordinary text they are. Half a surrogate pair, which cannot be sent to a
    provider either, counts as the replacement character. A long text is cut where its words end; only one
    that offers no such place for CHUNK_CHARS_MAX characters loses its exactness, by a few tokens.
    """
    encoding, exact = encoding_name_for(model)
    encode = encoder(ranks_of(encoding)).encode_ordinary
    if len(text) <= CHUNK_CHARS_MAX:
        return Count(encoding, len(encode(text)), exact)
    count = start = 0
    while len(text) - start > CHUNK_CHARS_MAX:
        end = start + CHUNK_CHARS_MAX
        if safe := _SAFE_CUT.match(text, start, end):
            end = safe.end()
        else:
            exact = False
        count += len(encode(text[start:end]))
        start = end
    return Count(encoding, count + len(encode(text[start:])), exact)


def warm() -> None:
    """Load every encoding now, so that no request has to wait for it."""
    for name in RANKS:
        encoder(name)
