"""How much attention a model gives to the first and to the optimized system prompt, shown."""

from importlib.util import find_spec
from pathlib import Path

import orjson

from metaspo.backends.paths import write_whole
from metaspo.console import err, exit_on_user_error, out
from metaspo.engine import ConfigError, find_run
from metaspo.engine.attention import AttentionReport, measure_attention
from metaspo.engine.runs.directory import JSON
from metaspo.engine.runs.reopened import ReopenedRun, reopen
from metaspo.tables import printing

NEEDED = ("torch", "transformers", "matplotlib")
INSTALL = "pip install 'metaspo[attention]'"
HEADS = 5  # shown of all


def compare_attention(
    run: str,
    *,
    model: str,
    task: str,
    examples: int,
    tokens: int,
    folder: Path | None,
    runs: Path,
    json: bool,
    quiet: bool,
) -> None:
    """Measure it under both, write figures and pictures, and print what they say."""
    with exit_on_user_error():
        directory = find_run(run, base=runs, latest=True, finished=True)
        again = reopen(directory, task=task)
        model = model or _own_model(again)
        missing = [name for name in NEEDED if not find_spec(name)]  # gigabytes: what else is wrong is told before
        if missing:
            raise ConfigError(f"attention needs {', '.join(missing)}: {INSTALL}")
        report = _measured(again, model, examples, tokens, quiet=quiet)
        paths = _write(report, folder or directory.path / "attention")
    if json:
        printing.print_json(out, report.as_json())
        return
    print_attention(report)
    for path in paths:
        out.print(str(path))


def _own_model(again: ReopenedRun) -> str:
    base = again.config.base
    if base.backend == "local":
        raise ConfigError(
            f"[base] {base.model} is a GGUF file: give its folder for transformers, --model FOLDER "
            "(docs/attention.md says how to make one)"
        )
    return base.model


def _measured(again: ReopenedRun, model: str, examples: int, tokens: int, *, quiet: bool) -> AttentionReport:
    from metaspo.engine.attention.local_model import LocalModel

    with err.status("loading the model", spinner="dots") as status:
        attender = LocalModel(model)

        def done(number: int, of: int) -> None:
            status.update(f"{number} of {of} examples")

        if quiet:
            status.stop()
        return measure_attention(again, attender, model=model, examples=examples, tokens=tokens, done=done)


def _write(report: AttentionReport, folder: Path) -> list[Path]:
    """The figures as JSON, and the pictures; where they are."""
    from metaspo.engine.attention.pictures import pictures
    from metaspo.engine.report.run_page import write_all

    paths = write_all(pictures(report), folder)
    data = folder / "attention.json"
    write_whole(data, orjson.dumps(report.as_json(), option=JSON))
    return [data, *paths]


def print_attention(report: AttentionReport) -> None:
    """The verdict, and the heads that changed most."""
    printing.say(out, f"{report.run}, by {report.model}", style="bold")
    printing.say(out, report.sentence)
    changes = [
        (after - before, before, after, layer, head)
        for layer, rows in enumerate(zip(report.heads["before"], report.heads["after"], strict=True))
        for head, (before, after) in enumerate(zip(*rows, strict=True))
    ]
    table = printing.make_table("heads that changed most", "layer", "head", "first", "optimized", "change")
    for change, before, after, layer, head in sorted(changes, key=lambda row: -abs(row[0]))[:HEADS]:
        table.add_row(str(layer), str(head), f"{before:.1%}", f"{after:.1%}", f"{100 * change:+z.1f}")
    out.print(table)
