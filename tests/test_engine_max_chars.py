"""A system prompt that is too long is not taken, whoever proposes it, and costs no call of the base model."""

import pytest
from engine_sessions import Runs, whole_but_own
from test_engine_search import CASES, is_base
from test_engine_train_calls import config_of, runs_of

SHORT = ("ape",)  # its optimizer proposes nothing here that is longer than the first prompt
OUTER = [(name, loop) for name, loop in [*CASES, ("metaspo", "outer")] if loop == "outer" and name not in SHORT]


def longest_asked(runs: Runs) -> int:
    """Characters of the longest system prompt that an example was asked under."""
    return max(len(request.messages[0].content) for request in runs.answered if is_base(request))


@pytest.mark.parametrize(("name", "loop"), whole_but_own(OUTER))
def test_a_system_prompt_that_is_too_long_is_never_asked_under(name: str, loop: str) -> None:
    config = config_of(name, loop, 60)
    free = runs_of(config, timing=1, width=4)
    assert free.session() is not None
    limit = longest_asked(free) - 1
    table = config.outer.model_copy(update={"max_chars": limit})
    limited = runs_of(config.model_copy(update={"outer": table}), timing=1, width=4)
    result = limited.session()
    assert result is not None
    assert longest_asked(limited) <= limit
    assert len(result.system_prompt) <= limit
