"""A better system prompt that is passed over, since one task alone has gained: what is kept beside the present one."""

import re
from dataclasses import dataclass

import pytest
from engine_sessions import Runs
from world import World, make_config, make_task

from metaspo.backends import Request
from metaspo.engine.strategies.informed import KINDS
from metaspo.engine.strategies.texts import Texts

FIRST = "You are a helpful assistant."
ONE_TASKS = "One task's"  # mends one task, and costs what stands in better user prompts
WORSE, BETTER = "A bit worse", "A bit better"
RIGHT = {  # of ten rows: of tasks a, b and c with their first user prompt, and of each with a better one
    FIRST: ({"a": 5, "b": 5, "c": 5}, 8),
    ONE_TASKS: ({"a": 10, "b": 5, "c": 5}, 6),
    WORSE: ({"a": 5, "b": 5, "c": 4}, 8),
    BETTER: ({"a": 6, "b": 5, "c": 5}, 8),
}


@dataclass(frozen=True, slots=True)
class Scripted(World):
    """Answers by the table; the optimizer proposes the given system prompts, in every round the same."""

    proposed: tuple[str, ...] = ()

    def base(self, request: Request) -> str:
        """Right on the first rows, on so many of them."""
        system, user = request.messages[0].content, request.messages[-1].content
        plain, better = RIGHT[system]
        task, number = re.findall(r"([abc]) \w+ number (\d)", user)[0]
        right = int(number) < (better if "Better" in user else plain[task])
        return "yes" if (int(number) % 2 == 0) == right else "no"

    def optimizer(self, request: Request) -> str:
        """An analysis and a prompt."""
        text = request.messages[-1].content
        kinds = (Texts("informed").text("kinds", kind, {}) for kind in KINDS)
        kind = next((number for number, kind in enumerate(kinds) if kind in text), 0)
        prompt = self.proposed[kind % len(self.proposed)]
        if "ONE task" in request.messages[0].content:
            prompt = "Better: {question}"
        return f"<findings>Some.</findings><new_prompt>{prompt}</new_prompt>"


@pytest.mark.parametrize(
    ("beside", "kept"), [(WORSE, True), (BETTER, False)], ids=["what is below it", "nothing that is above it"]
)
def test_beside_a_system_prompt_that_stays_is_kept_what_is_below_it(beside: str, kept: bool) -> None:
    outer = {"strategy": "informed", "candidates": 2, "under": "first", "shared": True, "keep": 3}
    inner = {"strategy": "informed", "candidates": 1, "keep": 1}
    world = Scripted(1, proposed=(ONE_TASKS, beside))
    tasks = [make_task(name, train=10) for name in "abc"]
    runs = Runs(make_config({"iterations": 2, "inner": inner, "outer": outer}), tasks, world, timing=1, width=4)
    result = runs.session()
    assert result is not None
    assert result.system_prompt == FIRST
    told = [request.messages[-1].content for request in runs.answered if "Tried before" in request.messages[-1].content]
    second = [text for text in told if "present_system_prompt" in text and "Only the system" in text]
    starts = {re.findall(r"<present_system_prompt>\n(.*)\n", text)[0] for text in second}
    assert starts == ({FIRST, beside} if kept else {FIRST})
    from_first = next(text for text in second if f"<present_system_prompt>\n{FIRST}\n" in text)
    outcomes = {prompt: outcome for outcome, prompt in re.findall(r'<tried outcome="(.*)">\n(.*)\n', from_first)}
    assert re.fullmatch(r"\d+%, better, but too few tasks .*; not kept", outcomes[ONE_TASKS])
    assert outcomes[beside] == ("47%, kept then" if kept else "not kept")
