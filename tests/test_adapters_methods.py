"""Other packages in the benchmark of methods. Each is skipped where it is not installed."""

import sys
from pathlib import Path

import pytest

from metaspo.bench.known_truth.method_peers import NEEDS, PEERS, peers_of
from metaspo.bench.known_truth.method_run import Job, MethodRun, run_method
from metaspo.bench.known_truth.methods import WORLDS
from metaspo.bench.known_truth.world import World

pytestmark = pytest.mark.filterwarnings("ignore")
CALLS = 500
EASY = World(3, **WORLDS["added up, no noise"])


@pytest.fixture(scope="module")
def first_prompts() -> MethodRun:
    nothing = {"inner": {"candidates": 0}, "outer": {"candidates": 0}}
    return run_method(Job(world=EASY, calls=CALLS, changes=nothing))


@pytest.mark.parametrize("name", PEERS)
def test_a_package_improves_on_the_first_prompts_within_its_calls_and_finds_the_same_again(
    name: str, first_prompts: MethodRun
) -> None:
    for package in NEEDS[PEERS[name][0]]:
        pytest.importorskip(package)
    job = Job(world=EASY, calls=CALLS, changes=peers_of(Path(sys.executable))[name])
    found = run_method(job)
    assert found == run_method(job)
    assert 0.6 * CALLS < found.base <= CALLS * (1.5 if name.startswith("gepa") else 1)  # GEPA ends what it began
    assert found.optimizer > 0
    assert found.dollars > 0
    assert found.source > first_prompts.source + 0.05
    assert found.unseen >= first_prompts.unseen
