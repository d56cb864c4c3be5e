"""How many tokens a request will take, before it is sent.

Two answers: the most it can take (budgets reserve that, so that parallel calls never overshoot a cap) and what it is
expected to take (rate limits reserve that, so that the limit is used), both learned from the usage that comes back.
"""

from dataclasses import dataclass
from math import ceil

from metaspo.backends import Request, Usage

TOKENS_PER_CHAR = 0.25  # the usual rule of thumb, until answers tell better
TEMPLATE_TOKENS = 32  # a chat template's own words, per request ...
MESSAGE_TOKENS = 8  # ... and per message
TRUST_AFTER = 16  # answers seen before the learned bound replaces the certain one
MARGIN = 1.25  # over the largest ratio seen
LEARNING_RATE = 0.05


@dataclass(frozen=True, slots=True)
class Size:
    """How long a request's prompt is, and how long its answer may be (tokens)."""

    chars: int
    bytes: int
    messages: int
    max_tokens: int


def size_of(request: Request) -> Size:
    """Measure a request; O(1) for texts that are plain ASCII."""
    chars = bytes_ = 0
    for message in request.messages:
        content = message.content
        chars += len(content)
        bytes_ += len(content) if content.isascii() else len(content.encode("utf-8", "surrogatepass"))
    return Size(chars, bytes_, len(request.messages), request.sampling.max_tokens)


class TokenEstimator:
    """Learns one lane's tokens per character and length of answers."""

    __slots__ = ("_answer_share", "_highest", "_ratio", "_seen")

    def __init__(self) -> None:
        self._ratio = TOKENS_PER_CHAR
        self._highest = 0.0
        self._answer_share = 1.0
        self._seen = 0

    def __repr__(self) -> str:
        share = self._answer_share
        return f"<TokenEstimator tokens_per_char={self._ratio:.3f} answer={share:.0%} of max_tokens seen={self._seen}>"

    def most(self, size: Size) -> tuple[int, int]:
        """Upper bounds of prompt and completion tokens.

        A token stands for at least one byte, so the bytes bound the prompt; once enough answers were seen, the largest
        ratio among them, with a margin, bounds it more closely.
        """
        tokens = size.bytes
        if self._seen >= TRUST_AFTER:
            tokens = min(tokens, ceil(size.chars * self._highest * MARGIN))
        return tokens + self._overhead(size), size.max_tokens

    def expected(self, size: Size) -> int:
        """Prompt and completion tokens together, as such requests have taken so far (at first: all of `max_tokens`)."""
        return max(1, round(size.chars * self._ratio + size.max_tokens * self._answer_share))

    def observe(self, size: Size, usage: Usage) -> None:
        """Learn from an answer."""
        self._seen += 1
        rate = max(LEARNING_RATE, 1 / self._seen)
        if size.chars:
            ratio = usage.prompt_tokens / size.chars
            self._ratio += rate * (ratio - self._ratio)
            bare = (usage.prompt_tokens - self._overhead(size)) / size.chars
            self._highest = max(self._highest, bare)
        self._answer_share += rate * (usage.completion_tokens / max(size.max_tokens, 1) - self._answer_share)

    @staticmethod
    def _overhead(size: Size) -> int:
        return TEMPLATE_TOKENS + MESSAGE_TOKENS * size.messages
