"""How many tokens a request will take, before it is sent.

Two answers: the most it can take (budgets reserve that, so that parallel calls never overshoot a cap), which is certain
and so far above the truth for most texts, and what it is expected to take (rate limits reserve that, so that the limit
is used), which is learned from the usage that comes back.
"""

from typing import NamedTuple

from metaspo.backends import Request, Usage

TOKENS_PER_CHAR = 0.25  # the usual rule of thumb, until answers tell better
TEMPLATE_TOKENS = 256  # a chat template's own words, per request: some bring a system prompt of their own ...
MESSAGE_TOKENS = 8  # ... and per message
LEARNING_RATE = 0.05


class Size(NamedTuple):
    """How long a request's prompt is, and how long its answer may be (tokens).

    Attributes:
        chars: of the messages.
        bytes: in UTF-8, of all that may become part of the prompt: messages, response format, extra fields.
    """

    chars: int
    bytes: int
    messages: int
    max_tokens: int


def size_of(request: Request) -> Size:
    """Measure a request; O(1) for texts that are plain ASCII."""
    chars = wide = 0
    for message in request.messages:
        content = message.content
        chars += len(content)
        if not content.isascii():
            wide += _bytes(content) - len(content)
    others = _bytes(request.response_format) + _bytes(request.sampling.extra)
    return Size(chars, chars + wide + others, len(request.messages), request.sampling.max_tokens)


class TokenEstimator:
    """Learns one lane's tokens per character and length of answers, and what its chat template adds to a prompt."""

    __slots__ = ("_answer_share", "_ratio", "_seen", "_template")

    def __init__(self) -> None:
        self._ratio = TOKENS_PER_CHAR
        self._template = TEMPLATE_TOKENS
        self._answer_share = 1.0
        self._seen = 0

    def __repr__(self) -> str:
        share = self._answer_share
        return f"<TokenEstimator tokens_per_char={self._ratio:.3f} answer={share:.0%} of max_tokens seen={self._seen}>"

    def upper_bound(self, size: Size) -> tuple[int, int]:
        """Upper bounds of prompt and completion tokens.

        A token stands for at least one byte, so the bytes and the template's own tokens bound the prompt. Nothing seen
        in other answers makes this closer: the next text may be in another script. A template found to be longer than
        thought makes it wider.
        """
        return size.bytes + self._template + MESSAGE_TOKENS * size.messages, size.max_tokens

    def expected(self, size: Size) -> int:
        """Prompt and completion tokens together, as such requests have taken so far (at first: all of `max_tokens`)."""
        return round(size.chars * self._ratio + size.max_tokens * self._answer_share) or 1

    def observe(self, size: Size, usage: Usage) -> None:
        """Learn from an answer."""
        self._seen += 1
        rate = max(LEARNING_RATE, 1 / self._seen)
        if size.chars:
            ratio = usage.prompt_tokens / size.chars
            self._ratio += rate * (ratio - self._ratio)
        self._answer_share += rate * (usage.completion_tokens / max(size.max_tokens, 1) - self._answer_share)
        self._template = max(self._template, usage.prompt_tokens - size.bytes - MESSAGE_TOKENS * size.messages)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
