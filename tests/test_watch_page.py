"""The live page in a browser: what a person sees and does, in every state of a run."""

import asyncio
import json
from pathlib import Path

import pytest
from chat_server import ChatServer
from command_line import apart, end, run_into
from world import World

from metaspo.backends import Request
from metaspo.bench.browser import CHROMIUM, open_page
from metaspo.bench.processes import held_port
from metaspo.engine import RunDirectory, find_runs
from metaspo.engine.watch import serve_watch

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

HOSTILE = "</div><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
RUNS = Path(".metaspo/runs")


class Hostile(World):
    """Writes markup, as optimizer and as base model."""

    def optimizer(self, request: Request) -> str:
        return super().optimizer(request).replace("</system_prompt>", f"{HOSTILE}</system_prompt>")

    def base(self, request: Request) -> str:
        said = super().base(request)
        return said if said in ("yes", "no") else HOSTILE


WORLD = Hostile(3, malformed=0.1)


@pytest.fixture
def finished_run(finished: Path) -> RunDirectory:
    """A finished run in the current folder."""
    (run,) = find_runs(RUNS)
    return run


def text_of(selector: str) -> str:
    return f"document.querySelector({selector!r}).textContent"


def count(selector: str) -> str:
    return f"document.querySelectorAll({selector!r}).length"


async def test_a_finished_run_is_read_by_keyboard_and_what_models_wrote_stays_text(finished_run: RunDirectory) -> None:
    run = finished_run
    async with serve_watch(RUNS, port=0) as address, open_page() as page:
        await page.open(address)
        await page.until(f"document.querySelector('#state') && {text_of('#state')} === 'finished'")
        await page.until(f"{count('#tree details')} > 5")
        assert await page.value(text_of("#share")) == "100%"
        assert "→" in await page.value(text_of("#best"))
        assert "95% interval" in await page.value(text_of("#gain"))
        assert await page.value(f"{count('#curve circle')}") == 5
        await page.press("j")
        await page.press("Enter")
        await page.until(f"{count('details.selected[open] .diff')} === 1")
        opened = await page.value("document.querySelector('details.selected .inside').textContent")
        assert opened.startswith("iteration 1, system prompt, candidate ")
        await page.press("2")
        await page.until(f"{count('#task-table tr')} === 4")
        await page.press("3")
        await page.until("document.querySelector('#lanes').textContent.includes('base model')")
        await page.press("4")
        await page.until(f"{count('#answer-list details')} === 12")
        worse = json.loads(run.result.read_bytes())["tests"]
        sides = [
            {row["task"]: row["grades"] for row in worse if row["stage"] == stage and not row["prompt"]}
            for stage in ("before", "after")
        ]
        fell = sum(new < old for task in sides[0] for old, new in zip(sides[0][task], sides[1][task], strict=True))
        await page.value("document.querySelector('[data-filter=worse]').click()")
        await page.until(f"{count('#answer-list details')} === {fell}")
        await page.press("5")
        await page.until("document.querySelector('#lines').textContent.includes('finish')")
        await page.press("1")
        await page.until("document.querySelector('#prompt').textContent.includes('<script>')")
        assert await page.value(f"{count('script')} === 1 && {count('img')} === 0")
        assert await page.value("document.title") == run.name
        assert page.faults == []
        assert all(asked.startswith((address, "data:")) for asked in page.asked)


@pytest.mark.slow
async def test_a_run_is_followed_while_it_goes_on_and_through_a_break_of_the_connection(
    project: Path, server: ChatServer
) -> None:
    running = await asyncio.to_thread(lambda: run_into(project, server, calls=60))
    with held_port() as port:
        async with open_page() as page:
            async with serve_watch(RUNS, port=port) as address:
                await page.open(address)
                await page.until(f"document.querySelector('#state') && {text_of('#state')} === 'running'")
                before = await page.value(text_of("#calls"))
            await page.until(f"{text_of('#link')} !== ''")
            server.release()
            await asyncio.to_thread(end, running)
            async with serve_watch(RUNS, port=port):
                await page.until(f"{text_of('#state')} === 'finished'")
                assert await page.value(text_of("#calls")) != before
                await page.until(f"{text_of('#link')} === ''")
                [run] = find_runs(RUNS)
                written = [json.loads(line) for line in run.journal.read_text(encoding="utf-8").splitlines()]
                told = [line for line in written if line["event"] != "spent"]  # which the figures show
                await page.until(f"seen.lines.length >= {len(told)}")
                assert await page.value("seen.lines") == told, "every line comes once"


@pytest.mark.slow
async def test_the_page_fits_a_phone_and_has_a_dark_dress(finished_run: RunDirectory) -> None:
    async with serve_watch(RUNS, port=0) as address, open_page() as page:
        await page.resize(360, 740)
        await page.open(address)
        await page.until(f"document.querySelector('#tree') && {count('#tree details')} > 5")
        for key in "12345":
            await page.press(key)
            assert await page.value("document.documentElement.scrollWidth") <= 360
        light = await page.value("getComputedStyle(document.body).backgroundColor")
        await page.dark(True)
        assert await page.value("getComputedStyle(document.body).backgroundColor") != light


@pytest.mark.slow
async def test_lines_that_come_in_thousands_are_counted_and_the_last_ones_shown(finished_run: RunDirectory) -> None:
    run = finished_run
    async with serve_watch(RUNS, port=0) as address, open_page() as page:
        await page.open(address)
        await page.until(f"document.querySelector('#state') && {text_of('#state')} === 'finished'")
        await page.press("5")
        await page.until("document.querySelector('#lines').textContent.includes('finish')")
        flood = b"".join(b'{"event":"lane","address":"","what":"Retried","number":%d}\n' % n for n in range(20_000))
        with run.journal.open("ab") as journal:
            journal.write(flood)
        await page.until("document.querySelector('#lines').textContent.includes('number=19999')")
        assert await page.value("seen.lines.length") <= 600
        assert "went by too fast" in await page.value(text_of("#skipped"))
        assert page.faults == []


@pytest.mark.slow
async def test_a_folder_of_runs_is_a_list_that_leads_to_each(finished_run: RunDirectory) -> None:
    more = await asyncio.to_thread(lambda: apart("optimize", "run.toml", "--quiet", "--set", "seed=1", folder=Path()))
    assert more.code == 0
    async with serve_watch(RUNS, port=0) as address, open_page() as page:
        await page.open(address)
        await page.until(f"document.querySelector('#runs') && {count('#runs a')} === 2")
        name = await page.value(text_of("#runs a"))
        await page.value("document.querySelector('#runs a').click()")
        await page.until(f"document.querySelector('#title') && {text_of('#title')} === {name!r}")
        await page.press("o")
        await page.until(f"{count('#runs a')} === 2")


async def test_a_run_is_stopped_by_two_presses_of_a_button(project: Path, server: ChatServer) -> None:
    running = await asyncio.to_thread(lambda: run_into(project, server, calls=60))
    async with open_page() as page, serve_watch(RUNS, port=0) as address:
        await page.open(address)
        await page.until("document.querySelector('#stop') && !document.querySelector('#stop').hidden")
        await page.value("document.querySelector('#stop').click()")
        await page.until(f"{text_of('#stop')}.startsWith('really stop?')")
        assert running.poll() is None
        await page.value("document.querySelector('#stop').click()")
        ended = await asyncio.to_thread(end, running)
        assert ended.code == 130
        await page.until(f"{text_of('#state')} === 'stopped'")
        await page.until("document.querySelector('#stop').hidden")
        assert page.faults == []
    server.release()


@pytest.mark.slow
async def test_what_a_killed_run_was_scoring_is_not_being_scored_any_more(project: Path, server: ChatServer) -> None:
    running = await asyncio.to_thread(lambda: run_into(project, server, calls=60))
    async with open_page() as page, serve_watch(RUNS, port=0) as address:
        await page.open(address)
        await page.until("document.querySelector('#tree') && document.querySelector('#tree').textContent")
        await page.until(f"{text_of('#tree')}.includes('being scored')")
        running.kill()
        await asyncio.to_thread(end, running)
        await page.until(f"{text_of('#state')} === 'broken off'")
        await page.until(f"{text_of('#tree')}.includes('not scored')")
        assert "being scored" not in await page.value(text_of("#tree"))
        assert (await page.value(text_of("#dollars"))).endswith(" calls"), "no price is known"
        assert page.faults == []
    server.release()
