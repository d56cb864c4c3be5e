"""What is printed of what a run's sessions took: calls, tokens, dollars, and where the time went."""

from rich.console import Console

from metaspo.backends.counted import counted
from metaspo.engine.journal.view import Barriers
from metaspo.engine.money import UNKNOWN, show_dollars
from metaspo.engine.runs.summary import USE_COLUMNS, RunSummary
from metaspo.scheduling.statistics import LaneUse
from metaspo.tables.printing import make_table, say

OF_TIMES = (
    "A request waits for a free slot (queue), the rate limit (limiter), its answer (server), another try (retry), and "
    "until the answer is kept (store)."
)


def calls_and_dollars(*uses: LaneUse) -> str:
    """What was asked, how much of it came from the cache, and what it cost."""
    calls, cached = sum(use.calls for use in uses), sum(use.hits + use.joined for use in uses)
    dollars = show_dollars(sum(use.dollars for use in uses), unpriced=sum(use.unpriced for use in uses))
    return f"{counted(calls, 'call')}, {cached:,} from the cache, {_in_a_sentence(dollars)}"


def spent_sentence(summary: RunSummary) -> str:
    """What it took, in a sentence."""
    use = summary.usage.total
    hits, dollars, saved = (USE_COLUMNS[column](use) for column in ("from cache", "dollars", "saved by cache"))
    worth = "" if dollars == saved == UNKNOWN else f", {saved} saved by cache"
    took = f"Took {counted(use.calls, 'call')}, {hits} from the cache; {_in_a_sentence(dollars)}{worth}"
    return f"{took}; {summary.seconds:,.1f} s. {summary.together}".rstrip()


def _in_a_sentence(dollars: str) -> str:
    return "dollars unknown (no prices)" if dollars == UNKNOWN else dollars


def print_usage(out: Console, summary: RunSummary) -> None:
    """What the last session took of each model, and all sessions together."""
    table = make_table("this session", "model", *USE_COLUMNS)
    for model, use in summary.usage.lanes.items():
        table.add_row(model, *(text(use) for text in USE_COLUMNS.values()))
    out.print(table)
    if summary.finished and (failed := summary.usage.total.failed):
        say(
            out,
            f"Requests without an answer: {failed:,}. No prompt that met one was selected; the journal names the rows.",
        )
    _print_times(out, summary)
    _print_barriers(out, summary.barriers)
    say(out, f"Wall time: {summary.seconds:,.1f} s")
    if summary.together:
        say(out, summary.together)


def _print_times(out: Console, summary: RunSummary) -> None:
    """Where the time of each model's requests went, if there were any."""
    told = False
    for model, use in summary.usage.lanes.items():
        times = {name: getattr(use, f"{name}_seconds") for name in ("queue", "limiter", "server", "retry", "store")}
        whole = sum(times.values())
        if whole:
            told = True
            shares = ", ".join(f"{name} {seconds / whole:.0%}" for name, seconds in times.items())
            say(out, f"{model}: its requests' time went to {shares}.")
    if told:
        say(out, OF_TIMES, style="dim")


def _print_barriers(out: Console, barriers: Barriers) -> None:
    """One line, if anything was waited for."""
    if not barriers.each:
        return
    most = max(barriers.each, key=lambda wait: wait.idle)
    where = f", the most at {most.address} ({most.idle:,.1f} s)" if most.idle else ""
    say(
        out,
        f"Idle between rounds: the base model had nothing to do for {barriers.idle:,.1f} s ({barriers.share:.0%} of "
        f"the loops) while the last candidates were waited for{where}.",
    )
