"""Making read models anew while everything else goes on, one rebuilding at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clew.engine.engine import Engine
from clew.errors import ClewError, NotFound, Refused


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How far it is: `done` of `of` positions. `error` says why it broke off; the old rows are still there then."""

    names: tuple[str, ...] = ()
    running: bool = False
    done: int = 0
    of: int = 0
    error: str | None = None


class Rebuilding:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.newest = Rebuilt()

    def start(self, names: Sequence[str]) -> Rebuilt:
        """Begin to make these anew, all when none is named. Raises `Refused` while another one is under way."""
        known = self._engine.keeper.projections
        for name in names:
            if name not in known:
                raise NotFound(noun="projection", id=name)
        if self.newest.running:
            raise Refused(f"{', '.join(self.newest.names)} are being made anew; wait until that is done")
        chosen = tuple(names) or tuple(known)
        self.newest = Rebuilt(chosen, running=True)
        self._engine.keep(self._run(chosen))
        return self.newest

    async def _run(self, names: tuple[str, ...]) -> None:
        def advance(done: int, of: int) -> None:
            self.newest = Rebuilt(names, True, done, of)

        error = None
        try:
            await self._engine.keeper.rebuild(self._engine.log, *names, progress=advance, gently=True)
        except ClewError as failure:
            error = str(failure)
        self.newest = Rebuilt(names, False, self.newest.done, self.newest.of, error)
