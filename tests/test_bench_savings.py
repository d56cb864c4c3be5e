"""Savings and orders change what a run costs; the exact ones never what it selects."""

from dataclasses import replace

import pytest
from chat_server import ChatServer
from command_line import here
from hypothesis import given, settings
from hypothesis import strategies as st
from sizes import examples, rest_is_slow

from metaspo.backends import Message, Request, Sampling
from metaspo.bench import VLLMModel
from metaspo.bench.order import ORDERS, OWN, TooFewCalls, measure_order, simulated, size_within
from metaspo.bench.savings import (
    LEVERS,
    SMALL,
    Lever,
    Selections,
    Server,
    Spent,
    measure_savings,
    prepare_run,
    same_rounds,
    spend,
)
from metaspo.bench.workload import BASE, Size
from metaspo.bench.world import World
from metaspo.engine import count_calls

LITTLE = Size(tasks=2, train=14, test=0, iterations=2, inner=2, keep=2, outer=4)
TINY = Size(tasks=2, train=12, test=0, iterations=1, inner=0, keep=1, outer=3)
LARGE = World(spread=0.08, seed=3)
NONE, ONCE, REJECTING, RACING = LEVERS


def spent(lever: Lever, *, world: World = LARGE, server: Server = "api") -> Spent:
    return spend(LITTLE, world, lever, server=server)


def ask(system: str, statement: int) -> Request:
    messages = (Message("system", system), Message("user", f"Say.\nStatement {statement} (task1, train): text"))
    return Request(model=BASE, messages=messages, sampling=Sampling(max_tokens=8))


@given(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4))
def test_the_base_model_is_right_as_often_as_the_prompts_are_good(system: float, user: float) -> None:
    world = World(spread=0.1, common=0.0)
    quality = world.quality(f"[system {system:+.6f}]", f"[user {user:+.6f}]")
    assert quality == pytest.approx(min(0.98, max(0.02, 0.5 + system + user)), abs=1e-5)


def test_answers_follow_the_quality_that_stands_in_the_prompt() -> None:
    """Over many questions the share of right answers is the quality, whether questions are common or not."""
    for common in (0.0, 1.0):
        world = World(spread=0.1, common=common)
        said = [world.answer(ask("[system +0.200000]", number)) for number in range(2000)]
        right = sum(("yes" if number % 2 == 0 else "no") in text.split(">")[1] for number, text in enumerate(said))
        assert right / 2000 == pytest.approx(0.7, abs=0.04)


def test_common_questions_are_as_hard_under_every_prompt() -> None:
    """Where all are common, a better prompt gets right whatever a worse one does."""
    world = World(spread=0.1, common=1.0)
    for number in range(300):
        worse, better = (f"[system {quality:+.6f}]" for quality in (-0.2, 0.2))
        wrong = "no" if number % 2 == 0 else "yes"
        if f"<answer>{wrong}" in world.answer(ask(better, number)):
            assert f"<answer>{wrong}" in world.answer(ask(worse, number))


@pytest.mark.slow
def test_salt_changes_the_texts_and_nothing_else() -> None:
    plain, salted = spent(ONCE), spend(LITTLE, replace(LARGE, salt="[salt] "), ONCE, server="api")
    assert (salted.calls, salted.quality) == (plain.calls, plain.quality)
    assert salted.selections != plain.selections


def test_without_any_lever_every_planned_evaluation_is_paid_for() -> None:
    prepared = prepare_run(SMALL, NONE, seed=3)
    assert spend(SMALL, LARGE, NONE, server="api").calls == count_calls(prepared.config, prepared.tasks).base


def test_a_world_that_repeats_itself_is_asked_once() -> None:
    repeating = replace(LARGE, repeats=1.0)
    assert spent(ONCE, world=repeating).calls < spent(NONE, world=repeating).calls
    never = replace(LARGE, repeats=0.0)
    assert spent(ONCE, world=never).calls == spent(NONE, world=never).calls


@pytest.mark.parametrize("server", rest_is_slow(["vllm", "api"]))
def test_exact_levers_save_and_select_the_same(server: Server) -> None:
    none, once, rejecting = (spent(lever, server=server) for lever in (NONE, ONCE, REJECTING))
    assert none.selections == once.selections == rejecting.selections
    assert rejecting.calls <= once.calls <= none.calls
    assert (rejecting.calls < once.calls) == (server == "api"), "so few calls are all out at once on a server of ours"
    assert (none.dollars > 0) == (server == "api")
    assert (none.server_seconds > 0) == (server == "vllm")


def test_rounds_are_compared_up_to_the_first_stage_that_differs() -> None:
    full: Selections = {
        "iter=1/inner/task=a": {"kept": 1},
        "iter=1/inner/task=b": {"kept": 1},
        "iter=1/outer": {"chosen": 2},
    }
    other: Selections = {**full, "iter=1/inner/task=b": {"kept": 2}, "iter=1/outer": {"chosen": 3}}
    raced: Selections = {**full, "iter=1/outer": {"chosen": 2, "raced_out": [1]}}
    assert same_rounds(full, full) == same_rounds(full, raced) == (3, 3)
    assert same_rounds(full, other) == (1, 2)


@pytest.mark.slow
def test_the_savings_report_has_a_row_for_every_lever_world_and_server() -> None:
    report = measure_savings(size=TINY, seeds=1)
    assert len(report.rows) == 2 * 2 * len(LEVERS)
    assert all(row["same selections"] == 1 for row in report.rows if row["levers"] != RACING.name)
    assert "simulated" in report.title


def test_every_order_comes_to_the_end_and_asks_no_more_than_full_scoring() -> None:
    model = VLLMModel(max_num_seqs=8, kv_blocks=2_000)
    full = spend(TINY, LARGE, ONCE, server="api").calls
    found = {name: simulated(TINY, LARGE, order, model) for name, order in ORDERS.items()}
    assert all(0 < one.calls <= full for one in found.values())
    assert all(one.hits is not None and 0 < one.hits < 1 for one in found.values())


def test_the_engines_own_order_is_the_one_it_is_said_to_be() -> None:
    """Reordering by the order named as the engine's changes nothing."""
    server = spent(REJECTING, server="vllm")
    assert simulated(LITTLE, LARGE, ORDERS[OWN], VLLMModel()).calls == server.calls


def test_the_order_report_compares_all_orders() -> None:
    report = measure_order(size=TINY, seeds=1, spreads={"large": 0.08}, servers={"tiny": VLLMModel(max_num_seqs=8)})
    assert [row["order"] for row in report.rows] == list(ORDERS)


@settings(max_examples=examples(10, random=100))
@given(st.integers(21, 10_000))
def test_a_live_order_run_plans_no_more_calls_than_it_may(calls: int) -> None:
    prepared = prepare_run(size_within(calls), REJECTING, seed=0)
    assert calls - 21 < count_calls(prepared.config, prepared.tasks).base <= calls


def test_too_few_calls_for_a_live_order_run_are_refused() -> None:
    with pytest.raises(TooFewCalls):
        size_within(20)


def test_orders_are_tried_on_a_real_server_within_the_calls_allowed() -> None:
    """The server is asked, what it says is not what counts: the engine is told the world's answers."""
    with ChatServer(lambda _: "neither") as server:
        options = ["--url", server.url, "--model", "m", "--calls", "300", "--concurrency", "4", "--json"]
        ended = here("bench", "order", *options)
        assert 0 < server.calls <= 300
    rows = ended.data["rows"]
    assert rows[0]["order"] == OWN
    assert server.calls <= sum(row["calls"] for row in rows) <= 300  # those that were withdrawn count, too


def test_a_server_without_a_model_name_is_a_mistake() -> None:
    assert here("bench", "order", "--url", "http://127.0.0.1:9/v1").code == 2
