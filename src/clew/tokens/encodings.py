"""The encodings, built from ranks that are part of the package.

tiktoken would download its ranks and keep them in a cache directory. Ours come with the code: no network, and the
same counts everywhere. Where an operator keeps such a directory, TIKTOKEN_CACHE_DIR, the ranks are read from there if
they are what was published, and nothing is ever written to it. Ours are packed as one byte a token for its length, a
zero, and then all tokens' bytes, in xz, whose SHA-256 check refuses a damaged file. A token's rank is its place.
NOTICE.md says where the ranks come from, and pack.py packs them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiktoken import Encoding


@dataclass(frozen=True, slots=True)
class Ranks:
    """A rank file: the checksum of the original, and the pattern that cuts a text into words for it.

    `cached_as` is what tiktoken calls it in its directory.
    """

    sha256: str
    cached_as: str
    pattern: str


# The patterns are those of tiktoken 0.14, where they cannot be had without loading the ranks through its
# downloader. An encoding never changes once published, and a test compares them with the tiktoken installed.
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"

RANKS = {
    "o200k_base": Ranks(
        sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        cached_as="fb374d419588a4632f3f557e76b4b70aebbca790",
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
        cached_as="9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
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

logger = logging.getLogger(__name__)

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
    """Every token of the ranks, the lowest rank first: the operator's, if they are there, else those packed."""
    original = _in_cache(RANKS[name])
    if original is not None:
        from base64 import b64decode

        return (b64decode(line.partition(b" ")[0]) for line in original.splitlines())
    return packed(name)


def _in_cache(ranks: Ranks) -> bytes | None:
    folder = os.environ.get("TIKTOKEN_CACHE_DIR")
    if not folder:
        return None
    path = Path(folder, ranks.cached_as)
    try:
        original = path.read_bytes()
    except OSError:
        # Not there, as a rule. What cannot be read is as good as not there: the same ranks come with the code.
        return None
    if hashlib.sha256(original).hexdigest() != ranks.sha256:
        logger.warning("%s is not what was published, so the ranks that come with Clew are used", path)
        return None
    return original


def packed(name: str) -> Iterator[bytes]:
    """Every token of the packed ranks, the lowest rank first."""
    import lzma
    from importlib.resources import files

    carried = files("clew.tokens").joinpath(f"{name}.bin.xz").read_bytes()
    lengths, _, joined = lzma.decompress(carried).partition(b"\0")
    return (joined[start:end] for start, end in pairwise(accumulate(lengths, initial=0)))
