"""The optimizer model of the known-truth world: reads what it is shown, writes prompts, and is often wrong.

A pure function of messages and draw. It sees the hints in the questions that it is shown, overlooks some of them,
sometimes has an idea that helps nobody, forgets some of what a prompt had, and now and then forgets the tags. `tact` is
how often it keeps to its level: to what shows in several tasks when it writes for all of them, and to what is the
task's own when it writes for one.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from metaspo.backends import Request
from metaspo.bench.known_truth.pushes import evidence, push_to
from metaspo.bench.known_truth.skills import CATALOGUE, COMMON, HASTE, hinted, named
from metaspo.bench.known_truth.world import RULE, World, fraction, questions, task_of
from metaspo.engine.tasks.base import PLACEHOLDER

NOTICES = 0.8  # of the hints in failures
NOTICES_IN_ANSWERS = 0.5  # of the hints in questions shown with right answers: they do not say what is hard
KEEPS = 0.92  # of the skills that a prompt names, each time it is rewritten
WANDERS = 0.2  # how often an idea comes from nowhere
NEW = 2  # skills that a rewriting adds at most
FINDINGS = 3  # that an analysis names at most
INDUCED = 3  # skills that an induced instruction names at most
MUTATES = 0.7  # how often a child has an idea of its own
OPENINGS = (
    "You are a helpful assistant.",
    "You help with whatever is asked.",
    "Assist as well as you can.",
    "You answer questions.",
    "Be of good help.",
    "You are here to assist.",
)
TASK_OPENINGS = (
    "North, east, south or west? This comes from the {task}.",
    "This comes from the {task}: which way?",
    "Tell the way of what comes from the {task}.",
    "Which way does this case of the {task} go?",
    "Find the way for the {task}.",
    "The {task} asks for a way.",
)
_GENERAL = tuple(skill.name for skill in (*COMMON, HASTE))


@dataclass(frozen=True)
class Writer:
    """Answers as the optimizer model.

    Attributes:
        tact: how often it keeps to its level.
        malformed: share of the answers that cannot be read.
        echoes, rambles: how often a prompt quotes the first example it was shown, or goes on and on.
        pushes: how often a prompt pushes to the label that wrong answers should have been; less often, the more that it
            was shown speaks against that.
        heeds: what a right answer counts there, beside a wrong one.
    """

    world: World
    tact: float = 0.7
    malformed: float = 0.08
    echoes: float = 0.0
    rambles: float = 0.0
    pushes: float = 0.0
    heeds: float = 1.0

    def answer(self, request: Request) -> str:
        """An analysis or a prompt, in tags."""
        role, text = request.messages[0].content, request.messages[-1].content
        rng = Random(fraction(str(self.world.seed), "writer", role, text, str(request.draw)))
        if rng.random() < self.malformed:
            return "Let me think about that first."
        for_all = "improve system prompts" in role
        if "<analysis> and </analysis>" in text:
            return f"<analysis>{self._analyze(text, rng, for_all=for_all)}</analysis>"
        if "<findings> and </findings>" in text:
            return f"<findings>{self._diagnose(text, rng, for_all=for_all)}</findings>"
        tag = "system_prompt" if for_all else "user_prompt"
        prompt = self._stray(self._write(text, rng, tag=tag), text, rng)
        answer = "new_prompt" if "<new_prompt> and </new_prompt>" in text else tag
        return f"<{answer}>{prompt}</{answer}>"

    def _analyze(self, text: str, rng: Random, *, for_all: bool) -> str:
        """Of a component other sentences, of data what they need, of failures what is missing."""
        if "<sentence>" in text:
            return self._reword(text, rng)
        if "<pair>" in text:
            return f"What they need: {' '.join(f'[{name}]' for name in self._induce(text, rng, for_all=for_all))}"
        return self._diagnose(text, rng, for_all=for_all)

    def _stray(self, prompt: str, text: str, rng: Random) -> str:
        """What a weak writer puts before a prompt: an example that it was shown, a push, words that say nothing."""
        shown = questions(text)
        if shown and rng.random() < self.echoes:
            prompt = f"For example: {shown[0]}\n{prompt}"
        if self.pushes and rng.random() < self.pushes * (told := evidence(text, heeds=self.heeds)).one_sided:
            prompt = f"{push_to(told.label)}\n{prompt}"
        return (
            f"{' '.join(['Indeed it is so that one does well to do well.'] * 15)}\n{prompt}"
            if (rng.random() < self.rambles)
            else prompt
        )

    def _write(self, text: str, rng: Random, *, tag: str) -> str:
        """A new prompt, by what is asked for."""
        for_all = tag == "system_prompt"
        present = "present_system_prompt" if for_all else "task_prompt"
        ways: dict[str, Callable[[], Sequence[str]]] = {
            "<summary>": lambda: self._ground(text, rng, for_all=for_all),
            "<pair>": lambda: self._induce(text, rng, for_all=for_all),
            "<reflect_on>": lambda: self._reflect(text, rng, for_all=for_all),
            "<first>": lambda: self._breed(_blocks(text, "first|second|donor|member"), rng),
            "<earlier score": lambda: self._continue(text, rng, for_all=for_all),
            "in other words": lambda: _named(_blocks(text, "prompt")[0]),
            "Write a variation": lambda: _named(_blocks(text, "prompt")[0]),
            "": lambda: self.rewrite(
                text, (_blocks(text, "prompt") or _blocks(text, present) or _blocks(text, tag))[0], rng
            ),
        }
        skills = next(way for mark, way in ways.items() if mark in text)()
        task = "" if for_all else next(task for task in self.world.own if task in text)
        return compose(skills, rng, task=task, induced="<pair>" in text)

    def rewrite(self, text: str, parent: str, rng: Random, *, limit: int = NEW) -> list[str]:
        """Keep most of the prompt, take up what was found most often."""
        counts = Counter(re.findall(r"\[(\w+)\]", text))
        names = sorted(counts, key=lambda name: (-counts[name], rng.random()))
        kept = [skill for skill in _named(parent) if rng.random() < KEEPS]
        new = [name for name in names if name in CATALOGUE and name not in kept]
        idea = [self._idea(parent, rng)] if rng.random() < WANDERS else []
        return [*kept, *new[:limit], *idea]

    def _reflect(self, text: str, rng: Random, *, for_all: bool) -> list[str]:
        """A diagnosis and a rewriting in one call."""
        matches = self._diagnose(text, rng, for_all=for_all)
        return self.rewrite(matches, _blocks(text, "prompt")[0], rng)

    def _ground(self, text: str, rng: Random, *, for_all: bool) -> list[str]:
        """The present prompt with what the data's summary names and right outcomes hint at."""
        (parent,) = _blocks(text, "prompt")
        hints = [*re.findall(r"\[(\w+)\]", text), *self._induce(text, rng, for_all=for_all)]
        return self.rewrite(" ".join(f"[{name}]" for name in hints), parent, rng)

    def _induce(self, text: str, rng: Random, *, for_all: bool) -> list[str]:
        """What right answers hint at."""
        shown = [(question, "") for question in questions(text)]
        return self.suspects(shown, rng, notices=NOTICES_IN_ANSWERS, for_all=for_all)[:INDUCED]

    def _breed(self, parents: Sequence[str], rng: Random) -> list[str]:
        """The more parents have a skill, the likelier does the child; often an idea comes in."""
        votes = Counter(skill for parent in parents for skill in _named(parent))
        kept = [skill for skill, count in votes.items() if rng.random() < 0.35 + 0.6 * count / len(parents)]
        return [*kept, *([self._idea(parents[0], rng)] if rng.random() < MUTATES else [])]

    def _continue(self, text: str, rng: Random, *, for_all: bool) -> list[str]:
        """The best one's skills, some of another's, and what the exemplars hint at."""
        earlier = re.findall(r'<earlier score="\d+">\n(.*?)\n</earlier>', text, flags=re.DOTALL)
        best, another = earlier[-1], rng.choice(earlier)
        kept = [skill for skill in _named(best) if rng.random() < KEEPS]
        mixed = [skill for skill in _named(another) if rng.random() < 0.3]
        shown = [(question, best) for question in questions(text[text.rindex("</earlier>") :])]
        new = self.suspects(shown, rng, notices=NOTICES_IN_ANSWERS, for_all=for_all)[:1]
        idea = [self._idea(best, rng)] if rng.random() < WANDERS else []
        return [*kept, *mixed, *new, *idea]

    def _diagnose(self, text: str, rng: Random, *, for_all: bool) -> str:
        """What failures hint at and their prompts do not name."""
        cases = re.findall(r"<case>.*?</case>", text, flags=re.DOTALL)
        shown = [
            (question, f"{case}\n{_beside(text, task_of(question))}")
            for case in cases
            for question in [questions(case)[-1]]
        ]
        skills = self.suspects(shown, rng, notices=NOTICES, for_all=for_all)
        if not skills or rng.random() < WANDERS:
            skills = [self._idea(text, rng), *skills]
        limit = 1 if "ONE reason" in text else FINDINGS
        missing = f"What is missing: {' '.join(f'[{name}]' for name in skills[:limit])}"
        return f"{missing} {evidence(text, heeds=self.heeds)}".strip() if self.pushes else missing

    def suspects(self, shown: Sequence[tuple[str, str]], rng: Random, *, notices: float, for_all: bool) -> list[str]:
        """Skills that questions hint at and the prompts beside them do not name, the most frequent first."""
        tasks: dict[str, list[str]] = {}
        for question, prompts in shown:
            for skill in sorted(hinted(question) - named(prompts)):
                if rng.random() < notices:
                    tasks.setdefault(skill, []).append(task_of(question))
        skills = sorted(tasks, key=lambda skill: (-len(tasks[skill]), rng.random()))
        if rng.random() >= self.tact:
            return skills
        if not for_all:
            return [skill for skill in skills if skill not in _GENERAL]
        several = len({task_of(question) for question, _ in shown}) > 1
        return [skill for skill in skills if len(set(tasks[skill])) > 1] if several else skills

    def _reword(self, text: str, rng: Random) -> str:
        """Other sentences for the same skill; of a sentence that names none, the same with something before it."""
        (sentence,) = _blocks(text, "sentence")
        others = [text for name in _named(sentence) for text in CATALOGUE[name].sentences if text != sentence]
        return "\n".join(rng.sample(others, len(others)) or [f"{start} {sentence}" for start in ("Remember:", "Mind:")])

    def _idea(self, prompt: str, rng: Random) -> str:
        """Some general advice, or something about the subject of the task that the prompt is for."""
        subjects = [skill for task, skills in self.world.own.items() if task in prompt for skill in skills]
        return rng.choice([*_GENERAL, *subjects])


def _named(text: str) -> list[str]:
    """The skills that a text names, in the order of the catalogue."""
    there = named(text)
    return [name for name in CATALOGUE if name in there]


def compose(skills: Sequence[str], rng: Random, *, task: str, induced: bool) -> str:
    """A sentence for each skill under an opening; with the question's place if it is for a task and nobody adds it."""
    sentences = [rng.choice(CATALOGUE[skill].sentences) for skill in dict.fromkeys(skills)]
    rng.shuffle(sentences)
    text = "\n".join([rng.choice(TASK_OPENINGS if task else OPENINGS).format(task=task), *sentences])
    return text if induced or not task else f"{text}\n\n{PLACEHOLDER}\n\n{RULE}"


def _beside(text: str, task: str) -> str:
    """The prompts that stand beside a task's cases, where these do not hold them."""
    user = re.findall(rf"## Task {task}\n.*?<task_prompt>(.*?)</task_prompt>", text, flags=re.DOTALL)
    return "\n".join([*_blocks(text, "present_system_prompt"), *user])


def _blocks(text: str, tags: str) -> list[str]:
    """What stands in blocks with one of the tags, each on lines of their own."""
    return [match[2] for match in re.finditer(rf"<({tags})>\n(.*?)\n</\1>", text, flags=re.DOTALL)]
