"""The known-truth world's optimizer model before the meta-prompts of TextGrad and DSPy, in the formats that they read.

What it sees, overlooks and adds is as for metaspo (`writer`), but it never forgets a format, since neither
package asks again for what it cannot read.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from metaspo.bench.known_truth.skills import COMMON, HASTE
from metaspo.bench.known_truth.world import RULE, World, fraction, questions, task_of
from metaspo.bench.known_truth.writer import INDUCED, NEW, NOTICES, NOTICES_IN_ANSWERS, Writer, compose

SHARED = "system prompt that every task shares"
WRONG = "The answer is wrong."
IN_SUMMARY = 4  # skills of each task that a summary of data names at most
_GENERAL = {skill.name for skill in (*COMMON, HASTE)}
Finding = tuple[str, str]  # a task, a skill


@dataclass(frozen=True)
class PeerWriter:
    """Answers as the optimizer model."""

    world: World

    def to_textgrad(self, prompt: str) -> str:
        """Feedback to an answer or a prompt, or an improved prompt in TextGrad's tags."""
        (role,) = re.findall(r"<ROLE> ?(.*?) ?</ROLE>", prompt)[:1]
        if "<IMPROVED_VARIABLE>" in prompt:
            return f"<IMPROVED_VARIABLE>{self._improve(prompt, for_all=role == SHARED)}</IMPROVED_VARIABLE>"
        if "<OUTPUT_OF_FUNCTION>" in prompt:
            return "The answer is right." if "<OUTPUT_OF_FUNCTION> 1 " in prompt else WRONG
        if WRONG not in prompt:
            return "It works well as it is."
        question = questions(prompt)[-1]
        rng = self._draw("feedback", prompt)
        skills = self._writer.suspects([(question, prompt)], rng, notices=NOTICES, for_all=True)
        return f"This {_tagged([(task_of(question), skill) for skill in skills])}"

    def to_dspy(self, field: str, given: dict[str, str], draw: int) -> str:
        """What DSPy's proposer asks for: observations, a summary, descriptions, an instruction."""
        rng = self._draw(field, *given.values(), str(draw))
        if field == "observations":
            shown = [(question, "") for question in questions(given["examples"])]
            findings = [
                (task_of(question), skill)
                for question, prompts in shown
                for skill in self._writer.suspects([(question, prompts)], rng, notices=NOTICES_IN_ANSWERS, for_all=True)
            ]
            return f"{_tagged(findings)}. "
        if field == "summary":
            counts = Counter(_findings(given["observations"]))
            best = [
                finding
                for task in sorted({task for task, _ in counts})
                for finding, _ in Counter({each: counts[each] for each in counts if each[0] == task}).most_common(
                    IN_SUMMARY
                )
            ]
            return _tagged(best)
        if field == "proposed_instruction":
            return self._propose(given, rng)
        return "It tells the way for a question of one of several tasks."

    def _improve(self, prompt: str, *, for_all: bool) -> str:
        """The prompt by its feedback. Its sections come in any order, so nothing may depend on that."""
        sections = sorted(re.findall(r"<CONVERSATION>(.*?</FEEDBACK>)", prompt, flags=re.DOTALL))
        rng = self._draw("step", *sections)
        tag = "LM_SYSTEM_PROMPT" if for_all else "LM_INPUT"
        (parent,) = re.findall(rf"<{tag}> (.*?) </{tag}>", sections[0], flags=re.DOTALL)[:1]
        findings = [finding for section in sections for finding in _findings(section)]
        task = "" if for_all else task_of(questions(parent)[-1])
        return self._written(parent, findings, rng, task=task)

    def _propose(self, given: dict[str, str], rng: Random) -> str:
        """A new instruction by the data's summary and demonstrations, of which those of a task are the task's own."""
        basic = given["basic_instruction"]
        task = next((task for task in self.world.own if task in basic), "")
        summary = [each for each in _findings(given.get("dataset_description", "")) if not task or each[0] == task]
        shown = [(question, basic) for question in questions(given.get("task_demos", ""))]
        skills = self._writer.suspects(shown, rng, notices=NOTICES_IN_ANSWERS, for_all=True)
        return self._written(basic, [*summary, *((task, skill) for skill in skills)], rng, task=task, limit=INDUCED)

    def _written(self, parent: str, findings: list[Finding], rng: Random, *, task: str, limit: int = NEW) -> str:
        """With tact: what is one task's stays out of the prompt for all, and what is general out of a task's."""
        if rng.random() < self._writer.tact:
            tasks = {skill: {name for name, lacking in findings if lacking == skill} for _, skill in findings}
            if task:
                findings = [(name, skill) for name, skill in findings if skill not in _GENERAL]
            elif len({name for name, _ in findings}) > 1:
                findings = [(name, skill) for name, skill in findings if len(tasks[skill]) > 1]
        skills = self._writer.rewrite(" ".join(f"[{skill}]" for _, skill in findings), parent, rng, limit=limit)
        text = compose(skills, rng, task=task, induced=True)
        return f"{text}\n{RULE}" if task else text

    @property
    def _writer(self) -> Writer:
        return Writer(self.world)

    def _draw(self, *parts: str) -> Random:
        return Random(fraction(str(self.world.seed), "peer", *parts))


def _tagged(findings: Iterable[Finding]) -> str:
    return "lacks, or is about, " + "; ".join(f"[{skill}] in the {task}" for task, skill in findings)


def _findings(text: str) -> list[Finding]:
    return [(task, skill) for skill, task in re.findall(r"\[(\w+)\] in the (\w+)", text)]
