"""Induced user prompts: one with a common fault is drawn again, since system prompts are compared under all of them."""

from dataclasses import dataclass

import pytest
from engine_sessions import Runs
from world import World, make_config, make_task, with_prompts

from metaspo.backends import Request
from metaspo.engine.journal.events import Malformed, Proposal

QUOTE = "As in: evenness train number 3"
FAULTS = (
    ("I'm sorry, I can't help with that.", "is a refusal"),
    ("You are an expert in [insert the subject].", "not filled in: [insert the subject]"),
    ("```\nBe exact.\n```", "stands in a fence"),
    (QUOTE, "quotes an example (evenness.train:4)"),
    ("so " * 160, "words, more than 150"),
)


@dataclass(frozen=True, slots=True)
class Faulty(World):
    """Induces prompts with a fault, for so many draws."""

    fault: str = ""
    draws: int = 0

    def optimizer(self, request: Request) -> str:
        """A prompt with a fault, or one that is told of it."""
        text = request.messages[-1].content
        if "<pairs>" not in text:
            return World.optimizer(self, request)
        told = text.count("was not taken")
        places = "{notes} {question}" if "must hold {notes}" in text else ""
        written = f"{self.fault.strip()}\n{places}" if not told or self.draws > 1 else f"Be careful. {places}"
        return f"<user_prompt>{written}</user_prompt>"


def runs_of(fault: str, *, draws: int, named: bool = False) -> Runs:
    world = Faulty(2, malformed=0.0, fault=fault, draws=draws)
    outer = {"candidates": 1, "under": "induced", "induced": 1}
    config = make_config({"iterations": 1, "redraws": 1, "inner": {"candidates": 0}, "outer": outer})
    task = make_task("evenness", train=8)
    return Runs(config, [with_prompts(task) if named else task], world, timing=1, width=4)


@pytest.mark.parametrize(("fault", "why"), FAULTS)
@pytest.mark.parametrize("named", [False, True], ids=["plain", "named"])
def test_one_with_a_fault_is_drawn_again_and_told_of_it(fault: str, why: str, named: bool) -> None:
    runs = runs_of(fault, draws=1, named=named)
    result = runs.session()
    assert result is not None
    whys = [event.why for event in runs.journal.events if isinstance(event, Malformed)]
    assert whys
    assert all(why in said for said in whys)
    told = [
        request.messages[-1].content for request in runs.answered if "was not taken" in request.messages[-1].content
    ]
    assert all(why in text for text in told)
    asked = [request.messages[-1].content for request in runs.answered if request.model != "writer"]
    assert not any(fault.strip() in text for text in asked)
    assert any("Be careful." in text for text in asked)


@pytest.mark.parametrize("named", [False, True], ids=["plain", "named"])
def test_whoever_writes_one_is_told_for_which_model_and_how_long(named: bool) -> None:
    """A longer one is drawn again: that is to be known before. What is put below does not count."""
    runs = runs_of("so " * 150, draws=1, named=named)
    assert runs.session() is not None
    asked = [request.messages[-1].content for request in runs.answered if "<pairs>" in request.messages[-1].content]
    assert asked
    assert all('The language model "answerer" will work by it. Use at most 150 words.' in text for text in asked)
    assert not [event for event in runs.journal.events if isinstance(event, Malformed)]


def test_one_that_stays_faulty_is_none() -> None:
    runs = runs_of(QUOTE, draws=9)
    assert runs.session() is not None
    none = [event.none or "" for event in runs.journal.events if isinstance(event, Proposal)]
    assert any("quotes an example" in why for why in none)


@dataclass(frozen=True, slots=True)
class Wordy(World):
    """Answers out of form under prompts that hold, or do not hold, what an induced one says."""

    induced_too: bool = False

    def base(self, request: Request) -> str:
        """As the world's, in the form asked for or not."""
        induced = "Be precise." in request.messages[-1].content
        return "I would rather not say." if induced is self.induced_too else World.base(self, request)

    def optimizer(self, request: Request) -> str:
        """An induced prompt, or as the world's."""
        induces = "<pairs>" in request.messages[-1].content
        return "<user_prompt>Be precise.</user_prompt>" if induces else World.optimizer(self, request)


@pytest.mark.parametrize("induced_too", [False, True], ids=["first one out of form", "induced one out of form"])
def test_where_one_of_first_and_induced_is_out_of_form_system_prompts_are_compared_under_the_first(
    induced_too: bool,
) -> None:
    """Unseen tasks come with such; the induced one stays a user prompt, and may become the best."""
    outer = {"candidates": 2, "under": "induced", "induced": 1}
    config = make_config({"iterations": 1, "inner": {"candidates": 1, "keep": 1}, "outer": outer})
    task = make_task("evenness", train=8)
    runs = Runs(config, [task], Wordy(2, malformed=0.0, induced_too=induced_too), timing=1, width=4)
    result = runs.session()
    assert result is not None
    systems = {event.system for event in runs.journal.events if isinstance(event, Proposal) and event.system}
    compared = [
        request.messages[-1].content
        for request in runs.answered
        if request.model == "answerer" and request.messages[0].content in systems - {result.system_prompt}
    ]
    assert compared
    assert not any("Be precise." in text for text in compared)
    assert any("Be precise." in prompt for prompt in result.user_prompts["evenness"]) is not induced_too


@pytest.mark.parametrize("induced_too", [False, True], ids=["first one out of form", "induced one out of form"])
def test_one_that_nothing_is_compared_under_counts_among_train_calls(induced_too: bool) -> None:
    """Without inner rounds it is no user prompt either, and has been asked about all the same."""
    outer = {"candidates": 2, "under": "induced", "induced": 1, "reserve": False}
    config = make_config({"train_calls": 40, "inner": {"candidates": 0}, "outer": outer, "test": {"source": "none"}})
    world = Wordy(2, malformed=0.0, induced_too=induced_too)
    runs = Runs(config, [make_task("evenness", train=8)], world, timing=1, width=4)
    result = runs.session()
    assert result is not None
    assert sum(request.model == "answerer" for request in runs.answered) == result.train_calls <= 40
