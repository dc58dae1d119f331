"""A program of its own that writes to a log, for tests that hold a file or kill whoever writes to it.

`hold PATH` opens the log, says `open`, and holds it until its input ends. `append PATH` appends for ever and says
`stream version position` after each acknowledgement.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from clew.log import Log, open_store
from tests.log.stores import said

_STREAMS = 6


def start(mode: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.log.appender", mode, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )


async def _append(log: Log, stream: str) -> None:
    with log.reading() as reader:
        version = reader.version(stream)
    while True:
        done = await log.append(stream, [said(f"{version + n + 1}") for n in range(1 + version % 3)], after=version)
        version = done.events[-1].version
        print(stream, version, done.events[-1].position, flush=True)


async def _append_for_ever(log: Log) -> None:
    await asyncio.gather(*(_append(log, f"thread-{number}") for number in range(_STREAMS)))


def main() -> None:
    mode, path = sys.argv[1:]
    log = Log(open_store(path))
    print("open", flush=True)
    if mode == "append":
        asyncio.run(_append_for_ever(log))
    sys.stdin.read()
    log.close()


if __name__ == "__main__":
    main()
