"""A Python function, judged by what its calls return."""

import json
import keyword
import math
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Final

from metaspo.backends.late_patterns import late_pattern
from metaspo.engine.tasks.formats.code_sandbox import Called, Sandbox, confinement
from metaspo.engine.tasks.shown import shown

_FENCED: Final = late_pattern(r"^[ \t]*```[ \t]*[\w+.-]*[ \t]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
_BEGINS: Final = late_pattern(r"(?:def|import|from|class)\s|@\w")
_DEFINES: Final = late_pattern(r"^[ \t]*(?:def\s+\w|\w+\s*=\s*lambda\b)", re.MULTILINE)
_LONGEST: Final = 20_000  # characters


@dataclass(frozen=True, slots=True)
class Code:
    """A function: the last block of code that defines one, else the text from its first line of code on.

    An accepted answer is an object of the data, `{"function": "add", "calls": [[[1, 2], 3]]}`: the name that the
    function must have, and calls with what each must return. It is right if every call returns that; numbers with a
    fraction may be off by a billionth, a tuple is a list, and what is no JSON is wrong. The code runs in a `Sandbox`.

    Attributes:
        time_limit: seconds of CPU time for all calls of an answer.
        unconfined: whether code runs also where the system cannot confine it.
    """

    blocking: ClassVar[bool] = True

    time_limit: float = 5.0
    unconfined: bool = False
    _sandbox: Sandbox = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.unconfined and (why := confinement()):
            raise ValueError(
                f'kind = "code" runs what a model wrote, and this system cannot confine it: {why}; use Linux 5.13 or '
                "newer with Landlock and seccomp, or a machine that has nothing to lose, with unconfined = true"
            )
        object.__setattr__(self, "_sandbox", Sandbox(seconds=self.time_limit, unconfined=self.unconfined))

    @property
    def wanted(self) -> str:
        return "the Python function, with its imports"

    def parse(self, text: str, /) -> str | None:
        blocks = [block for block in _FENCED.findall(text) if _DEFINES.search(block)]
        code = (blocks[-1] if blocks else _bare(text)).strip("\n").rstrip()
        return code if code and len(code) <= _LONGEST and _DEFINES.search(code) else None

    def canonical(self, answer: str, /) -> str | None:
        try:
            tests = json.loads(answer)
        except (ValueError, RecursionError):
            return None
        return json.dumps(tests, sort_keys=True) if _are_tests(tests) else None

    def describe(self) -> str:
        return "Answer with one block of code that holds the Python function and its imports."

    def reading(self) -> str:
        return "The last block of code that defines a function counts; without one, all from the first line of code on."

    def similarity(self, prediction: str, answer: str, /) -> float:
        """1 where every call returns what it must, else 0."""
        return float(not self.feedback(prediction, answer))

    def feedback(self, prediction: str, answer: str, /) -> str:
        """What the first call that goes wrong does; "" where none does."""
        return _first_fault(self._sandbox, prediction, answer)


@lru_cache(maxsize=4096)
def _first_fault(sandbox: Sandbox, code: str, tests: str) -> str:
    read = json.loads(tests)
    function, calls = read["function"], read["calls"]
    called = sandbox.calls(code, function, [arguments for arguments, _ in calls])
    for (arguments, wanted), made in zip(calls, called, strict=True):
        if made.error or not _same(made.value, wanted):
            return _fault(function, arguments, wanted, made)
    return ""


def _fault(function: str, arguments: list[Any], wanted: object, made: Called) -> str:
    call = f"{function}({', '.join(map(shown, arguments))})"
    does = f"fails: {made.error}" if made.error else f"returns {shown(made.value)}"
    return f"{call} {does}; it should return {shown(wanted)}"


def _same(value: object, wanted: object) -> bool:
    """Whether a returned value is the wanted one, both as JSON has them."""
    if isinstance(value, list) and isinstance(wanted, list):
        return len(value) == len(wanted) and all(map(_same, value, wanted))
    if isinstance(value, dict) and isinstance(wanted, dict):
        return value.keys() == wanted.keys() and all(_same(value[key], wanted[key]) for key in wanted)
    if type(value) in (int, float) and type(wanted) in (int, float):
        return value == wanted or (float in (type(value), type(wanted)) and _close(value, wanted))
    return type(value) is type(wanted) and value == wanted


def _close(value: Any, wanted: Any) -> bool:  # noqa: ANN401 - two numbers
    try:
        return math.isclose(value, wanted, rel_tol=1e-9, abs_tol=1e-12)
    except OverflowError:  # an int beyond all floats
        return False


def _are_tests(tests: object) -> bool:
    if not isinstance(tests, dict) or tests.keys() != {"function", "calls"}:
        return False
    name, calls = tests["function"], tests["calls"]
    named = isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)
    return (
        named
        and isinstance(calls, list)
        and bool(calls)
        and all(isinstance(call, list) and len(call) == 2 and isinstance(call[0], list) for call in calls)
    )


def _bare(text: str) -> str:
    """From the first line of code to the last: what stands at the margin and is none ends it."""
    lines = text.split("\n")
    start = next((at for at, line in enumerate(lines) if _BEGINS.match(line)), len(lines))
    end = next(
        (at for at in range(start, len(lines)) if lines[at][:1].strip() and not _at_margin(lines[at])), len(lines)
    )
    return "\n".join(lines[start:end])


def _at_margin(line: str) -> bool:
    return bool(_BEGINS.match(line) or re.match(r"#|\w+\s*=|[)\]}]", line))
