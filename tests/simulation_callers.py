"""What a seed draws beside its servers: programs that are not ours, and what is held against what they get."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from simulation_plan import LaneName
from simulation_world import SimulatedWorld

from metaspo.backends import Message, Request, Sampling
from metaspo.cache import request_key

MODELS = {"base": "answerer", "optimizer": "writer"}
WHO = ("alice", "bob")
KEYS = {f"{who.upper()}_KEY": f"sk-{who}-0123456789abcdef" for who in WHO}
TOKENS = 32
DRAWS = 100  # more than callers ever ask for of one question
# What may come of a call among failing servers; a mistake in metaspo is none of these.
KINDS = frozenset({"rejected", "given_up", "model", "access", "credit", "budget", "unavailable"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A program that asks, perhaps leaves, perhaps asks again.

    Attributes:
        numbers: of its questions, all at once. Callers ask much the same.
        choices: samples of each, at temperature 1; 0 for one answer at temperature 0.
        batch: hands them over as one, where the door has batches; stream: wants events, where it has those.
        leaves: after so many seconds without all answers.
    """

    who: str
    lane: LaneName
    numbers: tuple[int, ...]
    choices: int
    batch: bool
    stream: bool
    priority: int
    after: float
    leaves: float | None
    again: bool

    def request(self, number: int) -> Request:
        """One question, as the gateway gets it, but for its draw."""
        sampling = Sampling(temperature=1.0 if self.choices else 0.0, max_tokens=TOKENS)
        return Request(model=MODELS[self.lane], messages=(Message("user", question(number)),), sampling=sampling)

    def body(self, number: int) -> dict[str, Any]:
        """The same in OpenAI's format."""
        return {
            "model": self.lane,
            "messages": [{"role": "user", "content": question(number)}],
            "max_tokens": TOKENS,
            "temperature": 1.0 if self.choices else 0.0,
            "n": self.choices or 1,
            "stream": self.stream,
        }


def question(number: int) -> str:
    """What is asked."""
    return f"A caller asks whether number {number} is even."


def draw_callers(seed: int) -> tuple[Caller, ...]:
    """The callers of a seed."""
    rng = Random(f"simulation callers {seed}")
    return tuple(_caller(rng) for _ in range(rng.choice((2, 4, 8, 12))))


def draw_caps(seed: int) -> dict[str, dict[str, int]]:
    """What each of them may spend."""
    rng = Random(f"simulation caps {seed}")
    return {who: _caps(rng) for who in WHO} if rng.random() < 0.5 else {who: {} for who in WHO}


def _caller(rng: Random) -> Caller:
    return Caller(
        who=rng.choice(WHO),
        lane=rng.choice(("base", "optimizer")),
        numbers=tuple(rng.randrange(8) for _ in range(rng.choice((1, 1, 2, 6)))),
        choices=rng.choice((0, 0, 1, 2)),
        batch=rng.random() < 0.5,
        stream=rng.random() < 0.4,
        priority=rng.choice((-1, 0, 0, 5)),
        after=rng.choice((0.0, rng.expovariate(1 / 4), rng.expovariate(1 / 20))),
        leaves=rng.expovariate(1 / 3) if rng.random() < 0.4 else None,
        again=rng.random() < 0.8,
    )


def _caps(rng: Random) -> dict[str, int]:
    most = {"calls": rng.randint(1, 20), "tokens": rng.randint(1_000, 8_000)}
    return {name: most[name] for name in rng.sample(sorted(most), rng.randint(1, 2))}


@dataclass(slots=True)
class Outcomes:
    """What callers got, over all sessions; `breaks` is told what must not be.

    Attributes:
        failures: how many calls brought no answer.
        said: every sentence that a caller was told in place of an answer.
    """

    world: SimulatedWorld
    breaks: Callable[[str], None]
    counts: Counter[str] = field(default_factory=Counter)
    failures: int = 0
    said: list[str] = field(default_factory=list)
    _texts: dict[str, str] = field(default_factory=dict)
    _had: dict[tuple[str, str], set[int]] = field(default_factory=lambda: defaultdict(set))
    _samples: Counter[tuple[str, str]] = field(default_factory=Counter)

    def begin(self) -> None:
        """A session: its draws are counted anew."""
        self._had.clear()
        self._samples.clear()

    def check_draws(self, *, whole: bool) -> None:
        """A session's end; `whole`: all were answered, and told which draws these were, which are the first ones."""
        for (who, key), draws in self._had.items():
            if whole and not self._samples[who, key] and draws != set(range(len(draws))):
                self.breaks(f"{who} had the draws {sorted(draws)} of {key[:8]}")

    def check_next(
        self, take: Callable[[Request], Request], callers: Iterable[Caller], stored: Collection[str]
    ) -> None:
        """What is not answered was given back: the next draw of each question is no later than that."""
        for plain in {each.request(number) for each in callers if each.choices for number in each.numbers}:
            for draw in range(take(plain).draw):
                if _key(plain, draw) not in stored:
                    self.breaks(f"draw {draw} of {plain} was not answered, and not given back")

    def answered(self, caller: Caller, number: int, text: str, *, draw: int) -> None:
        """A caller got a draw: what a server said to just that, the same as everybody, and no sample twice."""
        self.counts["callers' answers"] += 1
        key = _key(caller.request(number), draw)
        if text not in self._said(key):
            self.breaks(f"{caller} got {text!r}, which no server said")
        if self._texts.setdefault(key, text) != text:
            self.breaks(f"{caller} got {text!r}, somebody else had {self._texts[key]!r}")
        had = self._had[caller.who, _key(caller.request(number), 0)]
        if caller.choices and draw in had:
            self.breaks(f"{caller} got draw {draw} a second time")
        had.add(draw)

    def sampled(self, caller: Caller, number: int, text: str) -> None:
        """A caller got a draw, and was not told which: there must be as many as were handed out."""
        self.counts["callers' samples"] += 1
        plain = caller.request(number)
        drawn = [said for draw in range(DRAWS) if (said := self._said(_key(plain, draw)))]
        if not any(text in said for said in drawn):
            self.breaks(f"{caller} got {text!r}, which no server said")
        run = (caller.who, _key(plain, 0))
        self._samples[run] += 1
        if self._samples[run] > len(drawn):
            self.breaks(f"{caller.who} had {self._samples[run]} samples of {len(drawn)} draws")

    def failed(self, kind: str, sentence: str, *, final: bool | None, ending: bool) -> None:
        """A caller was told that there is no answer; `ending`: the door was being closed."""
        self.failures += 1
        self.counts[f"callers' failures: {kind}"] += 1
        self.said.append(sentence)
        if kind not in KINDS and not (ending and kind == "closed"):
            self.breaks(f"a caller was told {kind}: {sentence}")
        if final is not None and final == (kind in ("unavailable", "closed")):
            self.breaks(f"a caller was told that {kind} is {'' if final else 'not '}final")

    def _said(self, key: str) -> list[str]:
        return [each.text for each in self.world.said.get(key, ())]


def _key(plain: Request, draw: int) -> str:
    return request_key(replace(plain, draw=draw))
