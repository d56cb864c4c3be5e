"""What candidates race on: rows that weigh what they do in the score, each once, in an order of the candidate's own."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from metaspo.engine.selection.race import RaceDesign

GRADE = st.sampled_from([0.0, 0.25, 0.5, 1.0])


@given(st.lists(st.lists(st.tuples(GRADE, GRADE), min_size=1, max_size=6), min_size=1, max_size=4), st.data())
def test_weighted_rows_add_up_as_scores_do(nodes: list[list[tuple[float, float]]], data: st.DataObject) -> None:
    """The weighted differences over all rows are above zero exactly if the candidate's mean of means is."""
    weights = data.draw(st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=len(nodes), max_size=len(nodes)))
    sizes = tuple(len(rows) for rows in nodes)
    design = RaceDesign(seed=1, address="iter=1/outer", sizes=sizes, node_weights=tuple(weights), rate=0.1)
    assert max(design.weights) == 1
    ahead = sum(
        weight * sum(grade - known for grade, known in rows) for weight, rows in zip(design.weights, nodes, strict=True)
    )
    scores = [
        Fraction(weight) * sum(Fraction(grade) - Fraction(known) for grade, known in rows) / len(rows)
        for weight, rows in zip(weights, nodes, strict=True)
    ]
    assert abs(ahead) < 1e-9 if sum(scores) == 0 else (ahead > 0) == (sum(scores) > 0)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), st.integers(0, 99), st.integers(1, 9))
def test_waves_hold_every_row_once_and_follow_the_order(sizes: list[int], seed: int, number: int) -> None:
    weights = (1.0,) * len(sizes)
    design = RaceDesign(seed=seed, address="iter=1/outer", sizes=tuple(sizes), node_weights=weights, rate=0.1)
    order, done = design.order(number), 0
    for wave in design.waves(number):
        places = {(node, row) for node, rows in enumerate(wave) for row in rows}
        assert places == set(order[done : done + len(places)])
        done += len(places)
    assert done == len(order) == len(set(order)) == sum(sizes)
