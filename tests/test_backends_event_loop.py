"""Commands and clients run on uvloop where it is installed, and on asyncio's own loop where it is not."""

import asyncio
import sys

import pytest

from metaspo.console import run_async


async def _module_of_the_loop() -> str:
    return type(asyncio.get_running_loop()).__module__


def test_a_command_runs_on_uvloop_where_it_is_installed() -> None:
    pytest.importorskip("uvloop")
    assert run_async(_module_of_the_loop()).startswith("uvloop")


def test_a_command_runs_on_asyncios_loop_where_uvloop_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)  # as where it cannot be imported
    assert run_async(_module_of_the_loop()).startswith("asyncio")
