"""The demo's config, whole or cut down."""

import tomllib
from pathlib import Path
from typing import Any

DEMO_FOLDER = Path(__file__).resolve().parent

SMALL_SOURCES = ("intent", "invitations", "register")
SMALL_TARGETS = ("news_topic", "reviews", "units")  # that this model can judge; `units` is a source of the whole demo
SMALL_TRAIN, SMALL_TEST = 6, 8  # examples a split
SMALL_CANDIDATES = 3  # system prompts


def demo_config(*, small: bool) -> dict[str, Any]:
    """What `demo.toml` says; `small` keeps a small part of the work. Paths: `DEMO_FOLDER`."""
    config = tomllib.loads((DEMO_FOLDER / "demo.toml").read_text(encoding="utf-8"))
    if not small:
        return config
    tables = {task["name"]: task for task in config["tasks"]}
    sizes = {"train_size": SMALL_TRAIN, "test_size": SMALL_TEST}
    sources = [{**tables[name], **sizes} for name in SMALL_SOURCES]
    targets = [
        {**tables[name], **sizes, "role": "target", "test": f"tasks/{name}/test.jsonl"} for name in SMALL_TARGETS
    ]
    tasks = [*sources, *targets]
    outer = {**config["outer"], "candidates": SMALL_CANDIDATES}
    return {**config, "name": "demo-small", "iterations": 1, "outer": outer, "tasks": tasks}
