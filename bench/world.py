"""A world in which the true quality of every prompt is known, because it stands in the prompt's own text.

The optimizer rewrites a prompt of quality q into one of quality q + step, where steps are drawn from a normal
distribution: `spread` is how far candidates lie apart. The base model is right with the probability that the qualities
of system and user prompt add up to; some questions are as hard under every prompt, as real ones are. All answers follow
from the requests alone.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from statistics import NormalDist

from metaspo.backends import Request
from metaspo.backends.late_patterns import late_pattern
from metaspo.bench.workload import (
    ANALYSIS_TOKENS,
    ANSWER_TOKENS,
    OPTIMIZER,
    SYSTEM_PROMPT_TOKENS,
    USER_PROMPT_TOKENS,
    between,
    filler,
    fraction,
    verdict,
)

FIRST_QUALITY = 0.5
MIN_QUALITY, MAX_QUALITY = 0.02, 0.98
_SYSTEM, _USER = late_pattern(r"\[system ([+-][\d.]+)\]"), late_pattern(r"\[user ([+-][\d.]+)\]")


@dataclass(frozen=True, kw_only=True)
class World:
    """Both models.

    Attributes:
        spread: standard deviation of a rewrite's step in true quality. The mean step is minus half of it: most
            rewrites do harm.
        common: share of the questions whose difficulty is the same under every prompt.
        repeats: share of the optimizer's proposals that are the one it mostly makes for that prompt, word for word.
        salt: stands at the beginning of every prompt that is written and changes nothing else: two worlds that differ
            in it ask a server for the same work, and find nothing of each other's in its prefix cache.
    """

    spread: float
    seed: int = 0
    common: float = 0.6
    repeats: float = 0.1
    salt: str = ""

    def answer(self, request: Request) -> str:
        """What the model named in the request says."""
        return self._optimizer(request) if request.model == OPTIMIZER else self._base(request)

    def quality(self, system: str, user: str) -> float:
        """The probability that the base model is right under the pair."""
        return min(MAX_QUALITY, max(MIN_QUALITY, FIRST_QUALITY + _mark(_SYSTEM, system) + _mark(_USER, user)))

    def parameters(self) -> dict[str, object]:
        """By name, for reports."""
        named = {"spread": self.spread, "common": self.common, "repeats": self.repeats}
        return {**named, "mean step": -self.spread / 2, "first quality": FIRST_QUALITY}

    @cached_property
    def _steps(self) -> NormalDist:
        return NormalDist(-self.spread / 2, self.spread)

    def _base(self, request: Request) -> str:
        system, asked = (self._plain(message.content) for message in (request.messages[0], request.messages[-1]))
        question = asked[asked.rindex("Statement ") :]
        difficulty = fraction(f"{self.seed} difficulty", question)
        private = fraction(f"{self.seed} luck", system, asked)
        draw = difficulty if fraction(f"{self.seed} common", question) < self.common else private
        label = verdict(question, right=draw < self.quality(system, asked))
        return f"{filler(between(ANSWER_TOKENS, (private * 7919) % 1))} <answer>{label}</answer>"

    def _optimizer(self, request: Request) -> str:
        text = self._plain(request.messages[-1].content)
        mark = _digest(text, str(request.draw), str(self.seed))
        if "between <analysis> and </analysis>" in text:
            return f"<analysis>{mark} {filler(between(ANALYSIS_TOKENS, fraction(mark)))}</analysis>"
        level, kind = (_USER, "user") if "complete new user prompt" in text else (_SYSTEM, "system")
        if fraction("usual", mark) < self.repeats:
            mark = _digest(_block(text, kind), str(self.seed))
        quality = _mark(level, text) + self._steps.inv_cdf(0.001 + 0.998 * fraction("step", mark))
        head = f"{self.salt}{mark} [{kind} {quality:+.6f}]"
        if kind == "user":
            return f"<user_prompt>{head} {filler(USER_PROMPT_TOKENS)}\n{{question}}</user_prompt>"
        return f"<system_prompt>{head} {filler(SYSTEM_PROMPT_TOKENS)}</system_prompt>"

    def _plain(self, text: str) -> str:
        return text.replace(self.salt, "") if self.salt else text


def _mark(level: re.Pattern[str], text: str) -> float:
    """The first quality of that level in a text; first prompts have none, which is 0."""
    mark = level.search(text)
    return float(mark[1]) if mark else 0.0


def _block(text: str, kind: str) -> str:
    """The prompt that is to be rewritten."""
    tag = f"<{kind}_prompt>"
    start = text.index(tag)
    return text[start : text.index(f"</{kind}_prompt>", start)]


def _digest(*parts: str) -> str:
    return sha256("\x1f".join(parts).encode()).hexdigest()[:16]
