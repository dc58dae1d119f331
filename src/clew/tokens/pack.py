"""Pack original rank files: `python -m clew.tokens.pack o200k_base.tiktoken cl100k_base.tiktoken`.

A tool for maintainers. It accepts only files with the checksums in encodings.py and writes beside this file.
"""

from __future__ import annotations

import hashlib
import lzma
import sys
from base64 import b64decode
from pathlib import Path

from clew.tokens.encodings import RANKS


def pack(original: bytes) -> bytes:
    """The packed form of an original rank file, whose lines are a token in base64 and its rank."""
    lines = [line.split() for line in original.splitlines()]
    tokens = [b64decode(token) for token, _ in lines]
    if [int(rank) for _, rank in lines] != list(range(len(lines))):
        raise ValueError("ranks must be the numbers of their lines")
    if not all(0 < len(token) < 256 for token in tokens):
        raise ValueError("every token must be 1 to 255 bytes long")
    columns = bytes(map(len, tokens)) + b"\0" + b"".join(tokens)
    # Tokens have no alignment, so the preceding bytes predict better than the position does.
    lzma2 = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 4, "lp": 0, "pb": 0}
    return lzma.compress(columns, check=lzma.CHECK_SHA256, filters=[lzma2])


def main(paths: list[str]) -> None:
    """Pack each file under the name it came with."""
    for path in map(Path, paths):
        name, original = path.stem, path.read_bytes()
        if name not in RANKS or hashlib.sha256(original).hexdigest() != RANKS[name].sha256:
            sys.exit(f"{path} has no name or no checksum that encodings.py knows")
        target = Path(__file__).with_name(f"{name}.bin.xz")
        print(target, target.write_bytes(pack(original)))


if __name__ == "__main__":
    main(sys.argv[1:])
