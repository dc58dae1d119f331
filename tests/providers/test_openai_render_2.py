"""`openai-chat/2`: all of the sampling is said, and where there is nothing more to say nothing changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from clew.events.run import Sampling
from clew.providers import openai_render
from clew.providers.base import Prompt
from clew.providers.openai_render_2 import RENDERER, render
from clew.providers.renderers import RENDERERS, omitted
from tests.providers.test_openai_render import EVERYTHING, config, message

RECORDED = Path(__file__).parent / "recorded/openai-chat-2.json"
SAMPLING = Sampling(temperature=0.5, seed=7, stop=("END", "STOP"), presence_penalty=0.25, frequency_penalty=-1)
SAID = {"temperature": 0.5, "seed": 7, "stop": ["END", "STOP"], "presence_penalty": 0.25, "frequency_penalty": -1.0}


def with_sampling(prompt: Prompt, **more: Any) -> Prompt:
    return replace(prompt, config=prompt.config.model_copy(update={"sampling": SAMPLING, **more}))


def test_the_bytes_of_a_request_never_change() -> None:
    assert RENDERER == "openai-chat/2"
    assert render(with_sampling(EVERYTHING)) == RECORDED.read_bytes()
    assert RENDERERS["openai-chat/2"] is render


def test_without_more_to_say_the_bytes_are_those_of_the_first_version() -> None:
    assert render(EVERYTHING) == openai_render.render(EVERYTHING)


@pytest.mark.parametrize("stream", [True, False])
def test_what_is_said_stands_before_what_asks_for_a_stream(stream: bool) -> None:
    plain = Prompt(config(), [message("user", "Hi")])
    for prompt in (with_sampling(EVERYTHING, stream=stream), with_sampling(plain, stream=stream)):
        body = render(prompt)
        assert orjson.loads(body) == {**orjson.loads(openai_render.render(prompt)), **SAID}
        assert openai_render.asks_for_stream(body) == stream


def test_the_manifest_has_nothing_to_say_of_sampling() -> None:
    prompt = with_sampling(EVERYTHING)
    assert {"seed", "stop"} <= {one.what for one in omitted("openai-chat/1", prompt)}
    assert [one.what for one in omitted("openai-chat/2", prompt)] == [
        one.what for one in omitted("openai-chat/1", EVERYTHING)
    ]
