"""The paper's domains go through on a real model: every answer format, from files to a result."""

from pathlib import Path
from typing import Any

import pytest

import metaspo

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
TAGGED = "Answer between <answer> and </answer>."
DOMAINS = {
    "medical/ob_gyn": ({"kind": "letter", "tag": True}, "accuracy"),
    "review/beauty": ({"kind": "integer", "tag": True}, "accuracy"),
    "safety/hatecheck": ({"kind": "label", "labels": ["yes", "no"]}, "macro-f1"),
    "grounding/natural_questions": ("text", "token-f1"),
}


def task(path: str, answer: object, metric: str, *, role: str = "source") -> dict[str, Any]:
    how = TAGGED if isinstance(answer, dict) and "tag" in answer else "Answer in brief."
    return {
        "name": path.split("/")[1],
        "role": role,
        "train": f"{path}/train.jsonl",
        "test": f"{path}/test.jsonl",
        "train_size": 3,
        "test_size": 3,
        "max_question_chars": 600,
        "answer": answer,
        "metric": metric,
        "user_prompt": f"<Question>{{question}}</Question>\n{how}",
    }


@pytest.mark.model
@pytest.mark.timeout(900)
@pytest.mark.skipif(not DATA.is_dir(), reason=f"the domains' data are not at {DATA}")
async def test_a_small_run_over_four_domains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config: dict[str, Any] = {
        "name": "domains",
        "iterations": 1,
        "base": {"backend": "local", "model": "qwen2.5-coder-0.5b", "max_tokens": 24},
        "inner": {"strategy": "embedded", "candidates": 1, "keep": 2},
        "outer": {"strategy": "embedded", "candidates": 2},
        "test": {"source": "best"},
        "tasks": [
            *(task(path, answer, metric) for path, (answer, metric) in DOMAINS.items()),
            task("reasoning/object_counting", {"kind": "integer", "number_words": True}, "accuracy", role="target"),
        ],
    }
    first = await metaspo.optimize(metaspo.prepare(config, data_folder=DATA))
    again = await metaspo.optimize(metaspo.prepare(config, data_folder=DATA))
    assert {row.task for row in first.result.tests} == {item["name"] for item in config["tasks"]}
    assert sum(row.failed for row in first.result.tests) == 0
    assert first.usage.total.calls > 50
    assert again.usage.total.calls == 0
    assert again.result == first.result
