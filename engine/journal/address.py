"""An address: where in a run something happens, read from the outside in: `iter=1/outer/cand=4/analyze`."""

import re
from typing import NamedTuple

from metaspo.backends.late_patterns import late_pattern

END = r"(?:/(?=.)|\Z)"  # of a part: one more follows, or none
PARTS = late_pattern(
    rf"(?:iter=([1-9][0-9]*){END})?(?:([a-z]+){END})?(?:task=([^/]+){END})?(?:cand=([1-9][0-9]*){END})?(.*)", re.DOTALL
)


class Address(NamedTuple):
    """The parts of an address; its text seeds every draw and every optimizer call, and so never changes.

    Attributes:
        iteration: from 1; 0 outside the iterations.
        loop: "inner" or "outer"; outside the iterations "init", "test", "adapt", ...
        task: whose, where it is one task's.
        candidate: from 1; 0 where it is no candidate's.
        step: what comes below, a strategy's own steps included.
    """

    iteration: int = 0
    loop: str = ""
    task: str = ""
    candidate: int = 0
    step: str = ""

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read any text; `str` of what it returns is that text again."""
        parts = PARTS.fullmatch(text)
        iteration, loop, task, candidate, step = parts.groups() if parts else (None, None, None, None, text)
        return cls(int(iteration or 0), loop or "", task or "", int(candidate or 0), step)

    def __str__(self) -> str:
        parts = (
            f"iter={self.iteration}" if self.iteration else "",
            self.loop,
            f"task={self.task}" if self.task else "",
            f"cand={self.candidate}" if self.candidate else "",
            self.step,
        )
        return "/".join(part for part in parts if part)

    @property
    def round(self) -> "Address":
        """The round that it lies in: of all candidates of a loop, in the inner loop of one task."""
        return self._replace(candidate=0, step="")

    @property
    def words(self) -> str:
        """The same for people: "iteration 1, system prompt, candidate 4"."""
        user = f"user prompt of {self.task}" if self.task else "user prompts"
        loop = {"inner": user, "outer": "system prompt", "init": "first prompts"}.get(self.loop)
        plain = ", ".join(filter(None, (self.loop, self.task)))
        parts = (
            f"iteration {self.iteration}" if self.iteration else "",
            plain if loop is None else loop,
            f"candidate {self.candidate}" if self.candidate else "",
            self.step,
        )
        return ", ".join(part for part in parts if part)
