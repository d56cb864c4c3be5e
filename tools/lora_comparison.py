"""A prompt against weights: a run's prompts beside LoRA on the same train examples, on the same tests.

    python tools/lora_comparison.py RUN MODEL_FOLDER --seeds 1 2 3

RUN is the folder of a finished run, MODEL_FOLDER its base model for transformers (tools/gguf_to_hf.py makes one). All
answers come from transformers, greedily. LoRA learns the right answers of the run's train examples under the first
prompts, or under those that the run found. Needs torch, transformers and peft, on the CPU.
"""

# mypy: disable-error-code="import-not-found, no-any-return, no-untyped-call"

import argparse
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from metaspo.engine.evaluation.test_score import Stage
from metaspo.engine.prompts import PromptPair, render
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.reopened import ReopenedRun, reopen
from metaspo.engine.statistics import SplitGrades, compare
from metaspo.engine.tasks import Example, Task

# Chosen before any test answer was seen, and not changed since: what peft's examples use for small models.
RANK, ALPHA, DROPOUT, RATE, EPOCHS, BATCH = 16, 32, 0.05, 5e-4, 3, 4
ANSWER_TOKENS, ASKED_AT_ONCE = 8, 20  # a label alone takes fewer; what is longer is none

PROMPTS: dict[str, Stage] = {"first prompts": "before", "prompts found": "after"}
LORA: dict[str, Stage] = {f"LoRA, {name}": stage for name, stage in PROMPTS.items()}

Graded = dict[str, list[SplitGrades]]  # by role


class Answerer:
    """A model that answers, and can be tuned."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.tokenizer.padding_side = "left"
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def chat(self, run: ReopenedRun, pair: PromptPair, example: Example) -> str:
        """The whole prompt as text, up to where the answer begins."""
        told = [
            {"role": each.role, "content": each.content}
            for each in render(pair, example.question, roles=run.config.roles)
        ]
        return self.tokenizer.apply_chat_template(told, tokenize=False, add_generation_prompt=True)

    def answers(self, prompts: Sequence[str]) -> list[str]:
        """Greedy answers."""
        texts: list[str] = []
        for start in range(0, len(prompts), ASKED_AT_ONCE):
            batch = self.tokenizer(
                list(prompts[start : start + ASKED_AT_ONCE]),
                return_tensors="pt",
                padding=True,
                add_special_tokens=False,
            )
            with torch.inference_mode():
                made = self.model.generate(
                    **batch, max_new_tokens=ANSWER_TOKENS, do_sample=False, pad_token_id=self.tokenizer.pad_token_id
                )
            texts += self.tokenizer.batch_decode(made[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        return texts

    def tune(self, chats: Sequence[tuple[str, str]], *, seed: int) -> int:
        """Learn the answers of these chats by LoRA; returns how many weights were learned."""
        torch.manual_seed(seed)
        adapter = LoraConfig(
            r=RANK, lora_alpha=ALPHA, lora_dropout=DROPOUT, target_modules="all-linear", task_type="CAUSAL_LM"
        )
        self.model = get_peft_model(self.model, adapter)
        learned = [each for each in self.model.parameters() if each.requires_grad]
        optimizer = torch.optim.AdamW(learned, lr=RATE)
        self.model.train()
        for batch in _batches(chats, rng=random.Random(seed)):
            optimizer.zero_grad()
            self._loss(batch).backward()
            optimizer.step()
        self.model.eval()
        return sum(each.numel() for each in learned)

    def forget(self) -> None:
        """Back to the weights without LoRA."""
        self.model = self.model.unload().eval()

    def _loss(self, batch: Sequence[tuple[str, str]]) -> Any:  # noqa: ANN401 - a tensor
        """Of the answers' tokens alone."""
        rows = []
        for prompt, answer in batch:
            asked = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
            said = self.tokenizer(f"{answer}{self.tokenizer.eos_token}", add_special_tokens=False)["input_ids"]
            rows.append((asked + said, [-100] * len(asked) + said))
        width = max(len(tokens) for tokens, _ in rows)
        pad = self.tokenizer.pad_token_id
        tokens = torch.tensor([row + [pad] * (width - len(row)) for row, _ in rows])
        seen = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row, _ in rows])
        labels = torch.tensor([row + [-100] * (width - len(row)) for _, row in rows])
        return self.model(input_ids=tokens, attention_mask=seen, labels=labels).loss


def _batches(chats: Sequence[tuple[str, str]], *, rng: random.Random) -> Iterator[Sequence[tuple[str, str]]]:
    for _ in range(EPOCHS):
        order = list(chats)
        rng.shuffle(order)
        for start in range(0, len(order), BATCH):
            yield order[start : start + BATCH]


def tested(answerer: Answerer, run: ReopenedRun, stage: Stage, *, seed: int) -> Graded:
    """Every task's test split under the prompts of a stage."""
    graded: Graded = {"source": [], "target": []}
    for task in run.tasks:
        if not task.test or task.role not in graded:
            continue
        pair = run.pairs(task)[stage]
        texts = answerer.answers([answerer.chat(run, pair, example) for example in task.test])
        grades = [_grade(task, text, example) for text, example in zip(texts, task.test, strict=True)]
        graded[task.role].append(
            SplitGrades(task=task.name, grades=grades, questions=[each.question for each in task.test], seed=seed)
        )
    return graded


def _grade(task: Task, text: str, example: Example) -> float:
    return task.metric.grade(task.answer_format.parse(text), example).score


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rows", type=int, default=20, help="test examples of each task")
    parser.add_argument("--tasks", nargs="+", metavar="NAME", help="of the run; all if left out")
    parser.add_argument("--found", action="store_true", help="LoRA under the prompts found, too")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    given = parser.parse_args()
    run = reopen(RunDirectory(given.run))
    chosen = [task for task in run.tasks if not given.tasks or task.name in given.tasks]
    run = replace(run, tasks=tuple(replace(task, test=task.test[: given.rows]) for task in chosen))
    answerer = Answerer(given.model)
    lora = LORA if given.found else dict(list(LORA.items())[:1])
    untuned: dict[str, Graded] = {}
    tuned: dict[str, list[Graded]] = {name: [] for name in lora}
    for name, stage in PROMPTS.items():
        started = time.monotonic()
        untuned[name] = tested(answerer, run, stage, seed=0)
        print(f"{name}: answered in {time.monotonic() - started:.0f} s", flush=True)
    for number, seed in enumerate(given.seeds, 1):
        for name, stage in lora.items():
            tuned[name].append(_tuned(answerer, run, stage, seed))
        seeds = given.seeds[:number]
        measured = {name: _of_seeds([graded], seeds) for name, graded in untuned.items()}
        measured |= {name: _of_seeds(graded, seeds) for name, graded in tuned.items()}
        for role in ("source", "target"):
            _print(role, measured)


def _tuned(answerer: Answerer, run: ReopenedRun, stage: Stage, seed: int) -> Graded:
    chats = [
        (answerer.chat(run, run.pairs(task)[stage], example), example.answers[0])
        for task in run.tasks
        if task.role == "source"
        for example in task.train
    ]
    started = time.monotonic()
    weights = answerer.tune(chats, seed=seed)
    print(
        f"{stage}, seed {seed}: {len(chats)} chats, {weights:,} weights, {time.monotonic() - started:.0f} s", flush=True
    )
    graded = tested(answerer, run, stage, seed=seed)
    answerer.forget()
    return graded


def _of_seeds(graded: Sequence[Graded], seeds: Sequence[int]) -> Graded:
    """All seeds' splits; of what knows no seed, the same for each."""
    each = [graded[min(at, len(graded) - 1)] for at in range(len(seeds))]
    return {
        role: [
            SplitGrades(task=row.task, grades=row.grades, questions=row.questions, seed=seed)
            for seed, splits in zip(seeds, each, strict=True)
            for row in splits[role]
        ]
        for role in ("source", "target")
    }


def _print(role: str, measured: dict[str, Graded]) -> None:
    first = measured["first prompts"][role]
    if not first:
        return
    seeds = len({row.seed for row in first})
    head = "score | against the first prompts | 95% interval | against the prompts found"
    print(f"\n| {role} tasks, {seeds} seeds | {head} |")
    print("|---|---|---|---|---|")
    for name, graded in measured.items():
        against, found = (compare(graded[role], measured[other][role]) for other in ("first prompts", "prompts found"))
        low, high = 100 * against.interval.low, 100 * against.interval.high
        gain = f"{100 * against.difference:+.1f} | {low:+.1f} to {high:+.1f}" if name != "first prompts" else " | "
        beside = f"{100 * found.difference:+.1f} ({100 * found.interval.low:+.1f} to {100 * found.interval.high:+.1f})"
        print(f"| {name} | {against.score_a:.1%} | {gain} | {beside if name.startswith('LoRA') else ''} |")


if __name__ == "__main__":
    main()
