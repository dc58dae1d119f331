"""Readings of kinds and shapes that are no longer written.

An upcaster takes the stored JSON object of an old shape and gives today's. `UPCASTERS` is by kind; the codec
asks it before it decodes. There is none yet: this is the first shape of every kind.
"""

from __future__ import annotations

from collections.abc import Callable

from clew.events.content import JsonObject

UPCASTERS: dict[str, Callable[[JsonObject], JsonObject]] = {}
