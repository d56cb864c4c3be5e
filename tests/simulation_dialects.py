"""Ways in which servers say the same: whole answers, what they took, and when to come back.

What comes of an answer must not depend on its dialect: the text, the thinking apart, and what was taken.
"""

from collections.abc import Mapping
from random import Random
from typing import Any, Literal, get_args

import orjson
from simulation_world import Said

Form = Literal["parts", "no reason", "stream", "created", "odd waits"]
Thinking = Literal["none", "tags", "a closing tag", "a field"]
Count = Literal["plain", "only a total", "reasoning in the total", "texts", "none"]
THOUGHT = "yes?"  # which no label may be read out of
CHARS_A_TOKEN = 4
ODD_WAITS = ("0", "-5", "soon", "Thu, 01 Jan 1970 00:00:00 GMT")


class Dialect:
    """One server's, drawn for its lane; half of them speak plainly."""

    def __init__(self, seed: int, lane: str) -> None:
        rng = Random(f"simulation dialect {seed} {lane}")
        odd = rng.random() < 0.5
        self.forms = frozenset[Form](form for form in get_args(Form) if odd and rng.random() < 0.3)
        self.thinking: Thinking = rng.choice(get_args(Thinking)) if odd else "none"
        self.count: Count = rng.choice(get_args(Count)) if odd else "plain"

    @property
    def thinking_tokens(self) -> int:
        """Of every answer."""
        return 0 if self.thinking == "none" else len(THOUGHT) // CHARS_A_TOKEN

    @property
    def drawn(self) -> list[str]:
        """What is odd about it, for the table over many seeds."""
        odd: list[str] = sorted(self.forms)
        odd += [f"thinking in {self.thinking}"] if self.thinking != "none" else []
        return odd + ([f"usage: {self.count}"] if self.count != "plain" else [])

    def whole(self, said: Said) -> tuple[int, bytes]:
        """A whole answer, with its status."""
        spoken = bool(said.text)  # a refusal has nothing but its reason
        thinks = self.thinking if spoken else "none"
        text = said.text
        if thinks in ("tags", "a closing tag"):
            text = f"{'<think>' if thinks == 'tags' else ''}{THOUGHT}</think>\n\n{text}"
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if thinks == "a field":
            message["reasoning_content"] = THOUGHT
        if "parts" in self.forms:
            message["content"] = [{"type": "text", "text": text}]
        answer: dict[str, Any] = {"model": "simulated"}
        if usage := self._usage(said, thinks=thinks != "none"):
            answer["usage"] = usage
        mute = spoken and "no reason" in self.forms and said.finish_reason == "stop"
        reason = None if mute else said.finish_reason
        status = 201 if "created" in self.forms else 200
        if "stream" not in self.forms:
            return status, orjson.dumps({**answer, "choices": [{"message": message, "finish_reason": reason}]})
        pieces = [{"choices": [{"delta": message, "finish_reason": reason or "stop"}]}, {**answer, "choices": []}]
        return status, b"".join(b"data: %s\n\n" % orjson.dumps(piece) for piece in pieces) + b"data: [DONE]\n\n"

    def _usage(self, said: Said, *, thinks: bool) -> Mapping[str, object]:
        prompt, completion = said.usage.prompt_tokens, said.usage.completion_tokens
        match self.count:
            case "only a total":
                return {"prompt_tokens": prompt, "total_tokens": prompt + completion}
            case "reasoning in the total":
                return {"prompt_tokens": prompt, "completion_tokens": 0, "total_tokens": prompt + completion}
            case "texts":
                return {"prompt_tokens": str(prompt), "completion_tokens": f"{completion}.0"}
            case "none" if not thinks:  # else what is not said is estimated with the thinking
                return {}
        return {"prompt_tokens": prompt, "completion_tokens": completion}

    def waits(self, headers: Mapping[str, str], rng: Random) -> Mapping[str, str]:
        """When a refusal says to come back; nonsense from some."""
        return {"retry-after": rng.choice(ODD_WAITS)} if "odd waits" in self.forms else headers
