"""Which of a run's calls goes first."""

from metaspo.engine.runtime import priorities


def test_in_the_inner_loops_a_candidates_second_call_goes_after_the_first_calls_of_the_next() -> None:
    """And before those of the one after that; among system prompts a candidate's own calls come first."""
    first = [priorities.inner(1, task=0, candidate=number) for number in (1, 2, 3)]
    rewrite = priorities.chained(first[0], step=1)
    assert first[0] < first[1] < rewrite < first[2]
    assert priorities.chained(first[0], step=0) == first[0]
    outer = [priorities.outer(1, candidate=number) for number in (1, 2)]
    assert priorities.chained(outer[0], step=1) == outer[0] < outer[1]
