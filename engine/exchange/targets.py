"""A run's prompts as the files of other tools. Nothing of these tools is imported."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import orjson

from metaspo.engine.errors import ConfigError
from metaspo.engine.exchange.exported import SCORE_KEYS, ExportedRun, ExportedTask
from metaspo.engine.exchange.inspect_file import inspect_module
from metaspo.engine.exchange.templates import f_string, jinja, langfuse, mlflow, modelfile_value
from metaspo.engine.project import file_name
from metaspo.engine.tasks.base import PLACEHOLDER, Example

Files = dict[str, str]
Target = Callable[[ExportedRun], Files]

_LANGCHAIN_ROLES: Final = {"system": "SystemMessagePromptTemplate", "user": "HumanMessagePromptTemplate"}
ALIAS: Final = "metaspo"
_OLLAMA: Final = {"max_tokens": "num_predict"}
_MLFLOW: Final = {"stop": "stop_sequences"}
_MLFLOW_SCRIPT: Final = '''"""Registers the prompts beside this file: MLFLOW_TRACKING_URI=... python register.py"""

import json
from pathlib import Path

import mlflow

for prompt in json.loads((Path(__file__).parent / "prompts.json").read_text(encoding="utf-8")):
    alias = prompt.pop("alias")
    registered = mlflow.genai.register_prompt(**prompt)
    mlflow.genai.set_prompt_alias(registered.name, alias=alias, version=registered.version)
    print(f"prompts:/{registered.name}@{alias} is version {registered.version}")'''


def text_files(exported: ExportedRun) -> Files:
    """The prompts as they are, ready to paste."""
    return {"system.txt": exported.system, **_user_files(exported)}


def messages(exported: ExportedRun) -> Files:
    """Per task the body of a chat request in OpenAI's format, `{question}` where the question goes."""

    def body(task: ExportedTask) -> dict[str, Any]:
        about = {key: str(value) for key, value in task.about.items()}
        return {"model": exported.model, "messages": _chat(task), **task.sampling, "metadata": about}

    return _a_file_each(exported, body)


def promptfoo(exported: ExportedRun) -> Files:
    """Per task a config with the prompt and its test examples."""
    return _a_file_each(exported, partial(_promptfoo, exported), name="promptfooconfig.{}.json")


def _promptfoo(exported: ExportedRun, task: ExportedTask) -> dict[str, Any]:
    chat = [{"role": message.role, "content": jinja(message.content)} for message in task.messages()]
    server = {{"url": "apiBaseUrl", "key": "apiKeyEnvar"}[name]: value for name, value in exported.server.items()}
    return {
        "description": f"{task.name}, prompts of the run {exported.run}",
        "prompts": [{"label": task.name, "raw": _json(chat)}],
        "providers": [{"id": f"openai:chat:{exported.model}", "config": {**task.sampling, **server}}],
        "defaultTest": {"metadata": dict(task.about), "assert": [{"type": "javascript", "value": _check(task)}]},
        "tests": [
            {"vars": {"question": each.question, "expected": orjson.dumps(each.answers).decode()}}
            for each in _examples(task)
        ],
    }


def _check(task: ExportedTask) -> str:
    """Whether an answer is right, in promptfoo's JavaScript: less forgiving than metaspo's own formats are."""
    said = "output.toLowerCase()"
    if task.answer.tag is None:
        return f"JSON.parse(context.vars.expected).some((right) => {said}.includes(right.toLowerCase()))"
    tag = task.answer.tag.lower()
    said += f'.split("<{tag}>").pop().split("</{tag}>")[0].trim()'
    return f"JSON.parse(context.vars.expected).some((right) => {said} === right.toLowerCase())"


def dspy(exported: ExportedRun) -> Files:
    """Per task a saved `dspy.Predict("question -> answer")`: its instructions are both prompts."""
    return _a_file_each(exported, _predict)


def _predict(task: ExportedTask) -> dict[str, Any]:
    pair = task.pair
    fields = [
        {"prefix": "Question:", "description": "${question}"},
        {"prefix": "Answer:", "description": "${answer}"},
    ]
    return {
        "traces": [],
        "train": [],
        "demos": [],
        "signature": {"instructions": dspy_instructions(pair.system, pair.user), "fields": fields},
        "lm": None,
        "metadata": {
            "dependency_versions": {},
            "metaspo": {"system": pair.system, "user": pair.user, **task.about},
        },
    }


def dspy_instructions(system: str, user: str) -> str:
    """Both prompts as a signature's instructions."""
    return f"{system}\n\n{user}"


def mlflow_prompts(exported: ExportedRun) -> Files:
    """A chat prompt per task, and a script that registers them."""
    prompts = [{**prompt, "alias": ALIAS} for prompt in mlflow_versions(exported)]
    return {"prompts.json": _json(prompts), "register.py": _MLFLOW_SCRIPT}


def mlflow_versions(exported: ExportedRun) -> list[dict[str, Any]]:
    """Per task what `register_prompt` of MLflow takes."""
    return [_mlflow(exported, task) for task in exported.tasks]


def _mlflow(exported: ExportedRun, task: ExportedTask) -> dict[str, Any]:
    chat = task.messages()
    contents = mlflow([message.content for message in chat])
    return {
        "name": _registered_name(exported, task),
        "template": [
            {"role": message.role, "content": content} for message, content in zip(chat, contents, strict=True)
        ],
        "commit_message": f"metaspo run {exported.run}",
        "tags": {key: str(value) for key, value in task.about.items() if value != ""},
        "model_config": {
            "model_name": exported.model,
            **{_MLFLOW.get(name, name): value for name, value in task.sampling.items()},
        },
    }


def langfuse_prompts(exported: ExportedRun) -> Files:
    """Per task the body that creates a chat prompt. Raises `ConfigError` for what Langfuse cannot hold."""
    return _a_file_each(exported, partial(_langfuse, exported))


def _langfuse(exported: ExportedRun, task: ExportedTask) -> dict[str, Any]:
    """Without `tags`, which would replace those that a prompt of this name has."""
    what = f"the prompt of task '{task.name}'"
    return {
        "type": "chat",
        "name": _registered_name(exported, task),
        "prompt": [
            {"role": message.role, "content": langfuse(message.content, what=what)} for message in task.messages()
        ],
        "labels": [ALIAS],
        "config": {"model": exported.model, **task.sampling, "metaspo": dict(task.about)},
        "commitMessage": _commit_message(task),
    }


def langsmith_prompts(exported: ExportedRun) -> Files:
    """Per task what `push_prompt` takes. Raises `ConfigError` for tasks that would be one prompt there."""
    tasks: dict[str, str] = {}
    for task in exported.tasks:
        name = _handle(exported, task)
        if name in tasks:
            raise ConfigError(f"'{tasks[name]}' and '{task.name}' would be one prompt of LangSmith: use --task NAME")
        tasks[name] = task.name
    return _a_file_each(exported, partial(_langsmith, exported))


def _langsmith(exported: ExportedRun, task: ExportedTask) -> dict[str, Any]:
    """Without commit tags: LangSmith refuses one that an earlier commit has."""
    return {
        "prompt_identifier": _handle(exported, task),
        "object": _chat_template(task),
        "commit_description": _commit_message(task),
    }


def _handle(exported: ExportedRun, task: ExportedTask) -> str:
    """LangSmith's names are small letters, digits, "-" and "_", a letter first."""
    name = re.sub("[^a-z0-9_-]", "-", _registered_name(exported, task).lower())
    return name if name[0].isalpha() else f"{ALIAS}-{name}"


def _registered_name(exported: ExportedRun, task: ExportedTask) -> str:
    """The same for all runs of a config, which are versions of one prompt then."""
    return file_name(f"{re.sub('-[0-9a-f]{8}$', '', exported.run)}.{task.name}")


def _commit_message(task: ExportedTask) -> str:
    scores = [f"{key} {task.about[key]:.3g}" for key in SCORE_KEYS if key in task.about]
    return f"metaspo run {', '.join([str(task.about['run']), *scores])}"


def langchain(exported: ExportedRun) -> Files:
    """Per task a `ChatPromptTemplate`, as `langchain_core.load` reads it."""
    return _a_file_each(exported, _chat_template)


def _chat_template(task: ExportedTask) -> dict[str, Any]:
    chat = [
        _lc("chat", _LANGCHAIN_ROLES[message.role], prompt=_template(message.content)) for message in task.messages()
    ]
    about = dict(task.about)
    return _lc("chat", "ChatPromptTemplate", input_variables=["question"], messages=chat, metadata=about)


def _template(content: str) -> dict[str, Any]:
    variables, text = ["question"] if PLACEHOLDER in content else [], f_string(content)
    return _lc("prompt", "PromptTemplate", input_variables=variables, template=text, template_format="f-string")


def _lc(module: str, name: str, **kwargs: object) -> dict[str, Any]:
    return {"lc": 1, "type": "constructor", "id": ["langchain", "prompts", module, name], "kwargs": kwargs}


def ollama(exported: ExportedRun) -> Files:
    """A Modelfile with the system prompt; user prompts as text files. Raises `ConfigError` for what it cannot hold."""
    sampling = exported.tasks[0].sampling if exported.tasks else {}
    if "response_format" in sampling or any(task.sampling != sampling for task in exported.tasks):
        raise ConfigError(
            "a Modelfile holds no response_format, and one max_tokens for all tasks: use --to messages, or --task NAME"
        )
    about = [f"# {key}: {value}" for key, value in exported.about.items() if isinstance(value, str | int)]
    about += [
        f"# {key} on {task.name}: {task.about[key]}"
        for task in exported.tasks
        for key in SCORE_KEYS
        if key in task.about
    ]
    parameters = [
        f"PARAMETER {_OLLAMA.get(name, name)} {modelfile_value(each, what='stop') if name == 'stop' else each}"
        for name, value in sampling.items()
        for each in (value if isinstance(value, list) else [value])
    ]
    system = f"SYSTEM {modelfile_value(exported.system, what='the system prompt')}"
    lines = [*about, f"FROM {exported.model}", *parameters, system]
    return {"Modelfile": "\n".join(lines), **_user_files(exported)}


def inspect_tasks(exported: ExportedRun) -> Files:
    """A module with a task of Inspect for each of ours, on its test examples."""
    files = {}
    for task in exported.tasks:
        if any(example.images for example in _examples(task)):
            raise ConfigError(
                f"task '{task.name}' has images, which no file for inspect can say: choose another --task"
            )
        samples = [
            {
                "input": _chat(task, each),
                "target": list(each.answers),
                "id": number,
                "metadata": {"where": each.where},
            }
            for number, each in enumerate(_examples(task), 1)
        ]
        if samples:
            files[f"{file_name(task.name)}.jsonl"] = _lines(samples)
    tested = [task for task in exported.tasks if f"{file_name(task.name)}.jsonl" in files]
    return {"tasks.py": inspect_module(exported, tested), **files}


def sft(exported: ExportedRun) -> Files:
    """Chats to tune a model on: the train examples that the base model answers rightly under the found prompts."""
    chats = [
        {"messages": [*_chat(task, each.example), {"role": "assistant", "content": each.after.text}]}
        for task in exported.tasks
        for each in (task.answers.examples if task.answers else ())
        if each.after is not None and each.after.grade == 1
    ]
    return {"sft.jsonl": _lines(chats)}


def _user_files(exported: ExportedRun) -> Files:
    return {f"user.{file_name(task.name)}.txt": task.pair.user for task in exported.tasks}


def _a_file_each(exported: ExportedRun, of: Callable[[ExportedTask], object], *, name: str = "{}.json") -> Files:
    return {name.format(file_name(task.name)): _json(of(task)) for task in exported.tasks}


def _chat(task: ExportedTask, asked: str | Example = PLACEHOLDER) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in task.messages(asked)]


def _examples(task: ExportedTask) -> list[Example]:
    return [each.example for each in task.answers.examples] if task.answers else []


def _json(data: object) -> str:
    return orjson.dumps(data, option=orjson.OPT_INDENT_2).decode()


def _lines(rows: list[dict[str, Any]]) -> str:
    return "\n".join(orjson.dumps(row).decode() for row in rows)
