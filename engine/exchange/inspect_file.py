"""The Python module that makes tasks of Inspect out of files of samples."""

import re
from collections.abc import Sequence
from itertools import starmap

from metaspo.engine.exchange.exported import ExportedRun, ExportedTask
from metaspo.engine.project import file_name

_HEAD = '''"""Prompts of the run {run}: inspect eval tasks.py --model openai-api/NAME/{model}

Answers are compared here by Inspect's own scorers, which read less than metaspo does.
"""

import json
from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import json_dataset
from inspect_ai.model import GenerateConfig
from inspect_ai.scorer import match, pattern
from inspect_ai.solver import generate

HERE = Path(__file__).parent
ABOUT = json.loads((HERE / "about.json").read_text(encoding="utf-8"))


def made(name: str, file: str, tag: str, config: GenerateConfig) -> Task:
    scorer = pattern(rf"(?is)<{{tag}}>\\s*(.*?)\\s*</{{tag}}>") if tag else match(location="any")
    about = next(each for each in ABOUT["tasks"] if each["task"] == name)
    return Task(
        dataset=json_dataset(str(HERE / file)), solver=generate(), scorer=scorer, config=config, metadata=about
    )
'''
_TASK = """

@task(name={name!r})
def {function}() -> Task:
    return made({name!r}, {file!r}, {tag!r}, GenerateConfig({sampling}))
"""
_SETTINGS = {"temperature": "temperature", "top_p": "top_p", "max_tokens": "max_tokens", "stop": "stop_seqs"}


def inspect_module(exported: ExportedRun, tasks: Sequence[ExportedTask]) -> str:
    """The module, with a function for each task."""
    model = re.sub(r'["\\\s]', "", exported.model)
    return (
        _HEAD.format(run=exported.run, model=model)
        + "".join(
            _TASK.format(
                name=task.name,
                function=f"task_{number}_{re.sub('[^A-Za-z0-9]', '_', task.name)}",
                file=f"{file_name(task.name)}.jsonl",
                tag=task.answer.tag or "",
                sampling=", ".join(starmap(_setting, task.sampling.items())),
            )
            for number, task in enumerate(tasks, 1)
        ).rstrip()
    )


def _setting(name: str, value: object) -> str:
    """An argument of `GenerateConfig`."""
    return f"{_SETTINGS[name]}={value!r}" if name in _SETTINGS else f"extra_body={ {name: value}!r}"
