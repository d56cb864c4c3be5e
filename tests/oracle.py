"""The bilevel loop as plainly as it can be written: one thing after another, no engine, no gateway, no cache.

What it selects is what a run must select. It shares with the engine only the texts of the meta-prompts and the seeding
of random draws; loops, sampling order, scores, ties and redraws are written out again.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import fsum
from random import Random
from typing import Any, TypeVar

from metaspo.backends import Completion, Message, Request, Sampling, Usage, json_text
from metaspo.engine import RunConfig
from metaspo.engine.addresses import draw_at, rng_at
from metaspo.engine.config.schema import InnerTable, OuterTable
from metaspo.engine.config.wording import Wording, drawn_again
from metaspo.engine.prompts import PromptPair
from metaspo.engine.strategies import Malformed
from metaspo.engine.strategies.ape import bounded, named_induction, read_induced, read_named_induced, user_induction
from metaspo.engine.strategies.meta_prompts import (
    failure_block,
    read_analysis,
    read_prompt,
)
from metaspo.engine.strategies.named_prompts import about, choose_numbers
from metaspo.engine.strategies.texts import META, messages, text
from metaspo.engine.tasks import Example, Failure, Grade, Task
from metaspo.engine.tasks.graders import Grader
from metaspo.engine.tasks.judges import AGAIN, COMPARED, REFERENCE, SCORED, Judge
from metaspo.engine.tasks.named_prompts import NamedPrompts
from metaspo.engine.tasks.programs import Program
from metaspo.engine.tasks.verdict_form import Form, Verdict

Answer = Callable[[Request], str]
T = TypeVar("T")
NEXT = "Now the next one:"


@dataclass
class Evaluation:
    """One user prompt of one task under the present system prompt; it is out if an example was refused."""

    user: str
    score: float
    failures: list[Failure]
    refused: bool = False
    grades: tuple[float, ...] = ()
    right: tuple[tuple[Example, str], ...] = ()


Kept = dict[str, list[Evaluation]]  # by task, best first
Change = tuple[list[tuple[str, int]], Mapping[str, float]]  # prompts to rewrite, each with its count; and the numbers


class Refused(Exception):
    """A request that will never be answered."""


def average(nodes: Sequence[Evaluation]) -> float:
    """The plain mean of scores."""
    return fsum(node.score for node in nodes) / len(nodes)


def formless(node: Evaluation) -> bool:
    """Whether most answers could not be read."""
    return 2 * sum(failure.prediction is None for failure in node.failures) > len(node.grades)


class Oracle:
    """Runs a config sequentially; `selections` then holds what was selected, by address."""

    def __init__(
        self, config: RunConfig, tasks: list[Task], answer: Answer, *, count_tokens: Callable[[str], int] = len
    ) -> None:
        self.config = config
        self.count_tokens = count_tokens
        self.tasks = [replace(task, train=task.train[: config.rows]) for task in tasks if task.role == "source"]
        looked_for = config.outer.candidates and (config.iterations or config.train_calls)
        searched = looked_for or config.system_prompts
        self.guards = [task for task in tasks if task.role == "guard" and searched]
        self.floors: dict[str, float] = {}
        self.plain: Kept = {task.name: [] for task in self.tasks}
        self.beam: list[tuple[str, Kept]] = []
        self.tried: dict[str, dict[str, float | None]] = {task.name: {} for task in self.tasks}
        self.rank = rank_by(config)
        self.answer = answer
        self.selections: dict[str, dict[str, Any]] = {}
        self.asked: set[Request] = set()

    def run(self) -> None:
        """Fill `selections`."""
        self.optimize()

    def optimize(self) -> tuple[str, Kept]:
        """All iterations: the system prompt and the user prompts that they come to."""
        system = self.config.system_prompt
        kept = {
            task.name: [self.score_at(f"init/task={task.name}", task, system, task.user_prompt)] for task in self.tasks
        }
        if any(nodes[0].refused for nodes in kept.values()):
            raise Refused
        for guard in self.guards:
            first = self.score_at(f"guard/task={guard.name}", guard, system, guard.user_prompt)
            if first.refused:
                raise Refused
            self.floors[guard.name] = round(first.score - guard.tolerance, 12)
        self.plain = self.plain_prompts(kept, system)
        self.first = {task.name: average(self.under(task, kept)) for task in self.tasks}
        for task in self.tasks:
            if task.user_prompts:
                kept[task.name] = self.inner(
                    task, kept[task.name], system, f"inner/task={task.name}", task.user_prompts
                )
        if self.config.system_prompts:
            system, kept = self.outer(kept, system, "outer", self.config.system_prompts)
        for iteration in range(1, self.config.iterations + 1):
            for task in self.tasks:
                place = f"iter={iteration}/inner/task={task.name}"
                kept[task.name] = self.inner(task, kept[task.name], system, place)
            system, kept = self.outer(kept, system, f"iter={iteration}/outer")
        return system, kept

    def plain_prompts(self, kept: Kept, system: str) -> Kept:
        """The user prompts that `outer.under` names beside the kept ones, scored."""
        under = self.config.outer.under
        if under != "induced":
            return {name: [] if under == "kept" else list(nodes) for name, nodes in kept.items()}
        plain: Kept = {}
        for task in self.tasks:
            nodes: dict[str, Evaluation] = {}
            for number in range(1, self.config.outer.induced + 1):
                user = self.induced(task, f"induced/task={task.name}/prompt={number}")
                if user is not None and user not in nodes:
                    nodes[user] = self.score_at(f"induced/task={task.name}", task, system, user)
            first = kept[task.name][0]
            usable = [node for node in nodes.values() if not node.refused] or [first]
            plain[task.name] = different([node if formless(node) == formless(first) else first for node in usable])
            if self.config.inner.candidates:
                kept[task.name] += [node for node in usable if node not in plain[task.name]]
        return plain

    def induced(self, task: Task, place: str) -> str | None:
        """A user prompt by what examples were answered; named prompts each on its own, beside the first ones."""
        rule, form = task.answer_format.describe(), task.form
        shown = rng_at(self.config.seed, place).sample(task.train, min(10, len(task.train)))
        bounds = partial(bounded, model=self.config.base.model, words=max(150, len(task.user_prompt.split())))
        if form is None:
            asked = bounds(user_induction(shown, answer_rule=rule))
            return self.write(f"{place}/induce", asked, induced_reader(rule), task)
        first, texts = form.read(task.user_prompt), dict[str, str | None]()
        for name in form.slots:
            asked = bounds(named_induction(shown, form=form, first=first, name=name, answer_rule=rule))
            read = partial(read_named_induced, form=form, first=first, name=name)
            texts[name] = self.ask(f"{place}/prompt={name}/induce", asked, read)
        whole = {name: text for name, text in texts.items() if text is not None}
        return str(NamedPrompts(whole, first.numbers)) if len(whole) == len(texts) else None

    def under(self, task: Task, kept: Kept) -> list[Evaluation]:
        """What system prompts are compared under."""
        which = {
            "kept": kept[task.name],
            "mixed": [kept[task.name][0], *self.plain[task.name]],
        }.get(self.config.outer.under, self.plain[task.name])
        return different(which)

    def inner(
        self, task: Task, kept: list[Evaluation], system: str, address: str, given: Sequence[str] = ()
    ) -> list[Evaluation]:
        """Candidates from the best prompt, or those that are given; the best of old and new stay."""
        candidates = len(given) or self.config.inner.candidates
        keep = self.config.inner.keep
        nodes = sorted(different([*kept, *self.plain[task.name]]), key=self.rank)[:keep] if candidates else list(kept)
        parent, lost, proposed = nodes[0], set(), []
        changes = [] if given or task.form is None else self.changes(task, nodes, address)
        for number in range(1, (len(changes) if changes else candidates) + 1):
            place = f"{address}/cand={number}"
            if changes:
                prompt = self.propose_named(task, parent, system, place, *changes[number - 1])
            elif given:
                prompt = self.or_none(given[number - 1], task)
            elif self.config.inner.demonstrations and number == candidates:
                prompt = self.or_none(self.demonstrated(parent, address), task)
            else:
                prompt = self.propose_user(task, parent, system, place)
            if prompt is None:
                continue
            proposed.append(prompt)
            gates = self.gates({task.name: [parent]}, None if given else self.config.inner, place)
            node = self.score_at(f"{place}/score", task, system, prompt)
            if not self.passes({task.name: [node]}, {task.name: [parent]}, gates, self.config.inner):
                lost.add(prompt)
                continue
            if not node.refused and prompt not in [other.user for other in nodes]:
                nodes.append(node)
        nodes = sorted(nodes, key=self.rank)[:keep]
        scores = {node.user: round(node.score, 12) for node in nodes}
        for prompt in proposed:
            full = prompt not in lost and len(nodes) == keep
            if prompt in scores or prompt not in self.tried[task.name]:
                self.tried[task.name][prompt] = scores.get(prompt, round(nodes[-1].score, 12) if full else None)
        self.selections[address] = {
            "address": address,
            "kept": [{"user": node.user, "score": node.score} for node in nodes],
        }
        return nodes

    def demonstrated(self, parent: Evaluation, address: str) -> str | None:
        """The best user prompt with right answers of its own before it."""
        plain = [(example, text) for example, text in parent.right if not (example.history or example.images)]
        pool = [f"Input: {example.question}\nOutput: {text}" for example, text in plain]
        shown = pick(pool, self.config.inner.demonstrations, rng_at(self.config.seed, f"{address}/demonstrations"))
        instruction = parent.user.rpartition(f"{NEXT}\n\n")[2]
        return "\n\n".join(["Worked examples:", *shown, NEXT, instruction]) if shown else None

    def gates(self, parents: Kept, table: InnerTable | OuterTable | None, address: str) -> list[dict[str, list[int]]]:
        """By task, rows on which a candidate must beat its parent first, who misses some; where gates double, those of
        the further ones, up to half of the largest task."""
        if table is None or not table.gate:
            return []
        rng = rng_at(self.config.seed, f"{address}/gate")
        whole = {task.name: range(len(task.train)) for task in self.tasks if task.name in parents}
        gates = [{name: rng.sample(whole[name], min(table.gate, len(whole[name]))) for name in parents}]
        while self.on_gate(parents, gates[0]) == 1 and self.on_gate(parents, whole) < 1:
            gates = [{name: rng.sample(whole[name], min(table.gate, len(whole[name]))) for name in parents}]
        size = table.gate
        while table.gate_doubles and (size := 2 * size) <= max(map(len, whole.values())) // 2:
            further = {}
            for name, there in gates[-1].items():
                left = [row for row in whole[name] if row not in there]
                further[name] = [*there, *rng.sample(left, min(size - len(there), len(left)))]
            gates.append(further)
        return gates

    def passes(
        self, nodes: Kept, parents: Kept, gates: list[dict[str, list[int]]], table: InnerTable | OuterTable
    ) -> bool:
        """Whether it does: a refused example leaves that open, and the candidate is out for it later."""
        if any(node.refused for name in nodes for node in nodes[name]):
            return True
        ahead = [self.on_gate(nodes, gate) - self.on_gate(parents, gate) for gate in gates]
        return all(by >= 0 if table.gate_doubles else by > 0 for by in ahead)

    def on_gate(self, nodes: Kept, gate: Mapping[str, Sequence[int]]) -> float:
        """The mean over nodes of the mean grade on the gate's rows."""
        weights = {task.name: task.weight for task in self.tasks}
        weighed = [
            (weights[name], fsum(node.grades[row] for row in gate[name]) / len(gate[name]))
            for name in nodes
            for node in nodes[name]
        ]
        return round(fsum(weight * share for weight, share in weighed) / fsum(weight for weight, _ in weighed), 12)

    def outer(self, kept: Kept, system: str, address: str, given: Sequence[str] = ()) -> tuple[str, Kept]:
        """Candidates from the kept system prompts in turn; the best one, of equals as `ties` says, is next."""
        starts = [(system, {task.name: self.under(task, kept) for task in self.tasks}), *self.beam]
        pool = [(0, *start) for start in starts]
        for number in range(1, (len(given) or self.config.outer.candidates) + 1):
            place = f"{address}/cand={number}"
            system_before, parents = starts[(number - 1) % len(starts)]
            if given:
                prompt = self.or_none(given[number - 1], None)
            else:
                prompt = self.propose_system(parents, system_before, place)
            if prompt is None:
                continue
            gates = self.gates(parents, None if given else self.config.outer, place)
            scored = {
                task.name: [
                    self.score_at(f"{place}/score/task={task.name}/prompt={position}", task, prompt, node.user)
                    for position, node in enumerate(parents[task.name])
                ]
                for task in self.tasks
            }
            if not self.passes(scored, parents, gates, self.config.outer):
                continue
            guarded = self.guarded(prompt, place)
            if any(node.refused for nodes in scored.values() for node in nodes) or not guarded:
                continue
            if prompt not in [there for _, there, _ in pool]:
                pool.append((number, prompt, scored))
        ranking = sorted(pool, key=lambda one: self.system_rank(one[1], one[2]))[: self.config.outer.keep]
        (chosen, best, nodes), plain = ranking[0], dict(self.plain)
        new = self.adopted(kept, best, nodes) if chosen else kept
        if chosen and self.config.outer.shared and not given and not self.shared(nodes, kept, new):
            self.plain = plain
            self.beam = self.beam_without(ranking, starts)
            score = self.meta(starts[0][1])
            told = {"address": address, "system": system, "chosen": 0, "score": score, "unshared": chosen}
            self.selections[address] = told
            return system, kept
        self.beam = [(prompt, scored) for _, prompt, scored in ranking[1:]]
        self.selections[address] = {"address": address, "system": best, "chosen": chosen, "score": self.meta(nodes)}
        return best, new

    def beam_without(
        self, ranking: list[tuple[int, str, Kept]], starts: list[tuple[str, Kept]]
    ) -> list[tuple[str, Kept]]:
        """What is kept beside the present system prompt where a better one was passed over: nothing above it."""
        bar = self.system_rank(*starts[0])
        below = [(prompt, scored) for _, prompt, scored in ranking if self.system_rank(prompt, scored) >= bar]
        there = dict([*starts, *below])
        order = sorted(there, key=lambda prompt: self.system_rank(prompt, there[prompt]))
        return [(prompt, there[prompt]) for prompt in order if prompt != starts[0][0]][: self.config.outer.keep - 1]

    def shared(self, nodes: Kept, kept: Kept, new: Kept) -> bool:
        """Whether tasks have gained more without the one that gained most than the best user prompts lose."""
        weights = {task.name: task.weight for task in self.tasks}
        gains = {name: average(nodes[name]) - self.first[name] for name in weights}
        most = max(weights, key=lambda name: gains[name] * weights[name])
        others = [name for name in weights if name != most]
        if len(others) < 2:
            return True
        gained = fsum(weights[name] * gains[name] for name in others) / fsum(weights[name] for name in others)
        lost = fsum(weights[name] * (kept[name][0].score - new[name][0].score) for name in weights)
        return round(gained - lost / fsum(weights.values()) - self.config.outer.shared_margin / 100, 9) > 0

    def system_rank(self, system: str, nodes: Kept) -> tuple[float, int]:
        """The best first, less what its length costs; of equals the shorter where ties go so."""
        less = self.config.outer.length_penalty / 10_000 * len(system)
        return -round(self.meta(nodes) - less, 12), len(system) if self.config.ties == "shorter" else 0

    def guarded(self, system: str, address: str) -> bool:
        """Whether a system prompt is below no guard's floor."""
        nodes = [
            (guard, self.score_at(f"{address}/guard/task={guard.name}", guard, system, guard.user_prompt))
            for guard in self.guards
        ]
        return all(not node.refused and round(node.score, 12) >= self.floors[guard.name] for guard, node in nodes)

    def adopted(self, kept: Kept, system: str, scored: Kept) -> Kept:
        """All user prompts under the new system prompt, ranked anew; those that were not compared under are scored."""
        new: Kept = {}
        for task in self.tasks:
            cards = {node.user: node for node in scored[task.name]}
            for node in kept[task.name]:
                if node.user not in cards:
                    cards[node.user] = self.score_at(f"kept/task={task.name}", task, system, node.user)
            self.plain[task.name] = [cards[node.user] for node in self.plain[task.name]]
            usable = [cards[node.user] for node in kept[task.name] if not cards[node.user].refused]
            both = different([*usable, *self.plain[task.name]])
            new[task.name] = sorted(both, key=self.rank)[: len(kept[task.name])]
        return new

    def propose_user(self, task: Task, parent: Evaluation, system: str, address: str) -> str | None:
        """Analysis, then rewrite; None if there is nothing to learn or every draw is malformed."""
        shown = pick(parent.failures, self.config.inner.failures, rng_at(self.config.seed, address))
        if not shown:
            return None
        slots = {
            "system_prompt": system,
            "user_prompt": parent.user,
            "answer_rule": task.answer_format.describe(),
            "failures": "\n\n".join(
                failure_block(failure, system_prompt=system, user_prompt=parent.user) for failure in shown
            ),
        }
        asked = ending_with(self.told_of(task), messages(META, "user", "analyze", slots))
        analysis = self.ask(f"{address}/analyze", asked, read_analysis)
        if analysis is None:
            return None
        slots["analysis"] = analysis
        return self.write(
            f"{address}/generate", messages(META, "user", "generate", slots), partial(read_prompt, level="user"), task
        )

    def changes(self, task: Task, nodes: list[Evaluation], address: str) -> list[Change]:
        """What each candidate of a round changes of named prompts and numbers: all, or one in turn."""
        form, count = task.form, self.config.inner.candidates
        assert form is not None
        values = {**self.tried[task.name], **{node.user: round(node.score, 12) for node in nodes}}
        history = [(form.read(prompt), value) for prompt, value in values.items()]
        texts = form.read(nodes[0].user).texts
        first = (int(address.split("/")[0].removeprefix("iter=")) - 1) * count
        every = [*form.slots, "numbers"]
        turns = [every[number % len(every)] for number in range(first, first + count)]
        wanted = count if form.together else turns.count("numbers")
        chosen = choose_numbers(
            form,
            [(named.numbers, value) for named, value in history if value is not None],
            count=wanted,
            seed=rng_at(self.config.seed, f"{address}/numbers").getrandbits(32),
            without=None if form.together else [named.numbers for named, _ in history if named.texts == texts],
        )
        if form.together:
            return [([(name, n + 1) for name in form.slots], chosen[n]) for n in range(count)]
        return [
            ([], chosen[turns[:n].count("numbers")])
            if turn == "numbers"
            else ([(turn, turns[: n + 1].count(turn))], form.read(nodes[0].user).numbers)
            for n, turn in enumerate(turns)
        ]

    def propose_named(
        self,
        task: Task,
        parent: Evaluation,
        system: str,
        address: str,
        names: list[tuple[str, int]],
        numbers: Mapping[str, float],
    ) -> str | None:
        """Some named prompts rewritten, each on its own, as if it were a user prompt; None if none could be."""
        assert task.form is not None
        there = task.form.read(parent.user)
        texts = {name: self.rewritten(task, parent, system, address, name, number) for name, number in names}
        new = {name: text for name, text in texts.items() if text is not None}
        return str(NamedPrompts({**there.texts, **new}, numbers)) if new or not names else None

    def rewritten(
        self, task: Task, parent: Evaluation, system: str, address: str, name: str, number: int
    ) -> str | None:
        """One named prompt of a candidate, which is its `number`-th of the round."""
        form, above = task.form, address.rpartition("/")[0]
        assert form is not None
        there = form.read(parent.user)
        asks = "question" in form.slots[name]
        shown = there.texts[name] if asks else there.texts[name] + "\n\n{question}"
        rng = rng_at(self.config.seed, f"{above}/prompt={name}/cand={number}")
        failures = pick(parent.failures, self.config.inner.failures, rng)
        if not failures:
            return None
        slots = {
            "system_prompt": system,
            "user_prompt": shown,
            "answer_rule": task.answer_format.describe(),
            "failures": "\n\n".join(
                failure_block(failure, system_prompt=system, user_prompt=shown) for failure in failures
            ),
        }

        def told(step: str) -> tuple[Message, ...]:
            role, request = messages(META, "user", step, slots)
            return role, Message("user", f"{request.content}\n\n{about(form, there, name)}")

        def read(said: str) -> str:
            written = read_prompt(said, level="user")
            written = written if asks else written.replace("{question}", "").strip()
            if sorted(re.findall(r"\{\w+\}", written)) != sorted(f"{{{slot}}}" for slot in form.slots[name]):
                raise Malformed("not the places that it is to have")
            return written

        analysis = self.ask(f"{address}/prompt={name}/analyze", told("analyze"), read_analysis)
        if analysis is None:
            return None
        slots["analysis"] = analysis
        return self.ask(f"{address}/prompt={name}/generate", told("generate"), read)

    def propose_system(self, kept: Kept, system: str, address: str) -> str | None:
        """From a first one as often as the config says, else once; a pass that brings none leaves what is there."""
        rng = rng_at(self.config.seed, address)
        prompt = self.system_from(kept, system, address, rng)
        passes = self.config.outer.first_passes
        if system in (self.config.system_prompt, *self.config.system_prompts):
            for number in range(2, passes + 1):
                again = None if prompt is None else self.system_from(kept, prompt, address, rng, str(number), system)
                if again is None:
                    break
                prompt = again
        return prompt

    def system_from(
        self, kept: Kept, system: str, address: str, rng: Random, part: str = "", first: str = ""
    ) -> str | None:
        """Failures of every task's best prompt, under `first` if that is given, shuffled; analysis, then rewrite."""
        blocks = []
        for task in self.tasks:
            best = kept[task.name][0]
            shown = pick(best.failures, self.config.outer.failures, rng)
            blocks += [failure_block(failure, system_prompt=system, user_prompt=best.user) for failure in shown]
        if not blocks:
            return None
        rng.shuffle(blocks)
        slots = {"system_prompt": system, "failures": "\n\n".join(blocks)}
        older = text(META, "blocks", "older", {"system_prompt": first}) if first else ""
        asked = ending_with(self.told_of(None), ending_with(older, messages(META, "system", "analyze", slots)))
        analysis = self.ask(f"{address}/analyze{part}", asked, read_analysis)
        if analysis is None:
            return None
        wrong = [failure for task in self.tasks for failure in kept[task.name][0].failures]
        unread = sum(failure.prediction is None for failure in wrong)
        slots["form"] = text(META, "system", "say_form" if 2 * unread > len(wrong) else "set_no_form", {})
        slots["analysis"] = analysis
        rewrite = ending_with(older, messages(META, "system", "generate", slots))
        return self.write(f"{address}/generate{part}", rewrite, partial(read_prompt, level="system"), None)

    def told_of(self, task: Task | None) -> str:
        """What whoever writes a user prompt of a task, or a system prompt, has to keep to."""
        wording = Wording(fixed=task.fixed) if task else self.config.outer
        return wording.request("user" if task else "system")

    def write(
        self, address: str, messages: Sequence[Message], read: Callable[[str], str], task: Task | None
    ) -> str | None:
        """A prompt that keeps to what it has to, its fixed parts put back: of a task, or a system prompt."""
        return self.ask(
            address, ending_with(self.told_of(task), messages), lambda answer: self.taken(read(answer), task)
        )

    def taken(self, prompt: str, task: Task | None) -> str:
        """A user prompt of a task, or a system prompt, with its fixed parts; `Malformed` if it breaks its wording."""
        first, fixed = (task.user_prompt, task.fixed) if task else (self.config.system_prompt, self.config.outer.fixed)
        for part in fixed:
            if part not in prompt:
                prompt = f"{part}\n\n{prompt}" if first.startswith(part) else f"{prompt}\n\n{part}"
        if task and not task.form and prompt.count("{question}") != 1:
            raise Malformed("placeholder")
        if not task and (fault := self.broken(prompt)):
            raise Malformed(fault, again=drawn_again("system", fault))
        return prompt

    def or_none(self, prompt: str | None, task: Task | None) -> str | None:
        """The same of one that nobody could write again; None if it breaks its wording."""
        try:
            return None if prompt is None else self.taken(prompt, task)
        except Malformed:
            return None

    def broken(self, system: str) -> str:
        """What a system prompt breaks of what is asked of its wording."""
        table, held = self.config.outer, set(re.findall(r"\w+", system.casefold()))
        if table.max_chars is not None and len(system) > table.max_chars:
            return f"it has {len(system):,} characters, and max_chars = {table.max_chars:,}"
        if table.max_prompt_tokens is not None and (tokens := self.count_tokens(system)) > table.max_prompt_tokens:
            return f"it has {tokens:,} tokens, and max_prompt_tokens = {table.max_prompt_tokens:,}"
        for word in table.must_contain:
            if word not in held:
                return f"it does not hold the words '{word}' (must_contain)"
        for word in table.must_not_contain:
            if word in held:
                return f"it holds the words '{word}' (must_not_contain)"
        return ""

    def ask(self, address: str, messages: Sequence[Message], read: Callable[[str], str]) -> str | None:
        """One optimizer answer that can be read; None after the last redraw, or where it is refused."""
        again = ""
        for attempt in range(self.config.redraws + 1):
            draw = draw_at(self.config.seed, address, attempt=attempt)
            sampling = Sampling(max_tokens=1024, temperature=1.0)
            asked = tuple(ending_with(again, messages))
            try:
                return read(self.send(Request(model="writer", messages=asked, sampling=sampling, draw=draw)))
            except Malformed as fault:
                again = fault.again
            except Refused:
                return None
        return None

    def score_at(self, address: str, task: Task, system: str, user: str) -> Evaluation:
        """Score on the train split; the address is for who keeps books by it."""
        return self.score(task, system, user)

    def score(self, task: Task, system: str, user: str) -> Evaluation:
        """The mean grade over the train split; a malformed answer is wrong."""
        grades, failures, right, refused = [], [], [], False
        for example in task.train:
            text = self.answered(task, PromptPair(system, user), example)
            prediction = text if text in ("yes", "no") else None
            try:
                grade = self.grade(task, prediction, example)
            except Refused:
                refused = True
                grade = Grade(0.0)
            grades.append(grade.score)
            if grade.score == 1:
                right.append((example, text))
            if grade.score < 1:
                failures.append(Failure(example=example, response=text, prediction=prediction, feedback=grade.feedback))
        score = fsum(grades) / len(grades) if grades else 0.0
        return Evaluation(user, score, failures, refused, tuple(grades), tuple(right))

    def answered(self, task: Task, pair: PromptPair, example: Example) -> str:
        """What an example is answered under a pair of prompts."""
        pair = PromptPair(without_own(pair.system, example.question), without_own(pair.user, example.question))
        if task.program is not None:
            return self.by_program(task.program, pair, example)
        return self.base(self.messages(pair, example))

    def messages(self, pair: PromptPair, example: Example) -> tuple[Message, ...]:
        """System prompt, turns, question with images; merged, the system prompt begins what the user says first."""
        asked = pair.user.replace("{question}", example.question)
        told = [(turn.role, turn.content, turn.extra) for turn in example.history]
        system = pair.system
        if self.config.roles == "merged":
            role, text, extra = told[0] if told else ("user", asked, "")
            if role != "user":
                told.insert(0, ("user", system, ""))
            elif told:
                told[0] = (role, f"{system}\n\n{text}", extra)
            else:
                asked = f"{system}\n\n{asked}"
        else:
            told.insert(0, ("system", system, ""))
        parts: list[dict[str, object]] = [{"type": "text", "text": asked}]
        parts += [
            {"type": "image_url", "image_url": {"url": f"data:{image.kind};base64,{image.data}"}}
            for image in example.images
        ]
        told.append(("user", asked, json_text({"content": parts}) if example.images else ""))
        return tuple(Message(*each) for each in told)

    def grade(self, task: Task, prediction: str | None, example: Example) -> Grade:
        """Right or wrong, or what a judge says, or a grader of one's own."""
        judge = getattr(task.metric, "function", None)
        if isinstance(task.metric, Grader) and not isinstance(judge, Judge):
            return self.by_grader(task.metric, prediction, example)
        if not isinstance(judge, Judge):
            return Grade(float(prediction == example.answers[0]))
        if prediction is None:
            return Grade(0.0)
        if judge.against is None:
            form = judge.form
            words = {**form.words, "rubric": judge.rubric}
            gold = REFERENCE.format(gold=example.answers[0])
            text = SCORED.format(question=all_of(example), reference=gold, answer=prediction, **words)
            return Grade(*self.verdict(form, text))
        other: str | None = example.answers[0]
        if judge.against == "first":
            first = self.answered(task, PromptPair(self.config.system_prompt, task.user_prompt), example)
            other = first if first in ("yes", "no") else None
        if other is None or prediction == other:
            return Grade(1.0 if other is None else 0.5)
        words = {**judge.form.words, "rubric": judge.rubric}
        sides = [(prediction, other), (other, prediction)]
        texts = [COMPARED.format(question=all_of(example), a=a, b=b, **words) for a, b in sides]
        (first_score, first_why), (second_score, second_why) = [self.verdict(judge.form, text) for text in texts]
        why, place = (first_why, "A") if first_score <= 1 - second_score else (second_why, "B")
        score = (first_score + 1 - second_score) / 2
        return Grade(score, f"compared with another answer (this one is answer {place}): {why}")

    def verdict(self, form: Form, text: str) -> Verdict:
        """What the judge says, asked twice more where it cannot be read."""
        told, asked, bare = [Message("user", text)], form, replace(form, reasons=False)
        for _ in range(3):
            request = Request(
                model="judge",
                messages=tuple(told),
                sampling=Sampling(max_tokens=1024, temperature=0.0),
                response_format=json_text(asked.response_format),
            )
            said = self.send(request)
            verdict = form.read(said, cut=self.is_cut(request))
            if verdict is not None:
                return verdict
            told += [Message("assistant", said), Message("user", AGAIN.format(example=bare.example))]
            asked = bare
        raise Refused

    def is_cut(self, request: Request) -> bool:
        """Whether the answer to a request is cut off."""
        return False

    def by_grader(self, grader: Grader, prediction: str | None, example: Example) -> Grade:
        """What a grader of one's own comes to, which asks the judge; equal calls are draws one after the other."""
        times = Counter[tuple[str, float]]()

        async def call(text: str, temperature: float = 0.0, max_tokens: int = 1024) -> Completion:
            draw = times[text, temperature] if temperature else 0
            times[text, temperature] += 1
            sampling = Sampling(max_tokens=max_tokens, temperature=temperature)
            said = self.send(Request(model="judge", messages=(Message("user", text),), sampling=sampling, draw=draw))
            return Completion(text=said, finish_reason="stop", usage=Usage(1, 1), latency=0.0)

        grade: Grade = driven(grader.function(prediction, example, call))
        return grade

    def base(self, messages: tuple[Message, ...], temperature: float = 0.0) -> str:
        """One answer of the base model."""
        sampling = Sampling(max_tokens=8, temperature=temperature)
        return self.send(Request(model="answerer", messages=messages, sampling=sampling))

    def completion(self, messages: tuple[Message, ...], temperature: float) -> Completion:
        """What a program's call brings."""
        text = self.base(messages, temperature)
        return Completion(text=text, finish_reason="stop", usage=Usage(1, 1), latency=0.0)

    def by_program(self, program: Program, pair: PromptPair, example: Example) -> str:
        """The text that a program comes to."""
        answer = self.returned(program, pair, example)
        return answer if isinstance(answer, str) else answer.text

    def returned(self, program: Program, pair: PromptPair, example: Example) -> str | Completion:
        """What a program comes to that awaits nothing but its calls."""

        async def call(messages: str | tuple[Message, ...], temperature: float = 0.0) -> Completion:
            told = (Message("user", messages),) if isinstance(messages, str) else messages
            return self.completion(told, temperature)

        answer: str | Completion = driven(program.function(pair, example, call))
        return answer

    def meta(self, kept: Kept) -> float:
        """The mean over all (task, user prompt) nodes, each with its task's weight."""
        weighed = [(task.weight, node.score) for task in self.tasks for node in kept[task.name]]
        return round(fsum(weight * score for weight, score in weighed) / fsum(weight for weight, _ in weighed), 12)

    def send(self, request: Request) -> str:
        """Ask the world, and remember what was asked."""
        self.asked.add(request)
        return self.answer(request)


def driven(running: Any) -> Any:  # noqa: ANN401 - whatever the code of a task returns
    """What code comes to that awaits nothing but its calls."""
    try:
        running.send(None)
    except StopIteration as returned:
        return returned.value
    raise AssertionError("the code waits for something else")


def all_of(example: Example) -> str:
    """What a judge reads of an example: its turns, its question, the names of its images."""
    turns = [f"{turn.role}: {turn.content}" for turn in example.history]
    last = f"user: {example.question}" if turns else example.question
    return "\n".join([*turns, last, *(f"[image {image.name}]" for image in example.images)])


def ending_with(request: str, messages: Sequence[Message]) -> list[Message]:
    """The messages, something added to the last one."""
    *before, last = messages
    return [*before, replace(last, content=f"{last.content}\n\n{request}") if request else last]


def different(nodes: list[Evaluation]) -> list[Evaluation]:
    """Each user prompt once."""
    return list({node.user: node for node in nodes}.values())


def induced_reader(rule: str) -> Callable[[str], str]:
    """Reads an induced user prompt."""
    return lambda text: read_induced(text, answer_rule=rule)


def rank_by(config: RunConfig) -> Callable[[Evaluation], tuple[float, int]]:
    """Best first, of equals the shorter where ties go so; scores are equal that differ by rounding only."""
    shorter = config.ties == "shorter"
    return lambda node: (-round(node.score, 12), len(node.user) if shorter else 0)


def without_own(prompt: str, question: str) -> str:
    """A prompt without what it demonstrates of a question: alone in user prompts, within one in system prompts."""
    blocks = prompt.split("\n\n")
    if "Worked examples:" not in blocks:
        return prompt
    before = blocks[: blocks.index("Worked examples:")]
    shown = [block for block in blocks[len(before) + 1 :] if block.startswith("Input: ")]
    after = blocks[len(before) + 1 + len(shown) :]
    asked = [block.removeprefix("Input: ").partition("\n")[0] for block in shown]
    others = [
        block for block, text in zip(shown, asked, strict=True) if (question != text if after else question not in text)
    ]
    if not others:
        return "\n\n".join([*before, *after[1:]])
    return "\n\n".join([*before, "Worked examples:", *others, *after])


def pick(failures: list[T], size: int, rng: Random) -> list[T]:
    """A sample without repeats, all of them if there are fewer."""
    return rng.sample(failures, min(size, len(failures)))
