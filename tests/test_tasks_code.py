"""Answers that are code: how a function is read out of a reply, what counts as right, and what hostile code can do."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaspo.engine.tasks import Agreement, AnswerSpec, Code, Example, TaskError, TaskSpec, build_format, load_task
from metaspo.engine.tasks.base import is_blocking
from metaspo.engine.tasks.formats import code_sandbox, code_worker
from metaspo.engine.tasks.formats.code_sandbox import Sandbox, confinement

confined = pytest.mark.skipif(bool(confinement()), reason=f"code cannot be confined here: {confinement()}")
pytestmark = confined

ADD = "def add(a, b):\n    return a + b"
ADDING = '{"function": "add", "calls": [[[1, 2], 3], [["x", "y"], "xy"]]}'


def canonical(tests: str) -> str:
    read = Code().canonical(tests)
    assert read is not None
    return read


def by_calls(function: str, *calls: tuple[list[Any], Any]) -> str:
    return canonical(json.dumps({"function": function, "calls": calls}))


def fault_of(body: str, *, wanted: object = "never", seconds: float = 1) -> str:
    """What is wrong with `def f():` and this body."""
    indented = "".join(f"    {line}\n" for line in body.splitlines())
    return Code(seconds).feedback(f"def f():\n{indented}", by_calls("f", ([], wanted)))


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (f"```python\n{ADD}\n```", ADD),
        (f"Here it is:\n\n```py\n{ADD}\n```\nAnd so it is used:\n```python\nprint(add(1, 2))\n```", ADD),
        (f"```\ndef wrong(): ...\n```\nNo, rather:\n```\n{ADD}\n```", ADD),
        (f"```python\n{ADD}", ADD),
        (ADD, ADD),
        (f"This adds.\n\n{ADD}\n\nIt takes two numbers.", ADD),
        ("import math\n\ndef f(x):\n    return math.sqrt(x)\n", "import math\n\ndef f(x):\n    return math.sqrt(x)"),
        ("```python\nadd = lambda a, b: a + b\n```", "add = lambda a, b: a + b"),
        ("I cannot do that.", None),
        ("```python\nprint(3)\n```", None),
        ("", None),
    ],
)
def test_the_last_block_that_defines_a_function_is_read(reply: str, code: str | None) -> None:
    assert Code().parse(reply) == code


@given(st.text(alphabet="`def f(:)\n x=import@class#", max_size=200))
def test_any_text_is_read_or_malformed_and_what_was_read_is_read_again(text: str) -> None:
    code = Code().parse(text)
    if code is not None:
        assert Code().parse(f"```python\n{code}\n```") in (code, Code().parse(code))


@pytest.mark.parametrize(
    "tests",
    [
        "3",
        "[]",
        '{"function": "f"}',
        '{"function": "f", "calls": []}',
        '{"function": "f g", "calls": [[[], 1]]}',
        '{"function": "def", "calls": [[[], 1]]}',
        '{"function": "f", "calls": [[1, 1]]}',
        '{"function": "f", "calls": [[[1]]]}',
        "[" * 100_000,
    ],
)
def test_what_are_no_tests_is_no_accepted_answer(tests: str) -> None:
    assert Code().canonical(tests) is None


def test_a_function_is_right_if_every_call_returns_what_it_must() -> None:
    metric = Agreement(Code())
    example = Example("add", (canonical(ADDING),))
    assert metric.grade(ADD, example).score == 1
    half = metric.grade("def add(a, b):\n    return 3", example)
    assert (half.score, half.feedback) == (0, "add('x', 'y') returns 3; it should return 'xy'")
    assert metric.grade(None, example).score == 0


@pytest.mark.parametrize(
    ("returned", "wanted", "right"),
    [
        ("0.1 + 0.2", 0.3, True),
        ("3", 3.0, True),
        ("3", 4, False),
        ("True", 1, False),
        ("(1, (2, 3))", [1, [2, 3]], True),
        ('{"a": (1,)}', {"a": [1]}, True),
        ('{"a": 1, "b": 2}', {"a": 1}, False),
        ("10**400", 1.5, False),
        ("None", None, True),
        ('float("nan")', 0, False),
        ("{1, 2}", [1, 2], False),
    ],
)
def test_values_are_equal_as_json_has_them(returned: str, wanted: object, right: bool) -> None:
    assert (fault_of(f"return {returned}", wanted=wanted) == "") is right


def test_a_task_of_the_data_runs_with_its_tests_as_answers(tmp_path: Path) -> None:
    row = {"question": "Add.", "answer": json.loads(ADDING)}
    (tmp_path / "add.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    spec = TaskSpec.model_validate({"name": "add", "train": "add.jsonl", "answer": "code"})
    task = load_task(spec, base_dir=tmp_path, seed=0)
    assert is_blocking(task.answer_format)
    assert task.metric.grade(task.answer_format.parse(f"```\n{ADD}\n```"), task.train[0]).score == 1
    (tmp_path / "add.jsonl").write_text('{"question": "Add.", "answer": "a + b"}\n', encoding="utf-8")
    with pytest.raises(TaskError, match="does not fit"):
        load_task(spec, base_dir=tmp_path, seed=0)


def test_code_in_a_tag_is_explained_like_code_alone() -> None:
    tagged = build_format(AnswerSpec(kind="code", tag="answer", unanswerable="none"))
    grade = Agreement(tagged).grade(tagged.parse("<answer>def add(a, b): return 0</answer>"), Example("", (ADDING,)))
    assert grade.feedback == "add(1, 2) returns 0; it should return 3"


# Hostile programs


@pytest.mark.parametrize(
    "body",
    [
        "import os\nwhile True: os.fork()",
        "import threading\nthreading.Thread(target=print).start()",
        "import subprocess\nreturn subprocess.run(['true']).returncode",
        "import os\nos.execv('/bin/true', ['true'])",
        "import os\nos.kill(os.getppid(), 9)",
        "import os, signal\nos.killpg(os.getpgid(os.getppid()), signal.SIGKILL)",
        "import socket\nsocket.socket()",
        "import socket\nsocket.socketpair()",
        "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:1/')",
        "import time\ntime.sleep(1000)",
        "import resource\nresource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        "import os\nos.listdir('/tmp')",
        "open('/etc/passwd').read()",
        "open('/proc/self/environ').read()",
        "import os\nopen(f'/proc/{os.getppid()}/environ').read()",
        "import os\nopen(f'/proc/{os.getppid()}/mem', 'rb').read(1)",
    ],
)
def test_what_reaches_beyond_the_process_is_refused(body: str) -> None:
    assert "rror: " in fault_of(body)


def test_no_file_can_be_written_changed_or_removed(tmp_path: Path) -> None:
    file = tmp_path / "precious.txt"
    file.write_text("precious", encoding="utf-8")
    before = file.stat()
    for action in (
        f"open({str(file)!r}, 'w')",
        f"open({str(file)!r}, 'a')",
        f"open({str(tmp_path / 'new')!r}, 'w')",
        f"os.close(os.open({str(file)!r}, os.O_RDONLY | os.O_TRUNC))",
        f"os.remove({str(file)!r})",
        f"os.rename({str(file)!r}, {str(tmp_path / 'other')!r})",
        f"os.chmod({str(file)!r}, 0)",
        f"os.utime({str(file)!r}, (0, 0))",
        f"os.truncate({str(file)!r}, 0)",
        f"os.mkdir({str(tmp_path / 'folder')!r})",
        f"os.symlink('/etc', {str(tmp_path / 'link')!r})",
    ):
        assert "PermissionError" in fault_of(f"import os\n{action}"), action
    after = file.stat()
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]
    assert (after.st_size, after.st_mode, after.st_mtime_ns) == (before.st_size, before.st_mode, before.st_mtime_ns)


@pytest.mark.whole
def test_endless_loops_memory_and_output_end_by_their_limits() -> None:
    took = "it ended the process, or took too much time or memory"
    assert took in fault_of("while True: print('x' * 1000)")
    assert "MemoryError" in fault_of("return len(bytearray(1 << 40))")
    assert "it returns too much" in fault_of("return 'x' * (2 << 20)")


def test_code_that_writes_its_own_verdict_is_no_more_right() -> None:
    """It can find the stream that its results go to, but what they should be is nowhere in its process."""
    forged = '\\n["ready", ""]\\n["value", true]\\n["value", 1]\\n'
    body = f"import os\nfor stream in range(3, 32):\n    try: os.write(stream, b'{forged}')\n    except OSError: pass"
    assert fault_of(body, wanted="secret")
    assert fault_of(f"{body}\nos._exit(0)", wanted="secret")


def test_neither_the_environment_nor_a_key_in_it_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    assert not fault_of("import os\nreturn 'sk-very-secret' in str(dict(os.environ))", wanted=False)
    assert not fault_of("import os\nreturn os.environ.get('HOME')", wanted=None)


def test_what_it_does_to_its_own_process_does_no_harm() -> None:
    took = "it ended the process, or took too much time or memory"
    assert took in fault_of("import os\nos._exit(0)")
    assert took in fault_of("import ctypes\nctypes.string_at(0)")
    assert "SystemExit" in fault_of("raise SystemExit")
    assert "RecursionError" in fault_of("return f()")
    assert Code().feedback(ADD, canonical(ADDING)) == ""


def test_the_order_of_a_set_and_a_draw_are_the_same_each_time() -> None:
    code = "import random\ndef f():\n    return [list(set('abcdefgh')), random.random()]"
    assert Sandbox(seconds=1).calls(code, "f", [[]]) == Sandbox(seconds=1).calls(code, "f", [[]])


def test_the_standard_library_can_be_imported() -> None:
    modules = (
        "bisect collections datetime decimal fractions functools hashlib heapq itertools json math re statistics string"
    )
    assert not fault_of(
        f"import {', '.join(modules.split())}\nreturn datetime.date(2020, 1, 2).isoformat()", wanted="2020-01-02"
    )


# Where a system cannot confine


def test_a_system_that_cannot_confine_refuses_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metaspo.engine.tasks.formats.code.confinement", lambda: "its kernel refuses Landlock")
    with pytest.raises(ValueError, match="cannot confine it: its kernel refuses Landlock; use Linux"):
        Code()
    assert Code(unconfined=True).feedback(ADD, ADDING) == ""


def unconfined(code: str, tmp_path: Path) -> list[str]:
    """What the worker says of `f()` on a system that is not known to it."""
    worker = tmp_path / "worker.py"
    source = Path(code_worker.__file__).read_text(encoding="utf-8")
    worker.write_text(source.replace('sys.platform != "linux"', "True"), encoding="utf-8")
    job = {"code": code, "function": "f", "arguments": [[]], "seconds": 2, "unconfined": True}
    ended = subprocess.run(
        [sys.executable, str(worker)], input=json.dumps(job), capture_output=True, text=True, check=True
    )
    return [str(json.loads(line)[1]) for line in ended.stdout.splitlines()]


@pytest.mark.parametrize(
    "body",
    ["import socket; socket.socket()", "import os; os.system('true')", "open('/etc/passwd')", "open('mine', 'w')"],
)
def test_there_python_itself_refuses_what_is_plainly_forbidden(body: str, tmp_path: Path) -> None:
    ready, answer = unconfined(f"def f():\n    {body}", tmp_path)
    assert "no way" in ready
    assert "not allowed here" in answer
    assert unconfined("import statistics\ndef f(): return 5", tmp_path)[1] == "5"


def test_a_worker_that_does_not_start_is_an_error_and_no_zero(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(code_sandbox, "_WORKER", tmp_path / "gone.py")
    with pytest.raises(RuntimeError, match="did not start"):
        Sandbox(seconds=1).calls(ADD, "add", [[1, 2]])


@pytest.mark.whole
def test_no_process_is_left(tmp_path: Path) -> None:
    fault_of("while True: pass")
    mine = {
        child for child in Path("/proc").glob("[0-9]*/stat") if f" {os.getpid()} " in child.read_text(errors="replace")
    }
    assert not [child for child in mine if "code_worker" in child.with_name("cmdline").read_text()]


def test_an_error_with_half_a_character_in_it_can_be_sent_on() -> None:
    assert fault_of("raise ValueError('\\ud800')").encode() == b"f() fails: ValueError: ?; it should return 'never'"


@pytest.mark.parametrize("error", ["x" * 900_000, "one\n\ntwo", "", ["x" * 900_000]])
def test_an_error_that_the_code_wrote_past_the_worker_is_a_short_line(error: object) -> None:
    line = (json.dumps(["error", error]) + "\n").encode()
    write = "for f in range(3, 9):\n  try:\n    while line: line = line[os.write(f, line):]\n  except OSError: pass"
    fault = fault_of(f"import os\nline = {line!r}\n{write}", wanted=None)
    assert fault.startswith("f() fails: ")
    assert len(fault) < 300
    assert "\n" not in fault
