"""No schedule whatever can do a run's work faster than this on the simulated servers.

Stages follow one another, so their bounds add up. Within a stage a candidate's evaluations cannot begin before its
optimizer calls are through (its release), and then there are two limits:

* work: what is released late has to be done late. For every j, the stage lasts at least until the j-th release plus the
  server seconds of the candidates released then or later, shared evenly by all replicas. The server seconds of an
  evaluation are at least one `max_num_seqs`-th of a step and `sequence_seconds` for each token of the answer, and
  `prompt_seconds` for each token of the prompt that no cache can hold: what follows the last whole block, and each
  different block once, as if one cache of endless size served all replicas.
* path: after its release a candidate takes at least as long as its longest answer takes on an idle server.

The j-th release is no earlier than the j-th shortest chain of optimizer latencies, nor than the rate limits let the
calls of any j candidates through.

First calls and later ones compete for the rate limits. Let so many candidates be through when the last first call of
all is granted, which is not before the limits let these calls through. That candidate has its whole chain before it
then; and all that are not through are released a latency later at least, with all their work left. Of all numbers that
may be through then, the one with which the stage lasts shortest bounds it.

Several runs on the same servers, of which no two ask the same, take at least as long as the longest of them would take
alone, and as the rate limits need to let all optimizer calls through. No candidate is released before its run, alone,
could have come to it; so for every j, the work of all but the first j candidates that can be released is done after the
next can be. A block of a prompt counts at the first of all candidates that needs it; for a run alone it counts not at
all where another needs it, too, which may have had it computed.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import accumulate, chain
from operator import itemgetter

from metaspo.backends import Request, Usage
from metaspo.backends.chat.usage import estimate_usage
from metaspo.bench.servers.simulated_openai import MINUTE, OpenAIModel
from metaspo.bench.servers.simulated_vllm import VLLMModel, prompt_blocks
from metaspo.bench.work import Stage, Unit


@dataclass(frozen=True, slots=True)
class Bound:
    """Seconds that all the work takes at least, and how many of them the servers alone would take."""

    seconds: float
    server_seconds: float


@dataclass(frozen=True, slots=True)
class _Load:
    """What one candidate needs.

    Attributes:
        chain: latencies of its optimizer calls, one after the other.
        seconds: of a server, beside those of `blocks`.
        path: seconds of its longest answer on an idle server.
    """

    chain: tuple[float, ...]
    counted: tuple[int, ...]
    seconds: float
    blocks: frozenset[int]
    path: float


class BoundFinder:
    """Finds bounds of stages one after the other; remembers which prompt blocks were computed already."""

    def __init__(
        self,
        *,
        server: VLLMModel,
        replicas: int,
        optimizer: OpenAIModel,
        answer: Callable[[Request], str],
        computed: Set[int] = frozenset(),
    ) -> None:
        self._server = server
        self._replicas = replicas
        self._optimizer = optimizer
        self._answer = answer
        self._computed = set(computed)
        self._block_seconds = server.block_tokens * server.prompt_seconds

    def bound(self, stages: Sequence[Stage]) -> Bound:
        """All stages together."""
        bounds = self._bounds(self._loads(stages))
        return Bound(sum(bound.seconds for bound in bounds), sum(bound.server_seconds for bound in bounds))

    def together(self, runs: Sequence[Sequence[Stage]]) -> Bound:
        """Several runs at once: the longest alone, or all work of candidates that cannot be released before some time,
        or all optimizer calls through the rate limits."""
        by_run = [self._loads(stages) for stages in runs]
        shared = _shared([frozenset(chain.from_iterable(load.blocks for load in chain(*run))) for run in by_run])
        alone = [self._where(shared)._bounds(run) for run in by_run]
        released = sorted(chain.from_iterable(map(_earliest, by_run, alone)), key=itemgetter(0))
        loads = [load for _, load in released]
        work = [seconds / self._replicas for seconds in self._first_needed(loads)]
        left = max(release + sum(work[j:]) for j, (release, _) in enumerate(released))
        limited = self._limited_releases([load for load in loads if load.chain])
        longest = max(sum(bound.seconds for bound in bounds) for bounds in alone)
        return Bound(max(longest, left, limited[-1] if limited else 0.0), sum(work))

    def mean_call(self, stages: Sequence[Stage]) -> tuple[float, Usage]:
        """Seconds and tokens of a call of the optimizer model; 0 where there is none."""
        calls = [call for stage in stages for unit in stage for call in unit.optimizer]
        usages = [estimate_usage(call, self._answer(call)) for call in calls]
        count = max(1, len(calls))
        tokens = (sum(usage.prompt_tokens for usage in usages), sum(usage.completion_tokens for usage in usages))
        return sum(map(self._latency, calls)) / count, Usage(*(round(each / count) for each in tokens))

    def _bounds(self, stages: Sequence[Sequence[_Load]]) -> list[Bound]:
        return [self._stage(loads) for loads in stages]

    def _loads(self, stages: Sequence[Stage]) -> list[list[_Load]]:
        """What the candidates need, by stage."""
        return [[self._load(unit) for unit in stage] for stage in stages]

    def _first_needed(self, loads: Sequence[_Load]) -> list[float]:
        """Server seconds of each, in the order of release: a block counts where it is needed first."""
        seconds = []
        for load in loads:
            seconds.append(load.seconds + self._block_seconds * len(load.blocks - self._computed))
            self._computed |= load.blocks
        return seconds

    def _where(self, computed: Set[int]) -> "BoundFinder":
        """The same before anything is asked, these blocks having been computed already."""
        return BoundFinder(
            server=self._server,
            replicas=self._replicas,
            optimizer=self._optimizer,
            answer=self._answer,
            computed=computed,
        )

    def _stage(self, loads: Sequence[_Load]) -> Bound:
        loads = sorted(loads, key=lambda load: sum(load.chain))
        shares = Counter(block for load in loads for block in load.blocks - self._computed)
        alone = [
            load.seconds + self._block_seconds * sum(shares[block] == 1 for block in load.blocks) for load in loads
        ]
        first_here = self._first_needed(loads)
        shortest_alone = sorted(alone)
        limited = self._limited_releases(loads)
        seconds = 0.0
        for j, load in enumerate(loads):
            release = sum(load.chain)
            seconds = max(seconds, release + load.path, release + sum(first_here[j:]) / self._replicas)
            work = sum(shortest_alone[: len(loads) - j]) / self._replicas
            seconds = max(seconds, limited[j] + max(work, min(load.path for load in loads)))
        seconds = max(seconds, self._in_turn(list(zip(loads, alone, strict=True))))
        return Bound(seconds, sum(first_here) / self._replicas)

    def _load(self, unit: Unit) -> _Load:
        model = self._server
        seconds = path = 0.0
        blocks: set[int] = set()
        for request in unit.evaluations:
            usage = estimate_usage(request, self._answer(request))
            keys = prompt_blocks(request, usage.prompt_tokens, model)
            blocks.update(keys)
            tail = model.prompt_seconds * (usage.prompt_tokens - len(keys) * model.block_tokens)
            steps = max(1, usage.completion_tokens)
            seconds += tail + steps * (model.step_seconds / model.max_num_seqs + model.sequence_seconds)
            path = max(path, tail + steps * (model.step_seconds + model.sequence_seconds))
        return _Load(
            chain=tuple(self._latency(call) for call in unit.optimizer),
            counted=tuple(map(self._optimizer.tokens, unit.optimizer)),
            seconds=seconds,
            blocks=frozenset(blocks),
            path=path + 2 * model.network_seconds,
        )

    def _in_turn(self, loads: Sequence[tuple[_Load, float]]) -> float:
        """Seconds for first calls and later ones under the rate limits, beside what each candidate takes of servers
        alone: the fewest, over how many candidates are through when the last first call is granted."""
        model = self._optimizer
        chained = [(load, alone) for load, alone in loads if len(load.chain) > 1]
        if not chained:
            return 0.0
        first = sum(load.counted[0] for load, _ in chained)
        largest = max(load.counted[0] for load, _ in chained)
        later = sorted(sum(load.counted[1:]) for load, _ in chained)
        calls = min(len(load.chain) for load, _ in chained) - 1
        whole = min(sum(load.chain) + load.path for load, _ in chained)
        last = min(load.chain[-1] for load, _ in chained)
        shortest = sorted(alone for _, alone in chained)
        ends = []
        for through in range(len(chained)):
            granted = max(
                _granted(first + sum(later[:through]), largest, model.tokens_per_minute, model.burst_seconds),
                _granted(len(chained) + through * calls, 1, model.requests_per_minute, model.burst_seconds),
            )
            work = sum(shortest[: len(chained) - through]) / self._replicas
            ends.append(granted + max(whole, last + work))
        return min(ends)

    def _latency(self, call: Request) -> float:
        return self._optimizer.latency(call, estimate_usage(call, self._answer(call)).completion_tokens)

    def _limited_releases(self, loads: Sequence[_Load]) -> list[float]:
        """The earliest time of the j-th release that the rate limits allow."""
        model = self._optimizer
        last = min((load.chain[-1] for load in loads if load.chain), default=0.0)
        largest = max((tokens for load in loads for tokens in load.counted), default=0)
        tokens = sorted(sum(load.counted) for load in loads)
        calls = sorted(len(load.counted) for load in loads)
        return [
            last
            + max(
                _granted(sum(tokens[: j + 1]), largest, model.tokens_per_minute, model.burst_seconds),
                _granted(sum(calls[: j + 1]), 1, model.requests_per_minute, model.burst_seconds),
            )
            for j in range(len(loads))
        ]


def _earliest(stages: Sequence[Sequence[_Load]], alone: Sequence[Bound]) -> Iterator[tuple[float, _Load]]:
    """The candidates of a run, each with the time before which it cannot be released."""
    begins = accumulate((bound.seconds for bound in alone), initial=0.0)
    for loads, begin in zip(stages, begins, strict=False):
        for load in loads:
            yield begin + sum(load.chain), load


def _shared(runs: Sequence[Set[int]]) -> set[int]:
    """The blocks that more than one run needs."""
    return {block for block, count in Counter(chain.from_iterable(runs)).items() if count > 1}


def _granted(amount: int, last: int, per_minute: int | None, burst: float) -> float:
    """Seconds until a full bucket has let so much through, the last call of it being no larger than `last`."""
    if per_minute is None:
        return 0.0
    rate = per_minute / MINUTE
    held = max(1.0, rate * burst)
    return max(0.0, (amount - last + min(last, held) - held) / rate)
