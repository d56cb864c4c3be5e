"""A stop string that cuts a closing tag off costs no answer: not the base model's, not the optimizer's."""

from pathlib import Path

import orjson
import pytest
from chat_server import ChatServer
from command_line import here, write_project
from hypothesis import given
from hypothesis import strategies as st
from world import World

from metaspo.backends import Completion, Request, Usage
from metaspo.engine.cut_tags import with_cut_tag

STOP = ("END", "</answer>")


def ended(text: str, *, reason: str = "stop", by: str | int = "") -> Completion:
    rest = orjson.dumps({"stop_reason": by}).decode() if by else ""
    return Completion(text=text, finish_reason=reason, usage=Usage(1, 1), latency=0.0, rest=rest)


@pytest.mark.parametrize(
    ("text", "by", "right"),
    [
        ("It is <answer>B", "", "It is <answer>B</answer>"),
        ("It is <answer>B", "</answer>", "It is <answer>B</answer>"),
        ("It is <answer>B", "END", "It is <answer>B"),
        ("It is <note>B", "</note>", "It is <note>B</note>"),
        ("It is <answer>B</answer>", "", "It is <answer>B</answer>"),
        ("It is <answer>B</Answer >", "", "It is <answer>B</Answer ></answer>"),
        ("It is B", "", "It is B"),
        ("<answer>A</answer> or <answer>B", "", "<answer>A</answer> or <answer>B</answer>"),
        ("<answer>B <b>surely", "", "<answer>B <b>surely</answer>"),
        ("", "", ""),
    ],
)
def test_a_stop_string_that_closes_a_tag_is_put_back(text: str, by: str, right: str) -> None:
    """Servers cut it off, and with it what made the answer one."""
    assert with_cut_tag(ended(text, by=by), STOP) == right
    assert with_cut_tag(ended(text, by=by, reason="length"), STOP) == text, "cut off by the limit, not by the string"
    assert with_cut_tag(ended(text), ()) == text
    assert with_cut_tag(ended(text, by=by), ()) == (right if by else text), "the server's own stop string, as it says"


def test_an_answer_that_a_token_ended_was_cut_by_no_string() -> None:
    """vLLM says which one, by its number."""
    assert with_cut_tag(ended("It is <answer>B", by=128009), STOP, tag="answer") == "It is <answer>B"


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("It is <answer>B", "It is <answer>B</answer>"),
        ("It is <Answer >B\n", "It is <Answer >B\n</answer>"),
        ("<answer>B</answer> Thus <answer>", "<answer>B</answer> Thus <answer>"),
        ("<answers>B", "<answers>B"),
        ("<b>B", "<b>B"),
    ],
)
def test_a_tag_that_a_whole_answer_never_closes_was_cut_by_the_server(text: str, right: str) -> None:
    """Servers with stop strings of their own (a Modelfile's `PARAMETER stop`) are silent on them."""
    assert with_cut_tag(ended(text), (), tag="answer") == right
    assert with_cut_tag(ended(text, reason="length"), (), tag="answer") == text
    assert with_cut_tag(ended(text, by="END"), (), tag="answer") == text
    assert with_cut_tag(ended(text), ("END",), tag="answer") == text


@pytest.mark.timeout(10)
def test_thousands_of_open_tags_are_read_once() -> None:
    for unit in ("<b>", "<b></b>", "<B></b><b>"):
        text = unit * 100_000
        assert with_cut_tag(ended(text), ("</answer>",)) == text
        assert with_cut_tag(ended(f"<answer>B{text}"), ("</answer>",)) == f"<answer>B{text}</answer>"


TEXTS = st.text(alphabet="ab <>/\n", max_size=12)


@given(TEXTS, TEXTS, st.sampled_from(["</", "</ans", "</answer>", "</answer>\n", "</ANSWER>"]), st.booleans())
def test_however_much_of_the_tag_is_cut_the_answer_is_whole(before: str, inside: str, stop: str, kept: bool) -> None:
    """Some servers leave the stop string itself in the text."""
    inside = inside.replace("<", "").replace(">", "")
    cut = f"{before}<answer>{inside}"
    assert with_cut_tag(ended(cut + stop * kept), (stop,)).startswith(f"{cut}</")
    assert with_cut_tag(ended(cut), ("B", "<answer", "answer>")) == cut


def test_models_that_stop_at_the_closing_tag_are_scored_heard_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `evaluate`, by a whole run, and by `answers`, which reads them from the cache."""
    monkeypatch.chdir(tmp_path)
    world = World(3, malformed=0)

    def cut(request: Request) -> str:
        return world.optimizer(request).partition("</")[0] if request.model == "writer" else "So: <answer>yes"

    with ChatServer(cut) as server:
        config = write_project(tmp_path, server.url)
        text = config.read_text(encoding="utf-8").replace('["yes", "no"]}', '["yes", "no"], tag = "answer"}')
        text = text.replace("[base]", '[base]\nstop = ["</answer>"]')
        stops = '["</analysis>", "</user_prompt>", "</system_prompt>"]'
        config.write_text(text.replace("[optimizer]", f"[optimizer]\nstop = {stops}"), encoding="utf-8")
        scored = here("evaluate", "run.toml", "--json", "--quiet").data["scores"]
        ended = here("optimize", "run.toml", "--quiet")
        shown = here("answers", "--json").data["tasks"]
    assert [row["malformed"] for row in scored] == [0] * len(scored)
    assert (ended.code, ended.err) == (0, ""), "no proposal was malformed"
    after = [each["after"] for task in shown for each in task["examples"]]
    assert [(each["text"], each["read"]) for each in after] == [("So: <answer>yes</answer>", "yes")] * len(after)
    assert after
