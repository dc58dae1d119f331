"""What servers that count in their own ways send, and for each an invoice that was worked by hand.

Prices are dollars for a million tokens, as the providers list them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.providers.kinds import ANTHROPIC, block, delta, message, start, stopped
from tests.rigs.raw_server import Reply, json_reply, stream

PRICES = """
[[price]]
model = "kimi-k2.5"
input = 0.60
cache_read = 0.10
output = 3

[[price]]
model = "llama-3.3-70b-versatile"
input = 0.59
output = 0.79

[[price]]
model = "grok-4"
input = 3
cache_read = 0.75
output = 15

[[price]]
model = "gemini-2.5-flash"
input = 0.30
cache_read = 0.03
output = 2.50

[[price]]
model = "deepseek-chat"
input = 0.27
cache_read = 0.07
output = 1.10

[[price]]
model = "claude-opus-5-5"
input = 4
cache_read = 0.20
cache_write = 5
cache_write_1h = 8
output = 20

[[price]]
model = "mistral-large-4"
input = 0.70
cache_read = 0.07
output = 2.10
"""


def chat(*chunks: dict[str, Any]) -> Callable[[bool], Reply]:
    """A server of chat completions: as a stream, "Hello" and then these; at once, an answer with all of them in it."""

    def replied(streams: bool) -> Reply:
        if streams:
            said = [{"id": "1", "choices": [{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}]}]
            return stream(*said, *({"id": "1", "choices": [], **one} for one in chunks))
        # Of what a stream says twice the first counts here.
        whole = {name: value for one in reversed(chunks) for name, value in one.items() if name != "choices"}
        choice = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
        for one in chunks:
            for said in one.get("choices", ()):
                choice |= {name: value for name, value in said.items() if name not in ("delta", "index")}
        return json_reply({"id": "1", **whole, "choices": [choice]})

    return replied


def end(**more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", **more}]}


def messages(first: dict[str, Any], *later: dict[str, Any]) -> Callable[[bool], Reply]:
    """Anthropic: what it counts at the beginning, and what each delta of the message counts."""

    def replied(streams: bool) -> Reply:
        if not streams:
            usage = dict(first)
            for one in later:
                usage |= {name: value for name, value in one.items() if value}
            return json_reply(message({"type": "text", "text": "Hello"}, usage=usage))
        begun = start()
        begun["message"]["usage"] = first
        deltas = [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": one} for one in later]
        said = (block(0, type="text", text=""), delta(0, "text", text="Hello"), stopped(0))
        return ANTHROPIC.streamed(begun, *said, *deltas, {"type": "message_stop"})

    return replied


@dataclass(frozen=True)
class Invoice:
    """`counts` are input, of which cached, of which written to the cache; output, of which reasoning."""

    model: str
    replied: Callable[[bool], Reply]
    counts: tuple[int, int, int, int, int]
    amount: str
    provider: str = "openai"


INVOICES = {
    # https://platform.moonshot.ai/docs/api/chat: the usage stands in the choice.
    #     600 fresh at 0.60 = 0.00036, 400 cached at 0.10 = 0.00004, 200 of output at 3 = 0.0006
    "moonshot": Invoice(
        "kimi-k2.5",
        chat(end(usage={"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200, "cached_tokens": 400})),
        (1000, 400, 0, 200, 0),
        "0.001",
    ),
    # https://console.groq.com/docs/api-reference: in a member of its own, in the last chunk.
    #     1,000 at 0.59 = 0.00059, 100 at 0.79 = 0.000079
    "groq": Invoice(
        "llama-3.3-70b-versatile",
        chat(
            end()
            | {
                "x_groq": {
                    "id": "req_1",
                    "usage": {
                        "queue_time": 0.037,
                        "prompt_tokens": 1000,
                        "prompt_time": 0.001,
                        "completion_tokens": 100,
                        "completion_time": 0.24,
                        "total_tokens": 1100,
                        "total_time": 0.241,
                    },
                }
            }
        ),
        (1000, 0, 0, 100, 0),
        "0.000669",
    ),
    # https://docs.x.ai/docs/guides/reasoning: reasoning is in the total, and not in the completion.
    #     10,120 - 128 = 9,992 fresh at 3 = 0.029976, 128 cached at 0.75 = 0.000096,
    #     14,428 - 10,120 = 4,308 of output at 15 = 0.06462
    "xai": Invoice(
        "grok-4",
        chat(
            end(),
            {
                "usage": {
                    "prompt_tokens": 10120,
                    "completion_tokens": 1499,
                    "total_tokens": 14428,
                    "prompt_tokens_details": {"text_tokens": 10120, "cached_tokens": 128},
                    "completion_tokens_details": {"reasoning_tokens": 2809},
                }
            },
        ),
        (10120, 128, 0, 4308, 2809),
        "0.094692",
    ),
    # The same without a total: what is reasoned beyond the completion is output all the same.
    #     1,000 at 3 = 0.003, 50 + 400 at 15 = 0.00675
    "xai without a total": Invoice(
        "grok-4",
        chat(
            end(),
            {
                "usage": {
                    "prompt_tokens": 1000,
                    "completion_tokens": 50,
                    "completion_tokens_details": {"reasoning_tokens": 400},
                }
            },
        ),
        (1000, 0, 0, 450, 400),
        "0.00975",
    ),
    # More was cached than the prompt has: it is counted beside it.
    #     100 fresh at 3 = 0.0003, 4,000 cached at 0.75 = 0.003, 10 at 15 = 0.00015
    "xai with more cached than the prompt has": Invoice(
        "grok-4",
        chat(
            end(),
            {
                "usage": {
                    "prompt_tokens": 100,
                    "completion_tokens": 10,
                    "total_tokens": 110,
                    "prompt_tokens_details": {"cached_tokens": 4000},
                }
            },
        ),
        (4100, 4000, 0, 10, 0),
        "0.00345",
    ),
    # Gemini's endpoint in OpenAI's format: thoughts are in the total only.
    #     1,000 at 0.30 = 0.0003, 1,250 - 1,000 = 250 at 2.50 = 0.000625
    "gemini": Invoice(
        "gemini-2.5-flash",
        chat(end(), {"usage": {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1250}}),
        (1000, 0, 0, 250, 0),
        "0.000925",
    ),
    # https://api-docs.deepseek.com/guides/kv_cache
    #     400 missed at 0.27 = 0.000108, 600 hit at 0.07 = 0.000042, 100 at 1.10 = 0.00011
    "deepseek": Invoice(
        "deepseek-chat",
        chat(
            end(),
            {
                "usage": {
                    "prompt_tokens": 1000,
                    "completion_tokens": 100,
                    "total_tokens": 1100,
                    "prompt_cache_hit_tokens": 600,
                    "prompt_cache_miss_tokens": 400,
                    "completion_tokens_details": {"reasoning_tokens": 60},
                }
            },
        ),
        (1000, 600, 0, 100, 60),
        "0.00026",
    ),
    # Numbers, and then an object without any, zeros, nulls.
    "an empty usage at the end": Invoice(
        "deepseek-chat",
        chat(
            end(),
            {"usage": {"prompt_tokens": 1000, "completion_tokens": 100, "prompt_cache_hit_tokens": 600}},
            {"usage": {}},
            {"usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0, "prompt_cache_hit_tokens": 0}},
            {"usage": {"prompt_tokens": None, "completion_tokens": None}},
            {"usage": None},
        ),
        (1000, 600, 0, 100, 0),
        "0.00026",
    ),
    "numbers as text": Invoice(
        "deepseek-chat",
        chat(
            end(),
            {"usage": {"prompt_tokens": "1000", "completion_tokens": "100", "prompt_cache_hit_tokens": "600"}},
        ),
        (1000, 600, 0, 100, 0),
        "0.00026",
    ),
    "numbers with a point": Invoice(
        "deepseek-chat",
        chat(end(), {"usage": {"prompt_tokens": 1000.0, "completion_tokens": 100.0, "cached_tokens": 6e2}}),
        (1000, 600, 0, 100, 0),
        "0.00026",
    ),
    # A gateway that passes Anthropic's numbers on, where the input leaves out the cache.
    #     10 at 4 = 0.00004, 1,000 read at 0.20 = 0.0002, 100 written at 5 = 0.0005, 5 at 20 = 0.0001
    "a gateway in front of anthropic": Invoice(
        "claude-opus-5-5",
        chat(
            end(),
            {
                "usage": {
                    "input_tokens": 10,
                    "output_tokens": 5,
                    "cache_read_input_tokens": 1000,
                    "cache_creation_input_tokens": 100,
                }
            },
        ),
        (1110, 1000, 100, 5, 0),
        "0.00084",
    ),
    "anthropic, and zeros at the end": Invoice(
        "claude-opus-5-5",
        messages(
            {
                "input_tokens": 10,
                "output_tokens": 1,
                "cache_read_input_tokens": 1000,
                "cache_creation_input_tokens": 100,
            },
            {
                "input_tokens": 0,
                "output_tokens": 5,
                "cache_read_input_tokens": 0,
                "cache_creation_input_tokens": 0,
            },
        ),
        (1110, 1000, 100, 5, 0),
        "0.00084",
        "anthropic",
    ),
    "anthropic, with numbers as text and nothing at the end": Invoice(
        "claude-opus-5-5",
        messages(
            {
                "input_tokens": "10",
                "output_tokens": 1,
                "cache_read_input_tokens": "1000",
                "cache_creation_input_tokens": "100",
            },
            {"output_tokens": "5"},
            {"output_tokens": 0},
            {},
        ),
        (1110, 1000, 100, 5, 0),
        "0.00084",
        "anthropic",
    ),
    #     600 at 0.70 = 0.00042, 400 at 0.07 = 0.000028, 200 at 2.10 = 0.00042
    "mistral": Invoice(
        "mistral-large-4",
        chat(
            end(usage={"prompt_tokens": "1000", "completion_tokens": 200, "num_cached_tokens": 400}),
            {"usage": {"prompt_tokens": 0, "completion_tokens": 0}},
        ),
        (1000, 400, 0, 200, 0),
        "0.000868",
        "mistral",
    ),
}
