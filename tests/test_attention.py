"""Attention to the system prompt: what is made of a model's shares, and with torch the shares themselves."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import here
from world import World

from metaspo.backends import Message
from metaspo.engine import ConfigError
from metaspo.engine.attention import AttentionReport, Shares, measure_attention
from metaspo.engine.attention.pictures import pictures
from metaspo.engine.report.figures import draw
from metaspo.engine.runs.directory import RunDirectory
from metaspo.engine.runs.reopened import ReopenedRun, reopen

WORLD = World(3)
FIRST = "You are a helpful assistant."
needs_torch = pytest.mark.skipif(
    not (find_spec("torch") and find_spec("transformers")), reason="needs torch: pip install 'metaspo[attention]'"
)


@dataclass
class Eyes:
    """A model of two layers with three heads; gives the first prompt a tenth, another one more with each head."""

    asked: int = 0

    def shares(self, messages: Sequence[Message], *, system: str, tokens: int) -> Shares:
        self.asked += 1
        assert messages[0] == Message("system", system)
        number = int(messages[-1].content.split("number ")[1].split()[0])
        share = 0.1 if system == FIRST else 0.3 + 0.01 * number
        heads = share * np.array([[0.5, 1.0, 1.5], [1.0, 1.0, 1.0]])
        return Shares(system=heads, user=np.full((2, 3), 0.4), length=len(system) / 1000)


@pytest.fixture
def run(project: Path) -> ReopenedRun:
    assert here("optimize", "run.toml", "--quiet").code == 0
    (path,) = project.glob(".metaspo/runs/run-*")
    return reopen(RunDirectory(path))


def measured(run: ReopenedRun, *, examples: int = 3) -> AttentionReport:
    return measure_attention(run, Eyes(), model="eyes", examples=examples, tokens=4)


def test_the_difference_is_of_the_same_examples_and_has_an_interval(run: ReopenedRun) -> None:
    report = measured(run)
    assert (report.examples, report.tasks) == (9, ("a", "b", "unseen"))
    assert report.before.score == pytest.approx(0.1)
    assert report.compared.difference == pytest.approx(0.2 + 0.01)
    assert 0 < report.compared.interval.low < 0.21 < report.compared.interval.high
    assert report.after.over_examples.low < report.after.score < report.after.over_examples.high
    assert "10.0%" in report.sentence
    assert "31.0%" in report.sentence
    assert "+21.0 points" in report.sentence


def test_layers_and_heads_are_means_over_the_examples(run: ReopenedRun) -> None:
    report = measured(run)
    assert np.allclose(report.heads["after"], 0.31 * np.array([[0.5, 1.0, 1.5], [1.0, 1.0, 1.0]]))
    assert report.layers("after") == pytest.approx([0.31, 0.31])
    assert report.users == pytest.approx({"before": 0.4, "after": 0.4})
    assert json.loads(json.dumps(report.as_json()))["share_of_tokens"]["before"] == 0.028


def test_every_example_is_asked_once_under_each_prompt(run: ReopenedRun) -> None:
    eyes, told = Eyes(), []
    measure_attention(run, eyes, model="eyes", examples=2, tokens=4, done=lambda number, of: told.append((number, of)))
    assert eyes.asked == 2 * 6
    assert told == [(number, 6) for number in range(1, 7)]


def test_there_are_pictures_of_layers_and_heads(run: ReopenedRun) -> None:
    drawn = pictures(measured(run))
    assert list(drawn) == ["layers", "heads"]
    assert all(draw(figure, "svg").startswith(b"<?xml") for figure in drawn.values())


def test_a_run_that_kept_its_prompt_has_nothing_to_compare(run: ReopenedRun) -> None:
    same = ReopenedRun(
        run=run.run, config=run.config, folder=run.folder, data=run.data, tasks=run.tasks, optimized={}, finished=True
    )
    with pytest.raises(ConfigError, match="is the one that it began with"):
        measured(same)


def test_what_is_not_installed_is_named(run: ReopenedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metaspo.actions.attention.find_spec", lambda name: None)
    ended = here("attention", "run", "--model", "somewhere")
    assert (ended.code, ended.errors) == (
        2,
        ["attention needs torch, transformers, matplotlib: pip install 'metaspo[attention]'"],
    )


# With torch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with random weights, and a tokenizer of bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    LlamaForCausalLM(LlamaConfig(vocab_size=257, eos_token_id=256, bos_token_id=256, **shape)).save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({**{char: at for at, char in enumerate(alphabet)}, "<end>": 256}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>")
    fast.chat_template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}\n{% endfor %}[answer]"
    fast.save_pretrained(folder)
    return folder


@needs_torch
def test_shares_are_those_of_one_pass_over_prompt_and_answer(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from metaspo.engine.attention.local_model import LocalModel

    messages = [Message("system", "Be brief."), Message("user", "Is 4 even?")]
    shares = LocalModel(str(folder)).shares(messages, system="Be brief.", tokens=5)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    text = "[system]Be brief.\n[user]Is 4 even?\n[answer]"
    prompt = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    whole = model.generate(prompt, max_new_tokens=5, do_sample=False)
    with torch.inference_mode():
        attentions: Any = model(whole[:, :-1], output_attentions=True).attentions
    rows = slice(prompt.shape[1] - 1, None)
    wanted = np.array([layer[0, :, rows, 8:17].sum(-1).mean(-1).numpy() for layer in attentions])
    assert shares.system.shape == (2, 4)
    assert np.allclose(shares.system, wanted, atol=1e-5)
    assert shares.length == pytest.approx(9 / len(text))
    assert (shares.system + shares.user < 1).all()


@needs_torch
def test_the_command_writes_figures_and_pictures(run: ReopenedRun, folder: Path) -> None:
    ended = here("attention", "run", "--model", str(folder), "--examples", "1", "--tokens", "2", "--quiet")
    assert ended.code == 0
    assert "95% interval" in ended.out
    written = {path.name for path in (run.run.path / "attention").iterdir()}
    assert written == {"attention.json", "layers.svg", "layers.png", "heads.svg", "heads.png"}


@needs_torch
def test_a_model_that_cannot_be_loaded_is_told_in_a_line(run: ReopenedRun, tmp_path: Path) -> None:
    ended = here("attention", "run", "--model", str(tmp_path / "nothing"))
    assert (ended.code, len(ended.errors)) == (2, 1)
