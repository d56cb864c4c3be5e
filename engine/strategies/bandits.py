"""Which prompts to score next, and on how many examples: bandit policies that choose among prompts on small samples.

A prompt is an arm, a sample of examples a pull. A policy is told how the arms that it asked for did and says which to
pull next; it scores nothing itself:

    while pull := policy.next():
        policy.tell([score(arm) for arm in pull.arms], examples=pull.examples)
    best = policy.ranking()

Sources: UCB1, Auer, Cesa-Bianchi and Fischer 2002; UCB-E and successive rejects, Audibert and Bubeck 2010; successive
halving, Karnin, Koren and Somekh 2013. For prompts: all four in ProTeGi, Pryzant et al. 2023; UCB in APE, Zhou et al.
2022.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, inf, log, sqrt
from typing import Literal

Bonus = Literal["ucb", "ucb-e"]
Clock = Literal["rounds", "examples"]


@dataclass(frozen=True, slots=True)
class Pull:
    """Score these arms, each on the same `examples` examples, drawn anew for every pull."""

    arms: tuple[int, ...]
    examples: int


def ucb(mean: float, *, pulls: int, total: int, c: float = 1.0) -> float:
    """UCB1's index: mean + c sqrt(ln total / pulls), infinite for an arm that was never pulled.

    Auer et al. have c = sqrt(2) and count pulls; APE and ProTeGi have c = 1 and count the arm's examples.
    """
    return mean + c * sqrt(log(max(total, 1)) / pulls) if pulls else inf


def ucb_e(mean: float, *, pulls: int, c: float = 1.0) -> float:
    """UCB-E's index as ProTeGi writes it: mean + c sqrt(c / pulls), infinite for an arm that was never pulled.

    Audibert and Bubeck have mean + sqrt(a / pulls): the same with a = c³.
    """
    return mean + c * sqrt(c / pulls) if pulls else inf


class Policy(ABC):
    """What every policy keeps: each arm's examples and mean, and the arms that are still in play.

    Args:
        arms: how many there are; an arm is its position from 0.
    """

    def __init__(self, arms: int) -> None:
        self.arms = arms
        self._alive = list(range(arms))
        self._seen = [0] * arms
        self._sums = [0.0] * arms
        self._out: list[int] = []
        self._asked: Pull | None = None

    def __repr__(self) -> str:
        seen = sum(self._seen)
        return f"<{type(self).__name__}: {len(self._alive)} of {self.arms} arms in play, {seen} examples seen>"

    def next(self) -> Pull | None:
        """What to score now; the same until `tell` is called, None at the end."""
        if self._asked is None:
            self._asked = self._choose()
        return self._asked

    def tell(self, scores: Sequence[float | None], *, examples: int) -> None:
        """How the arms of the last `next` did, in its order, on so many examples (there may be fewer than asked for).

        A score is 0 to 1; None takes the arm out of play and out of the ranking: it cannot be scored.
        """
        pull = self.next()
        if pull is None:
            raise RuntimeError("the policy is at its end: it asked for nothing")
        self._asked = None
        for arm, score in zip(pull.arms, scores, strict=True):
            if score is None:
                self._alive.remove(arm)
            else:
                self._seen[arm] += examples
                self._sums[arm] += score * examples
        self._learn(pull, {arm: score for arm, score in zip(pull.arms, scores, strict=True) if score is not None})

    def mean(self, arm: int) -> float:
        """The arm's mean over its examples so far; 0 before the first."""
        return self._sums[arm] / self._seen[arm] if self._seen[arm] else 0.0

    def ranking(self) -> list[int]:
        """Best first: the arms in play by their means, then the rejected, the last one first; ties by position."""
        alive = sorted(self._alive, key=lambda arm: (-self.mean(arm), arm))
        return [*alive, *reversed(self._out)]

    @abstractmethod
    def _choose(self) -> Pull | None:
        """The next pull."""

    @abstractmethod
    def _learn(self, pull: Pull, scores: dict[int, float]) -> None:
        """Go on after a pull; the means have its scores already, and arms without a score are out of play."""


class UpperConfidence(Policy):
    """UCB and UCB-E: in every round the arms whose means could be highest, each on a fixed number of examples.

    Our readings: an arm that was never pulled goes first (the authors' codes add 0.001 to its count, to that effect); t
    in ln t is the number of the round, from 1 (ProTeGi's paper), or the examples that all arms have seen (APE's code).

    Args:
        rounds: how many pulls there are.
        width: arms in a pull.
        examples: of a pull.
        c: how much an uncertain arm is preferred.
    """

    def __init__(
        self,
        arms: int,
        *,
        rounds: int,
        width: int,
        examples: int,
        c: float = 1.0,
        bonus: Bonus = "ucb",
        clock: Clock = "rounds",
    ) -> None:
        super().__init__(arms)
        self._rounds = rounds
        self._width = width
        self._examples = examples
        self._c = c
        self._bonus = bonus
        self._clock = clock
        self._round = 1

    def index(self, arm: int) -> float:
        """What the arm is chosen by in the present round."""
        if self._bonus == "ucb-e":
            return ucb_e(self.mean(arm), pulls=self._seen[arm], c=self._c)
        total = self._round if self._clock == "rounds" else sum(self._seen)
        return ucb(self.mean(arm), pulls=self._seen[arm], total=total, c=self._c)

    def _choose(self) -> Pull | None:
        if self._round > self._rounds or not self._alive:
            return None
        chosen = sorted(self._alive, key=lambda arm: (-self.index(arm), arm))[: self._width]
        return Pull(tuple(sorted(chosen)), self._examples)

    def _learn(self, pull: Pull, scores: dict[int, float]) -> None:
        self._round += 1


class SuccessiveHalving(Policy):
    """Every round shares out the same part of the budget over the arms left, then keeps the better half.

    With n arms there are ceil(log2 n) rounds, each with a budget of its own: floor(budget / (arms left x rounds))
    examples an arm, at least one. The mean of the round alone decides.

    Our reading for a beam: with `keep` above 1 the halving stops there, in ceil(log2(n / keep)) rounds, so that nothing
    is spent on the order within the beam. (ProTeGi's code keeps what is not below the round's average.)

    Args:
        budget: examples in all, over all arms.
        keep: how many arms are wanted.
    """

    def __init__(self, arms: int, *, budget: int, keep: int = 1) -> None:
        super().__init__(arms)
        self._budget = budget
        self._keep = keep
        self._rounds = (ceil(Fraction(arms, keep)) - 1).bit_length()  # halvings from `arms` down to `keep`
        self._latest: dict[int, float] = {}

    def ranking(self) -> list[int]:
        """Best first: the arms in play by the last round, then those dropped, the last dropped first."""
        alive = sorted(self._alive, key=lambda arm: (-self._latest.get(arm, 0.0), arm))
        return [*alive, *reversed(self._out)]

    def _choose(self) -> Pull | None:
        if len(self._alive) <= self._keep:
            return None
        examples = self._budget // (len(self._alive) * self._rounds)
        return Pull(tuple(self._alive), max(1, examples))

    def _learn(self, pull: Pull, scores: dict[int, float]) -> None:
        self._latest = scores
        best = sorted(scores, key=lambda arm: (-scores[arm], arm))
        kept = max(self._keep, ceil(len(pull.arms) / 2))
        self._out += reversed(best[kept:])
        self._alive = sorted(best[:kept])


class SuccessiveRejects(Policy):
    """In each of n - 1 phases the arms left are brought to the same number of examples and the worst is rejected.

    After the phase with m arms left each has seen ceil((budget - n) / (L m)) examples, with L = 1/2 + the sum of 1/i
    from 2 to n: then the budget is never exceeded. The mean over everything that an arm has seen decides.

    Our reading for a beam: with `keep` above 1 it stops there, and L = keep/(keep + 1) + the sum of 1/i from keep + 1
    to n, which by the same argument spends the whole budget on who is in the beam. An arm gets one example at least.

    Args:
        budget: examples in all, over all arms.
        keep: how many arms are wanted.
    """

    def __init__(self, arms: int, *, budget: int, keep: int = 1) -> None:
        super().__init__(arms)
        self._budget = budget
        self._keep = keep
        self._level = Fraction(keep, keep + 1) + sum(Fraction(1, i) for i in range(keep + 1, arms + 1))
        self._reached = 0

    def _choose(self) -> Pull | None:
        while len(self._alive) > self._keep:
            goal = max(1, ceil((self._budget - self.arms) / (self._level * len(self._alive))))
            if goal > self._reached:
                return Pull(tuple(self._alive), goal - self._reached)
            self._reject()
        return None

    def _learn(self, pull: Pull, scores: dict[int, float]) -> None:
        self._reached += pull.examples
        if len(scores) == len(pull.arms):  # else those that cannot be scored are the phase's rejected
            self._reject()

    def _reject(self) -> None:
        worst = max(self._alive, key=lambda arm: (-self.mean(arm), arm))
        self._alive.remove(worst)
        self._out.append(worst)


def schedule(policy: Policy) -> list[Pull]:
    """How large a policy's pulls are if no arm is refused: that does not depend on the scores. Uses the policy up."""
    pulls: list[Pull] = []
    while (pull := policy.next()) is not None:
        pulls.append(pull)
        policy.tell([0.0] * len(pull.arms), examples=pull.examples)
    return pulls
