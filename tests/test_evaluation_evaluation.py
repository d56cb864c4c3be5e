"""One prompt pair on one split, on its way to a scorecard: what is refused, and what is told in which order."""

from typing import Any, cast

from test_evaluation_asking import MODEL, NOW, PAIR, TASK, Place
from world import make_config

from metaspo.engine import Observer
from metaspo.engine.evaluation.asking import Base
from metaspo.engine.evaluation.evaluation import Evaluation
from metaspo.engine.journal.events import Score, Spent
from metaspo.engine.journal.journal import MemoryJournal
from metaspo.engine.runtime.context import RunContext


class Counting(Observer):
    """Counts the calls that are done."""

    def __init__(self) -> None:
        self.done = 0

    def calls_done(self, *, base_calls: int = 0, optimizer_calls: int = 0) -> None:
        self.done += base_calls


def test_a_refused_example_invalidates_the_pair_and_what_it_took_is_told_before_its_score() -> None:
    """By the first one in the order of the split; no more is asked of what has an outcome."""
    journal, observer = MemoryJournal(), Counting()

    async def go(base: Base) -> None:
        assert base.account is not None
        context = RunContext(
            config=make_config(),
            tasks=(TASK,),
            inner=cast("Any", None),
            outer=cast("Any", None),
            base=MODEL,
            optimizer=None,
            judge=None,
            gateway=base.gateway,
            account=base.account,
            journal=journal,
            observer=observer,
            started=0.0,
        )
        node = Evaluation(context, PAIR, TASK, examples=TASK.train, address="a")
        assert (node.missing, node.refusal) == (4, "")
        await node.ask([(NOW, [2, 0])])
        assert (node.missing, node.refusal) == (2, "")
        await node.ask([(NOW, range(4))])
        assert (node.missing, node.refusal) == (0, f"{TASK.train[3].where}: not that one")
        assert node.card().invalid == node.refusal

    place = Place()
    place.do(go)
    assert [type(event) for event in journal.events] == [Spent, Score]
    assert (place.calls, observer.done) == (4, 4)
