"""How many tokens a request will take, before it is sent.

Two answers: the most it can take (budgets reserve that, so that parallel calls never overshoot a cap), which is certain
and so far above the truth for most texts, and what it is expected to take (rate limits reserve that, so that the limit
is used), which is learned from the usage that comes back.
"""

import json
from math import ceil
from typing import Any, NamedTuple

from metaspo.backends import Request, Usage

TOKENS_PER_CHAR = 0.25  # the usual rule of thumb, until answers tell better
TEMPLATE_TOKENS = 256  # a chat template's own words, per request: some bring a system prompt of their own ...
MESSAGE_TOKENS = 8  # ... and per message
LEARNING_RATE = 0.05
LONGEST_ANSWER = 131_072  # of a request that sets no limit: no model known gives more ...
USUAL_ANSWER = 1_024  # ... and until answers tell better it gives so much
IMAGE_BYTES = 50_000  # as many tokens as the dearest picture takes; what is sent whole has more bytes than tokens
IMAGE_CHARS = 4_000
READ_CHARS = 64  # of a prompt, about 16 tokens, are read at least as fast as one token is written


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

    @property
    def usual_limit(self) -> int:
        """Tokens that an answer is measured by: its limit, or what is usual where it has none."""
        return self.max_tokens if self.max_tokens < LONGEST_ANSWER else USUAL_ANSWER

    def declared(self) -> tuple[int, ...]:
        """What providers may count that count before it is answered: an estimate of the prompt and the answer's limit,
        both or the larger one. Nothing where it has no limit."""
        if self.max_tokens >= LONGEST_ANSWER:
            return ()
        prompt = ceil(self.chars * TOKENS_PER_CHAR)
        return prompt + self.max_tokens, max(prompt, self.max_tokens)

    @property
    def longest(self) -> int:
        """How long it can take, in tokens written one after the other."""
        return self.usual_limit + self.chars // READ_CHARS


def size_of(request: Request) -> Size:
    """Measure a request; O(1) for texts that are plain ASCII."""
    chars = wide = 0
    for message in request.messages:
        content = message.content
        chars += len(content)
        if not content.isascii():
            wide += _bytes(content) - len(content)
        if message.extra:
            images = _images(message.extra)
            wide += _bytes(message.extra) + (IMAGE_BYTES - IMAGE_CHARS) * images
            chars += IMAGE_CHARS * images
    extra = request.sampling.extra
    others = _bytes(request.response_format) + _bytes(extra)
    limit = request.sampling.max_tokens
    if request.path:
        chars, limit = len(extra), _longest_raw_answer(request)
        others -= chars  # which the body's letters are counted with already
    return Size(chars, chars + wide + others, len(request.messages), LONGEST_ANSWER if limit is None else limit)


def _images(extra: str) -> int:
    """How many parts of a message are no text."""
    content = _table(extra).get("content")
    parts = content if isinstance(content, list) else []
    return sum(not (isinstance(part, dict) and part.get("type") == "text") for part in parts)


def _longest_raw_answer(request: Request) -> int:
    """Tokens of all answers to a request with a path together, at most."""
    body = _table(request.sampling.extra)
    if request.path == "embeddings":
        return 0
    limits = [body.get(name) for name in ("max_tokens", "max_output_tokens")]
    limit = next((limit for limit in limits if isinstance(limit, int)), LONGEST_ANSWER)
    prompts = body.get("prompt")
    several = len(prompts) if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int) else 1
    times = [body.get("n"), body.get("best_of")]
    return limit * max([1, *(n for n in times if isinstance(n, int))]) * several


def _table(text: str) -> dict[str, Any]:
    """A JSON object; {} for what is none, which is for others to complain of."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


class TokenEstimator:
    """Learns one lane's tokens per character and length of answers, and what its chat template adds to a prompt."""

    __slots__ = ("_answer_share", "_beyond", "_ratio", "_seen", "_template")

    def __init__(self) -> None:
        self._ratio = TOKENS_PER_CHAR
        self._template = TEMPLATE_TOKENS
        self._beyond = 0
        self._answer_share = 1.0
        self._seen = 0

    def __repr__(self) -> str:
        share = self._answer_share
        return f"<TokenEstimator tokens_per_char={self._ratio:.3f} answer={share:.0%} of max_tokens seen={self._seen}>"

    @property
    def seen(self) -> int:
        """Answers, so far."""
        return self._seen

    def upper_bound(self, size: Size) -> tuple[int, int]:
        """Upper bounds of prompt and completion tokens.

        A token stands for at least one byte, so the bytes and the template's own tokens bound the prompt. Nothing seen
        in other answers makes this closer: the next text may be in another script. A template found to be longer than
        thought makes it wider, and so does an answer beyond its limit: some providers count no reasoning within it.
        """
        return size.bytes + self._template + MESSAGE_TOKENS * size.messages, size.max_tokens + self._beyond

    def expected(self, size: Size) -> int:
        """Prompt and completion tokens together, as such requests have taken so far (at first: all of `max_tokens`)."""
        return round(size.chars * self._ratio + size.usual_limit * self._answer_share) or 1

    def observe(self, size: Size, usage: Usage) -> None:
        """Learn from an answer."""
        self._seen += 1
        rate = max(LEARNING_RATE, 1 / self._seen)
        if size.chars:
            ratio = usage.prompt_tokens / size.chars
            self._ratio += rate * (ratio - self._ratio)
        self._answer_share += rate * (usage.completion_tokens / max(size.usual_limit, 1) - self._answer_share)
        self._template = max(self._template, usage.prompt_tokens - size.bytes - MESSAGE_TOKENS * size.messages)
        self._beyond = max(self._beyond, usage.completion_tokens - size.max_tokens)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
