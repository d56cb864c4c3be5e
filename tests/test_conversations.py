"""Examples with turns before their question, and with images: read, checked, asked, told apart."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from engine_sessions import Runs
from hypothesis import given
from hypothesis import strategies as st
from world import World, make_config, make_task

from metaspo.backends import Message, Request
from metaspo.backends.base import Role
from metaspo.backends.chat.format import chat_body
from metaspo.cache.key import request_key
from metaspo.engine.config.checks import check_config
from metaspo.engine.config.plan import plan_run
from metaspo.engine.errors import ConfigError
from metaspo.engine.prompts import PromptPair, merged, render
from metaspo.engine.runs.identity import fingerprint
from metaspo.engine.strategies.meta_prompts import user_message_of
from metaspo.engine.tasks import Example, Task, TaskError, TaskSpec, load_task
from metaspo.engine.tasks.images import LARGEST
from metaspo.engine.tasks.notices import Notice
from metaspo.engine.tasks.programs import Call, Program

PNG, JPEG = b"\x89PNG\r\n\x1a\n" + b"a", b"\xff\xd8\xff" + b"b"
PAIR = PromptPair("Be exact.", "Look: {question}")
TURNS = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Good day."}]


def loaded(folder: Path, *rows: dict[str, object], name: str = "t.jsonl", **columns: object) -> Task:
    """A task of these rows, in a file of its own."""
    (folder / name).write_text("".join(json.dumps({"answer": "yes", **row}) + "\n" for row in rows), encoding="utf-8")
    table = {"name": "t", "train": name, "answer": "label", "columns": columns}
    return load_task(TaskSpec.model_validate(table), base_dir=folder, seed=1)


def shown(folder: Path, name: object, content: bytes = PNG) -> Task:
    """A task of one row with an image."""
    (folder / "cat.png").write_bytes(content)
    return loaded(folder, {"question": "A cat?", "image": name}, images="image")


def test_turns_stand_between_the_system_prompt_and_the_question(tmp_path: Path) -> None:
    for turns in (TURNS, json.dumps(TURNS)):
        task = loaded(tmp_path, {"question": "And now?", "turns": turns}, history="turns")
        assert render(PAIR, task.train[0]) == (
            Message("system", "Be exact."),
            Message("user", "Hello."),
            Message("assistant", "Good day."),
            Message("user", "Look: And now?"),
        )
    assert user_message_of(task.train[0], PAIR.user) == "user: Hello.\nassistant: Good day.\nuser: Look: And now?"
    assert PAIR.messages(task.train[0]) == render(PAIR, task.train[0]), "so a program asks it, too"


@pytest.mark.parametrize("nothing", [None, "", [], "[]"])
def test_a_row_without_turns_is_asked_as_ever(tmp_path: Path, nothing: object) -> None:
    task = loaded(tmp_path, {"question": "And now?", "turns": nothing}, history="turns")
    assert render(PAIR, task.train[0]) == render(PAIR, "And now?")


@pytest.mark.parametrize(
    ("turns", "said"),
    [
        ("no list", "must be a list of messages, or its JSON"),
        (7, "must be a list of messages, each with a role and a content"),
        ([{"role": "system", "content": "x"}], "turn 1, is a system prompt, which is what is optimized"),
        ([*TURNS, {"from": "gpt"}], "turn 3, is no message: write"),
        ([{"role": "user"}], "turn 1: it has no `content`"),
    ],
)
def test_what_is_no_conversation_is_one_sentence(tmp_path: Path, turns: object, said: str) -> None:
    with pytest.raises(TaskError, match=said) as fault:
        loaded(tmp_path, {"question": "q", "turns": turns}, history="turns")
    assert str(fault.value).startswith("t.jsonl:1: column 'turns'")


def test_an_image_goes_with_its_question_by_what_the_file_holds(tmp_path: Path) -> None:
    for content, kind in ((PNG, "png"), (JPEG, "jpeg"), (b"GIF89a", "gif"), (b"RIFF0000WEBP", "webp")):
        example = shown(tmp_path, "cat.png", content).train[0]
        body = chat_body(Request(model="m", messages=render(PAIR, example)))
        url = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
        assert body["messages"][1] == {
            "role": "user",
            "content": [{"type": "text", "text": "Look: A cat?"}, {"type": "image_url", "image_url": {"url": url}}],
        }
        assert example.asked == "A cat?\n[image cat.png]"


def test_a_key_is_of_what_an_image_shows_and_not_of_where_it_lies(tmp_path: Path) -> None:
    def key(task: Task) -> str:
        return request_key(Request(model="m", messages=render(PAIR, task.train[0])))

    first = shown(tmp_path, "cat.png")
    (tmp_path / "elsewhere").mkdir()
    assert key(shown(tmp_path / "elsewhere", "cat.png")) == key(first)
    other = shown(tmp_path, "cat.png", PNG + b"other")
    assert key(other) != key(first)
    assert len({fingerprint(make_config(), [task]) for task in (first, other)}) == 2


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("dog.png", PNG, "names 'dog.png', and there is no file /"),
        ("/etc/hostname", PNG, "an image's path starts at the data file's folder, and stays in it"),
        ("../cat.png", PNG, "an image's path starts at the data file's folder, and stays in it"),
        ("cat.png", b"plain text", "is no PNG, JPEG, GIF or WebP image, whatever its name is"),
        ("cat.png", PNG + bytes(LARGEST), "bytes: an image may have 5,000,000; make it smaller"),
        ("a\0b", PNG, "which cannot be read"),
        (".", PNG, "and there is no file"),
        (7, PNG, "is of type int, and an image is named by its path"),
    ],
)
def test_an_image_that_cannot_be_used_is_one_sentence(tmp_path: Path, name: object, content: bytes, said: str) -> None:
    with pytest.raises(TaskError, match=said) as fault:
        shown(tmp_path, name, content)
    assert str(fault.value).startswith("t.jsonl:1: column 'image'")
    assert "\n" not in str(fault.value)


def test_a_link_leads_no_image_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(PNG)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(TaskError, match="stays in it"):
        loaded(tmp_path / "data", {"question": "q", "image": "link.png"}, images="image")


@pytest.mark.parametrize(("named", "kept"), [("cat.png", "abcd"), ("cat-{split}{number}.png", "aaaa")])
def test_rows_of_one_question_are_told_apart_by_what_goes_with_it(tmp_path: Path, named: str, kept: str) -> None:
    """Images by what they hold: files of one name in several folders are several, one file under two names is one."""
    pictures, columns = iter(kept), {"images": "image"}
    table: dict[str, object] = {"name": "t", "answer": "label", "columns": columns}
    for split in ("train", "test"):
        rows: list[dict[str, object]] = []
        for number in (1, 2):
            name = f"{number}/{named.format(split=split, number=number)}"
            (tmp_path / split / str(number)).mkdir(parents=True)
            (tmp_path / split / name).write_bytes(PNG + next(pictures).encode())
            rows.append({"question": "A cat?", "image": name, "answer": "yes"})
        table[split] = f"{split}/t.jsonl"
        (tmp_path / split / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    told: list[Notice] = []
    load_task(TaskSpec.model_validate(table), base_dir=tmp_path, seed=1, notify=told.append)
    same = ["repeated", "repeated", "in-both-splits"] if len(set(kept)) == 1 else []
    assert [notice.kind for notice in told] == same


def test_a_model_that_reads_no_images_is_told_so_before_it_is_asked() -> None:
    config = make_config({"base": {"backend": "local", "model": "smollm2"}})
    task = config.tasks[0].model_copy(update={"columns": TaskSpec.model_fields["columns"].default.model_copy()})
    check_config(config.model_copy(update={"tasks": (task,)}), source="x.toml")
    seeing = task.model_copy(update={"columns": task.columns.model_copy(update={"images": ("image",)})})
    with pytest.raises(ConfigError, match=r"^x.toml: tasks.columns.images: a local model reads text alone"):
        check_config(config.model_copy(update={"tasks": (seeing,)}), source="x.toml")


def test_a_plan_counts_images(tmp_path: Path) -> None:
    task = replace(make_task("a"), train=shown(tmp_path, "cat.png").train, test=())
    plain = replace(task, train=tuple(replace(example, images=()) for example in task.train))
    plans = [plan_run(make_config(), [each]) for each in (task, plain)]
    assert plans[0].base.prompt_tokens > plans[1].base.prompt_tokens + 900


@given(st.lists(st.sampled_from(["system", "user", "assistant", "tool"]), min_size=1, max_size=6))
def test_without_a_system_role_every_turn_stays_and_each_texts_place_among_them(roles: list[str]) -> None:
    messages = [
        Message(cast("Role", role), str(n), '{"name":"x"}' if role == "tool" else "") for n, role in enumerate(roles)
    ]
    told = merged(messages)
    assert "system" not in {message.role for message in told}
    assert [text for message in told for text in message.content.split("\n\n")] == [str(n) for n in range(len(roles))]
    assert [each for each in told if each.role in ("assistant", "tool")] == [
        each for each in messages if each.role in ("assistant", "tool")
    ]


def test_without_a_system_role_images_stay(tmp_path: Path) -> None:
    (message,) = render(PAIR, shown(tmp_path, "cat.png").train[0], roles="merged")
    parts = json.loads(message.extra)["content"]
    assert parts[0] == {"type": "text", "text": "Be exact.\n\nLook: A cat?"}
    assert parts[1]["type"] == "image_url"


def test_an_example_that_is_a_question_alone_names_its_run_as_ever() -> None:
    task = make_task("a")
    assert Example("q", ("yes",)).asked == "q"
    turned = replace(task, train=tuple(replace(each, history=(Message("user", "x"),)) for each in task.train))
    assert len({fingerprint(make_config(), [each]) for each in (task, turned)}) == 2


async def ask_with_all(prompts: PromptPair, example: Example, call: Call) -> str:
    """A program that tells the model what no model sees of itself."""
    told = [*prompts.messages(example), Message("user", f"It is {example.metadata['hint']}.")]
    return (await call(told)).text


@pytest.mark.parametrize("by_program", [False, True])
def test_every_request_of_a_run_has_the_turns_and_images_of_its_example(tmp_path: Path, by_program: bool) -> None:
    image = shown(tmp_path, "cat.png").train[0].images
    task = make_task("a")
    rows = tuple(
        replace(each, history=(Message("user", f"turn {each.where}"),), images=image, metadata={"hint": each.where})
        for each in task.train
    )
    program = Program(name="test:ask_with_all", function=ask_with_all, max_calls=1) if by_program else None
    runs = Runs(
        make_config({"iterations": 1}),
        (replace(task, train=rows, program=program, test=()),),
        World(3),
        timing=1,
        width=4,
    )
    assert runs.session() is not None
    asked = [request for request in runs.answered if request.model == "answerer"]
    assert {request.messages[1].content for request in asked} == {f"turn {each.where}" for each in rows}
    for request in asked:
        assert '"image_url"' in request.messages[2].extra
        where = request.messages[1].content.removeprefix("turn ")
        assert [message.content for message in request.messages[3:]] == [f"It is {where}."] * by_program
    writer = "\n".join(request.messages[-1].content for request in runs.answered if request.model == "writer")
    assert "user: turn a.train:" in writer
    assert "[image cat.png]" in writer
    assert "base64" not in writer
