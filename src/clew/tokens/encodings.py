"""The encodings, built from ranks that are part of the package.

tiktoken would download its ranks and keep them in a cache directory. Ours come with the code: no network, no
directory, no environment variable, and the same counts everywhere. Ranks are packed as one byte a token for
its length, a zero, and then all tokens' bytes, in xz, whose SHA-256 check refuses a damaged file. A token's
rank is its place. NOTICE.md says where the ranks come from, and pack.py packs them.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiktoken import Encoding


@dataclass(frozen=True, slots=True)
class Ranks:
    """A rank file: the checksum of the original, and the pattern that cuts a text into words for it."""

    sha256: str
    pattern: str


# The patterns are those of tiktoken 0.14, where they cannot be had without loading the ranks through its
# downloader. An encoding never changes once published, and a test compares them with the tiktoken installed.
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"

RANKS = {
    "o200k_base": Ranks(
        sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        pattern="|".join(
            (
                rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTION}?",
                rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTION}?",
                r"\p{N}{1,3}",
                r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
                r"\s*[\r\n]+",
                r"\s+(?!\S)",
                r"\s+",
            )
        ),
    ),
    "cl100k_base": Ranks(
        sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        pattern="|".join(
            (
                r"'(?i:[sdmt]|ll|ve|re)",
                r"[^\r\n\p{L}\p{N}]?+\p{L}++",
                r"\p{N}{1,3}+",
                r" ?[^\s\p{L}\p{N}]++[\r\n]*+",
                r"\s++$",
                r"\s*[\r\n]",
                r"\s+(?!\S)",
                r"\s",
            )
        ),
    ),
}

_encoders: dict[str, Encoding] = {}
_building = threading.Lock()


def ranks_of(encoding: str) -> str:
    """The name of the ranks behind an encoding: harmony is o200k_base with more special tokens."""
    return "o200k_base" if encoding == "o200k_harmony" else encoding


def encoder(name: str) -> Encoding:
    """The encoder over the ranks of this name, built once a process.

    It has no special tokens, because nothing a user writes may be taken for one.
    """
    found = _encoders.get(name)
    if found is not None:
        return found
    import tiktoken

    with _building:
        if name not in _encoders:
            _encoders[name] = tiktoken.Encoding(
                name=name,
                pat_str=RANKS[name].pattern,
                mergeable_ranks={token: rank for rank, token in enumerate(tokens(name))},
                special_tokens={},
            )
        return _encoders[name]


def tokens(name: str) -> Iterator[bytes]:
    """Every token of the packed ranks, the lowest rank first."""
    import lzma
    from importlib.resources import files

    packed = files("clew.tokens").joinpath(f"{name}.bin.xz").read_bytes()
    lengths, _, joined = lzma.decompress(packed).partition(b"\0")
    return (joined[start:end] for start, end in pairwise(accumulate(lengths, initial=0)))
