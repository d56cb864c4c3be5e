"""What a call took, from whatever a server says it took: a cap is worth what the counts are worth.

What holds of every `Usage` made here, for any JSON at all:

* No count is below what the texts themselves need: one that is missing, unreadable or impossible is estimated.
* The completion is at least the total minus the prompt: some servers count reasoning in the total alone.
* Cached tokens are part of the prompt: where they are counted beside it they are added to it.
"""

import math
from collections.abc import Mapping
from typing import Any

from metaspo.backends.base import Request, Usage
from metaspo.backends.late_patterns import late_pattern

_CHARS_PER_TOKEN = 4  # the usual rule of thumb
_MAX_CHARS_PER_TOKEN = 128  # as many as the longest tokens of any vocabulary have: fewer tokens cannot make a text
_MAX_TOKENS = 10_000_000  # far beyond any context: more is no count
_CACHED = frozenset({"prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens"})
_OF_ANTHROPIC = frozenset({"cache_read_input_tokens", "cache_creation_input_tokens"})
_COUNT = late_pattern(r"\s*(\d{1,12})(\.0*)?\s*")


def read_usage(reported: object, *, request: Request, answer: str) -> Usage:
    """The tokens of a call; `reported`: the response's `usage`, `answer`: all the text that came, also reasoning."""
    if not isinstance(reported, dict):
        return estimate_usage(request, answer)
    prompt, cached = reported.get("prompt_tokens"), 0
    completion: Any = reported.get("completion_tokens")
    total: Any = reported.get("total_tokens")
    plain = (  # what nearly every server says, and no more; every call pays for finding out
        type(prompt) is type(completion) is int
        and min(prompt, completion) >= 0
        and prompt + completion == total <= _MAX_TOKENS
        and len(reported) == (4 if reported.get("prompt_tokens_details", reported) is None else 3)
    )
    if not plain:
        prompt, cached = _prompt(reported)
        completion = _completion(reported)
        total = _count(reported.get("total_tokens"))
        if prompt is None and total is not None and 0 < completion < total:
            prompt = total - completion
    chars = 0
    for message in request.messages:
        chars += len(message.content)
    if prompt is None or prompt * _MAX_CHARS_PER_TOKEN < chars:
        prompt = max(prompt or 0, _estimated_prompt(request))
    if completion * _MAX_CHARS_PER_TOKEN < len(answer):
        completion = _estimated(answer)
    if total is not None and total - prompt > completion:
        completion = total - prompt
    return Usage(prompt, completion, min(cached, prompt) if cached else 0)


def estimate_usage(request: Request, text: str) -> Usage:
    """Usage by the rule of thumb of four characters a token, for answers that come without a count."""
    return Usage(_estimated_prompt(request), _estimated(text))


def _prompt(reported: Mapping[str, object]) -> tuple[int | None, int]:
    """Tokens of the whole prompt, None if nothing says so, and how many of them were read from a cache.

    The cases: tokens of a cache within the prompt (OpenAI, and by other names DeepSeek and Moonshot); beside it, which
    shows by there being more of them than prompt, or by Anthropic's own names. The first call only writes them.
    """
    details = reported.get("prompt_tokens_details") or reported.get("input_tokens_details")
    prompt = _count(reported.get("prompt_tokens"))
    named_as_anthropic = False
    if prompt is None:
        prompt = _count(reported.get("input_tokens"))
        named_as_anthropic = not (details or _OF_ANTHROPIC.isdisjoint(reported))
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    if cached is None:
        cached = 0 if _CACHED.isdisjoint(reported) else max([_count(reported.get(name)) or 0 for name in _CACHED])
    written = _count(reported.get("cache_creation_input_tokens")) or 0
    if prompt is not None and (cached + written > prompt or named_as_anthropic):
        prompt += cached + written
    return prompt, cached


def _completion(reported: Mapping[str, object]) -> int:
    """Tokens of the answer, with those of a reasoning that is counted beside it, not within; 0 if nothing says so."""
    completion = _count(reported.get("completion_tokens"))
    if completion is None:
        completion = _count(reported.get("output_tokens")) or 0
    details = reported.get("completion_tokens_details") or reported.get("output_tokens_details")
    holder = details if isinstance(details, dict) and "reasoning_tokens" in details else reported
    reasoning = _count(holder.get("reasoning_tokens")) or 0
    return completion + reasoning if reasoning > completion else completion


def _count(value: object) -> int | None:
    """A whole number of tokens; None for what is none, for less than 0 and for more than can be."""
    if type(value) is not int:  # `True` is no count
        if isinstance(value, float) and math.isfinite(value):
            value = math.ceil(value)
        elif isinstance(value, str) and (digits := _COUNT.fullmatch(value)):
            value = int(digits[1])
        else:
            return None
    return value if 0 <= value <= _MAX_TOKENS else None


def _estimated(text: str) -> int:
    return -(-len(text) // _CHARS_PER_TOKEN)


def _estimated_prompt(request: Request) -> int:
    if request.path:
        return _estimated(request.sampling.extra)
    return sum(_estimated(message.content) for message in request.messages)
