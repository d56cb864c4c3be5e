"""Write the rows of the domains `math` and `code` that metaspo ships: python tools/domain_rows.py

Every row is drawn from the templates of `domain_math` and `domain_code` with a seed of its own task, and its answer is
computed, so the same rows come out each time; a test compares them with the files.
"""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import domain_code
import domain_math

Row = dict[str, Any]
FOLDER = Path(__file__).resolve().parent.parent / "engine" / "domains" / "data"
TRAIN, TEST = 40, 60  # rows of each task
TASKS: dict[str, Callable[[random.Random], Row]] = {**domain_math.TASKS, **domain_code.TASKS}


def rows_of(task: str) -> tuple[list[Row], list[Row]]:
    """The train and the test rows of a task; no question stands there twice."""
    rows: dict[str, Row] = {}
    for row in _drawn(task):
        rows.setdefault(row["question"], row)
        if len(rows) == TRAIN + TEST:
            break
    distinct = list(rows.values())
    return distinct[:TRAIN], distinct[TRAIN:]


def _drawn(task: str) -> Iterator[Row]:
    rng = random.Random(f"metaspo/{task}")
    while True:
        yield TASKS[task](rng)


def files() -> dict[Path, str]:
    """What each file holds, by its path."""
    written = {}
    for task in TASKS:
        for split, rows in zip(("train", "test"), rows_of(task), strict=True):
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
            written[FOLDER / task / f"{split}.jsonl"] = "".join(lines)
    return written


if __name__ == "__main__":
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(FOLDER)}: {text.count(chr(10))} rows")
