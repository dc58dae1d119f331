"""The facts: everything that can happen, one file a stream category.

Importing this package registers every kind.
"""

from __future__ import annotations

from typing import TypeAlias

from clew.events.assistant import AssistantEvent
from clew.events.base import Event, Recorded
from clew.events.budget import BudgetEvent
from clew.events.file import FileEvent
from clew.events.key import KeyEvent
from clew.events.message import MessageEvent
from clew.events.model import ModelEvent
from clew.events.run import RunEvent
from clew.events.thread import ThreadEvent
from clew.events.tool import ToolEvent

ThreadStreamEvent: TypeAlias = ThreadEvent | MessageEvent | RunEvent | ModelEvent | ToolEvent

__all__ = [
    "AssistantEvent",
    "BudgetEvent",
    "Event",
    "FileEvent",
    "KeyEvent",
    "MessageEvent",
    "ModelEvent",
    "Recorded",
    "RunEvent",
    "ThreadEvent",
    "ThreadStreamEvent",
    "ToolEvent",
]
