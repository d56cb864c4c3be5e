"""The grid of docs/study.md is one that can be run."""

import re
import tomllib
from pathlib import Path

from command_line import here

from metaspo.engine.config.load import load_config
from metaspo.engine.domains import domains
from metaspo.engine.studies import GridConfig, method

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "study.md").read_text(encoding="utf-8")


def test_the_grid_shown_covers_the_papers_domains_protocols_and_methods(tmp_path: Path) -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
    grid = GridConfig.model_validate({"name": "study", **tomllib.loads(shown)})
    assert list(grid.domains) == list(domains())
    assert grid.generalize is not None
    assert grid.adapt is not None
    assert {"default", "metaspo", "global:metaspo", "outer-only", "metaspo-ape", "metaspo-evo"} <= set(grid.methods)
    for name in grid.methods:
        assert method(name.removeprefix("global:")).about
    assert here("init", str(tmp_path), "--domain", "all").code == 0
    assert len(load_config(tmp_path / grid.config).tasks) == 34
