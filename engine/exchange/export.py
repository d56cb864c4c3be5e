"""Writes a run's prompts for another tool."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from metaspo.engine.errors import ConfigError
from metaspo.engine.exchange import targets
from metaspo.engine.exchange.exported import ExportedRun, exported_run
from metaspo.engine.exchange.targets import Target
from metaspo.engine.exchange.written import write_export
from metaspo.engine.runs.answers import Split, run_answers
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.suggest import nearest


@dataclass(frozen=True, slots=True)
class Tool:
    """One kind of export.

    Attributes:
        split: of which examples go along; None for none.
        use: how the files are used, in a few words.
    """

    files: Target
    split: Split | None
    use: str


TOOLS: Final[Mapping[str, Tool]] = {
    "text": Tool(targets.text_files, None, "the prompts as they are"),
    "messages": Tool(targets.messages, None, "bodies of chat requests; put the question in place of {question}"),
    "promptfoo": Tool(targets.promptfoo, "test", "promptfoo eval -c promptfooconfig.TASK.json"),
    "dspy": Tool(targets.dspy, None, 'dspy.Predict("question -> answer").load("TASK.json")'),
    "mlflow": Tool(targets.mlflow_prompts, None, "python register.py, with MLFLOW_TRACKING_URI set"),
    "langchain": Tool(
        targets.langchain, None, 'langchain_core.load.load(json.load(file), allowed_objects="core"), TASK.json'
    ),
    "langfuse": Tool(
        targets.langfuse_prompts, None, "langfuse.get_client().api.prompts.create(request=json.load(file)), TASK.json"
    ),
    "langsmith": Tool(targets.langsmith_prompts, None, "langsmith.Client().push_prompt(**json.load(file)), TASK.json"),
    "ollama": Tool(targets.ollama, None, "ollama create NAME -f Modelfile"),
    "inspect": Tool(targets.inspect_tasks, "test", "inspect eval tasks.py --model MODEL"),
    "sft": Tool(targets.sft, "train", "sft.jsonl: chats with right answers, to tune a model on"),
}


async def export_run(
    run: RunDirectory, *, to: str, folder: Path | None = None, task: str = "", without_system: bool = False
) -> list[Path]:
    """Write a finished run's prompts as files for one of `TOOLS`; where they are.

    `about.json` goes along: the run, the models, the scores with their intervals.

    Args:
        folder: where the files are written; `export/TOOL` in the run's folder by default.
        task: the only one that is written; all if left out.
        without_system: leave the system prompt out of the chats to tune on ("sft"), which then is what they teach.

    Raises:
        RunDirectoryError: for a run that has not finished, or cannot be read.
        ConfigError: for an unknown tool or task, a prompt that the tool cannot hold, a folder that cannot be written, a
            file there that a person has changed since, or a config of the run that cannot be used any more.
        TaskError, StoreError: when examples go along whose data or cache cannot be used any more.
    """
    exported = await _exported(run, to, task, without_system)
    files = TOOLS[to].files(exported)
    about = {**exported.about, "tasks": [{**each.about, **each.looks} for each in exported.tasks]}
    return write_export(folder or run.path / "export" / to, files, about=about)


async def _exported(run: RunDirectory, to: str, task: str, without_system: bool) -> ExportedRun:
    """What a kind of export is made of, with the examples that go along. Raises as `export_run`."""
    tool = TOOLS.get(to)
    if tool is None:
        raise ConfigError(f"'{to}' is no kind of export{nearest(to, TOOLS)}; there are: {', '.join(TOOLS)}")
    if without_system and to != "sft":
        raise ConfigError(f"--without-system is for --to sft: what is written for {to} is the prompt itself")
    exported = exported_run(run, task=task)
    programs = [each.name for each in exported.tasks if each.program]
    if programs and to != "text":
        raise ConfigError(
            f"task '{programs[0]}' is answered by a program, not by one call, which no file for {to} can say: "
            "use --to text, or --task NAME for another task"
        )
    if tool.split is not None:
        answered = await run_answers(run, task=task, split=tool.split)
        exported = exported.with_answers(answered.tasks)
    return exported.without_system() if without_system else exported
