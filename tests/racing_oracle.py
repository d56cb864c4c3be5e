"""The sequential oracle with racing: every candidate is scored in full, then its race is run over its grades.

It shares with the engine the wager itself and the seeding of the order of rows; who races against what, at which rate,
who is out, and who of them statistics alone have dropped, is written out again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from oracle import Evaluation, Kept, Oracle

from metaspo.engine.addresses import rng_at
from metaspo.engine.selection.betting import Wager
from metaspo.engine.tasks import Task

MIN_ROWS = 150


@dataclass
class ScoredPrompt:
    """A prompt with its nodes, scored in full; position 0 was there before the round."""

    length: int
    nodes: list[Evaluation]
    score: float
    position: int

    @property
    def rank(self) -> tuple[float, int, int]:
        """Best first, of equals the shorter where ties go so, then the earlier."""
        return -self.score, self.length, self.position


@dataclass
class RacedRound:
    """One round: what is ahead so far, and per raced-out candidate the best it could have come to."""

    tasks: list[Task]
    old: list[ScoredPrompt]
    keep: int
    winners: int
    address: str
    new: list[ScoredPrompt] = field(default_factory=list)
    reach: dict[int, tuple[float, int, int]] = field(default_factory=dict)

    @property
    def raced(self) -> bool:
        """Whether the round is raced at all."""
        return bool(self.winners) and sum(len(task.train) for task in self.tasks) >= MIN_ROWS

    def best(self) -> list[ScoredPrompt]:
        """What is kept, of old and new."""
        return sorted([*self.old, *self.new], key=lambda prompt: prompt.rank)[: self.keep]

    def raced_out(self) -> list[int]:
        """Candidates that might have been kept for all that is certain."""
        best = self.best()
        if len(best) < self.keep:
            return sorted(self.reach)
        return [number for number, reach in self.reach.items() if reach < best[-1].rank]


class RacingOracle(Oracle):
    """Runs a config with `racing` sequentially; `raced_out` holds addresses as a result does."""

    raced_out: list[str]

    def run(self) -> None:
        """Fill `selections` and `raced_out`."""
        self.raced_out = []
        super().run()

    def inner(
        self, task: Task, kept: list[Evaluation], system: str, address: str, given: Sequence[str] = ()
    ) -> list[Evaluation]:
        """As without racing, but for candidates that lose a race; first prompts are one each here."""
        assert not given
        candidates, keep = self.config.inner.candidates, self.config.inner.keep
        old = [ScoredPrompt(self.length(node.user), [node], round(node.score, 12), 0) for node in kept]
        current = RacedRound([task], old, keep, min(keep, candidates), address)
        for number in range(1, candidates + 1):
            prompt = self.propose_user(task, kept[0], system, f"{address}/cand={number}")
            if prompt is None:
                continue
            node = self.score(task, system, prompt)
            there = [scored.nodes[0].user for scored in (*current.old, *current.new)]
            if self.survives(current, number, prompt, [node]) and prompt not in there:
                current.new.append(ScoredPrompt(self.length(prompt), [node], round(node.score, 12), number))
        chosen = [scored.nodes[0] for scored in current.best()]
        self.note(current, {"kept": [{"user": node.user, "score": node.score} for node in chosen]})
        return chosen

    def outer(self, kept: Kept, system: str, address: str, given: Sequence[str] = ()) -> tuple[str, Kept]:
        """As without racing, but for candidates that lose a race; the first prompt is one here."""
        assert not given
        tasks = [task for task in self.tasks for _ in kept[task.name]]
        flat = [node for task in self.tasks for node in kept[task.name]]
        current = RacedRound(
            tasks,
            [ScoredPrompt(self.length(system), flat, self.meta(kept), 0)],
            1,
            min(1, self.config.outer.candidates),
            address,
        )
        outcomes = {0: (system, kept)}
        for number in range(1, self.config.outer.candidates + 1):
            prompt = self.propose_system(kept, system, f"{address}/cand={number}")
            if prompt is None:
                continue
            scored = {
                task.name: [self.score(task, prompt, node.user) for node in kept[task.name]] for task in self.tasks
            }
            nodes = [node for task in self.tasks for node in scored[task.name]]
            if self.survives(current, number, prompt, nodes):
                current.new.append(ScoredPrompt(self.length(prompt), nodes, self.meta(scored), number))
                ranked = {name: sorted(nodes, key=self.rank) for name, nodes in scored.items()}
                outcomes[number] = (prompt, ranked)
        (best,) = current.best()
        new_system, new_kept = outcomes[best.position]
        self.note(current, {"system": new_system, "chosen": best.position, "score": self.meta(new_kept)})
        return new_system, new_kept

    def length(self, prompt: str) -> int:
        """Where ties go by it."""
        return len(prompt) if self.config.ties == "shorter" else 0

    def note(self, current: RacedRound, selection: dict[str, object]) -> None:
        """Keep a selection; one of a raced round says who was raced out."""
        entry = {"address": current.address, **selection}
        out = current.raced_out()
        self.selections[current.address] = {**entry, "raced_out": out} if current.raced else entry
        self.raced_out += [f"{current.address}/cand={number}" for number in out]

    def survives(self, current: RacedRound, number: int, prompt: str, nodes: Sequence[Evaluation]) -> bool:
        """Run one candidate's race; note what it could have come to if it loses."""
        if not current.raced:
            return True
        assert self.config.racing is not None
        tasks, rate = current.tasks, self.config.racing / current.winners
        places = [(node, row) for node, task in enumerate(tasks) for row in range(len(task.train))]
        rng_at(self.config.seed, f"{current.address}/cand={number}/race").shuffle(places)
        most = max(task.weight / len(task.train) for task in tasks)
        shares = [task.weight / len(task.train) / most for task in tasks]
        mine = [grades(task, node) for task, node in zip(tasks, nodes, strict=True)]
        bars = []
        ahead, before = current.best(), sorted(current.old, key=lambda scored: scored.rank)
        if len(ahead) == current.keep:
            bars.append([grades(task, node) for task, node in zip(tasks, ahead[-1].nodes, strict=True)])
        if len(before) >= current.keep:
            last = before[current.keep - 1]
            bars.append([grades(task, node) for task, node in zip(tasks, last.nodes, strict=True)])
        wagers = [
            Wager([share * grade for share, rows in zip(shares, bar, strict=True) for grade in rows], rate=rate)
            for bar in bars
        ]
        missed = [0] * len(tasks)
        for node, row in places[:-1]:
            missed[node] += 1 - mine[node][row]
            for bar, wager in zip(bars, wagers, strict=True):
                wager.take(shares[node] * mine[node][row], shares[node] * bar[node][row])
            if sum(wager.capital / 2 for wager in wagers) * rate >= 1:
                current.reach[number] = (-self.within_reach(tasks, missed), self.length(prompt), number)
                return False
        return True

    def within_reach(self, tasks: Sequence[Task], missed: Sequence[int]) -> float:
        """The mean over nodes if nothing more is missed."""
        each = [1 - Fraction(count, len(task.train)) for count, task in zip(missed, tasks, strict=True)]
        weights = [Fraction(task.weight) for task in tasks]
        return round(float(sum(w * one for w, one in zip(weights, each, strict=True)) / sum(weights)), 12)


def grades(task: Task, node: Evaluation) -> list[int]:
    """1 or 0 for each example, by what the node failed at."""
    failed = {failure.example for failure in node.failures}
    return [int(example not in failed) for example in task.train]
