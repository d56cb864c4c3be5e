"""What there is one of is told so, wherever a number is told with what it counts."""

import re

import pytest

from metaspo.backends.counted import counted
from metaspo.engine.journal.events import Rejected
from metaspo.engine.journal.history import why_rejected
from metaspo.engine.runs.summary import RunSummary
from metaspo.engine.strategies.ape import Ape
from metaspo.engine.strategies.proposers import Given
from metaspo.engine.strategies.protegi import ProTeGi
from metaspo.scheduling import AccountStatistics, LaneUse
from metaspo.scheduling.lanes.patience import duration
from metaspo.tables.usage import calls_and_dollars, spent_sentence

ONE = LaneUse(calls=1, hits=1)


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 tries"), (1, "1 try"), (2, "2 tries"), (1_200, "1,200 tries"), (-1, "-1 tries")]
)
def test_a_number_is_told_with_its_noun(number: int, said: str) -> None:
    assert counted(number, "try", "tries") == said
    assert counted(number, "call").endswith("call" if number == 1 else "calls")


def test_no_sentence_says_one_calls() -> None:
    usage = AccountStatistics(name="", lanes={"base": ONE}, total=ONE)
    told = [
        spent_sentence(RunSummary(usage=usage)),
        calls_and_dollars(ONE),
        duration(1.2),
        why_rejected(Rejected(unasked=1, raced=9.0, rows=1)),
        why_rejected(Rejected(unasked=1, gate=0.5)),
        why_rejected(Rejected(unasked=1, bound=0.5)),
        Ape(resample=1).describe(),
        ProTeGi(rounds=1).describe(),
        Given(["a"]).describe(),
    ]
    assert all(re.search(r"\b1 \w+", sentence) for sentence in told)
    assert not [sentence for sentence in told if re.search(r"\b1 (more )?(?!was)(\w+s\b|were)", sentence)]
