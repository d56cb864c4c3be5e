"""`metaspo optimize` and `demo`: runs."""

from typing import Annotated

import typer

from metaspo import actions
from metaspo.parameters import Calls, Configs, Json, NamedArguments, On, Port, Quiet, Sets

app = typer.Typer(rich_markup_mode=None)


@app.command(cls=NamedArguments)
def optimize(
    configs: Configs,
    calls: Calls = None,
    sets: Sets = None,
    web: Annotated[bool, typer.Option("--web", help="Show it in the browser, too, on this machine alone.")] = False,
    port: Port = None,
    on: On = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Optimize a system prompt and the user prompts under it.

    Several configs run together over shared servers and limits. Started again with the same config, a run goes on where
    it stopped: every answer that was paid for is in the cache.
    """
    actions.optimize_configs(configs, calls, sets, web=web, port=port, on=on, json=json, quiet=quiet)


@app.command()
def demo(
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="qwen2.5-coder-0.5b, smollm2, a GGUF file's path, or owner/repo:file.")
    ] = "qwen2.5-coder-0.5b",
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of everything random.")] = 42,
    small: Annotated[bool, typer.Option("--small", help="A small part of the work, in two to four minutes.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Optimize a system prompt against a real model on this machine: no API key, no GPU."""
    actions.run_demo(model, seed=seed, small=small, json=json, quiet=quiet)
