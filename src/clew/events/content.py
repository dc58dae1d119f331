"""What messages are made of, in no provider's shape.

Tool calls, tool results and reasoning are items of their own and not content. A part that no class here
models is kept byte for byte in `Other`, so that nothing a provider sent is lost.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, JsonValue

from clew.events.base import Value
from clew.exact_json import ExactObject

Metadata: TypeAlias = dict[str, str]
# Numbers in it are as they were written: see `clew.exact_json`.
JsonObject: TypeAlias = Annotated[dict[str, JsonValue], ExactObject()]


class Text(Value):
    type: Literal["text"]
    text: str
    annotations: tuple[JsonObject, ...] = ()


class Image(Value):
    """By `url`, by the id of an uploaded file, or inline: one of the three."""

    type: Literal["image"]
    url: str | None = None
    file_id: str | None = None
    data: str | None = None
    media_type: str | None = None
    detail: str | None = None


class File(Value):
    type: Literal["file"]
    file_id: str | None = None
    data: str | None = None
    media_type: str | None = None
    filename: str | None = None


class Refusal(Value):
    """The model declined; `text` is how it put that."""

    type: Literal["refusal"]
    text: str


class Other(Value):
    """`block` is the provider's JSON as it came."""

    type: Literal["other"]
    provider: str
    block: str


Part: TypeAlias = Annotated[Text | Image | File | Refusal | Other, Field(discriminator="type")]
Content: TypeAlias = tuple[Part, ...]


def text(value: str) -> Content:
    """Content that is one piece of text."""
    return (Text(type="text", text=value),)


def plain_text(content: Content) -> str:
    """The text of `content`, without what is not text."""
    return "".join(part.text for part in content if isinstance(part, Text))


class Tokens(Value):
    """How many tokens an item has, counted once when it is appended. `exact` is false for an estimate."""

    encoding: str
    count: int
    exact: bool


class Attachment(Value):
    file_id: str
    tools: tuple[str, ...] = ()
