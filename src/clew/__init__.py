"""Clew keeps the conversation threads of LLM agents as events, and derives everything else from them.

async with clew.open("threads.db") as engine: ...
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clew.engine.forking import Answer, Drop, Insert, Replace, Say
    from clew.engine.otherwise import Changes
    from clew.engine.tools import ServerTool, ToolCallInfo, tool
    from clew.wiring import open

_HOMES = {
    "Answer": "clew.engine.forking",
    "Changes": "clew.engine.otherwise",
    "Drop": "clew.engine.forking",
    "Insert": "clew.engine.forking",
    "Replace": "clew.engine.forking",
    "Say": "clew.engine.forking",
    "ServerTool": "clew.engine.tools",
    "ToolCallInfo": "clew.engine.tools",
    "open": "clew.wiring",
    "tool": "clew.engine.tools",
}

__all__ = [
    "Answer",
    "Changes",
    "Drop",
    "Insert",
    "Replace",
    "Say",
    "ServerTool",
    "ToolCallInfo",
    "open",
    "tool",
]


def __getattr__(name: str) -> Any:
    """Loads what is asked for and no more: most of this package is imported piece by piece."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'clew' has no attribute {name!r}")
