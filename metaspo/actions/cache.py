"""A cache looked into, checked, moved and cleared out."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import typer
from pydantic import TypeAdapter, ValidationError

from metaspo.backends import Usage, model_facts
from metaspo.backends.counted import counted
from metaspo.cache import (
    PASSWORD,
    CacheCheck,
    CacheInfo,
    EntryGroup,
    Maintained,
    PruneFilter,
    cache_info,
    export_cache,
    import_cache,
    open_maintenance,
    prune_cache,
    shown_location,
    verify_cache,
)
from metaspo.console import ExitCode, err, exit_on_user_error, out, say_error
from metaspo.engine import ConfigError
from metaspo.engine.environment import environment_with_dotenv
from metaspo.engine.suggest import nearest
from metaspo.tables import printing


def show_cache(location: str, *, json: bool) -> None:
    """Print what is in it."""
    with exit_on_user_error(), _looking_after(location) as cache:
        contents = cache_info(cache)
    rows = [_group_data(group) for group in contents.groups]
    if json:
        printing.print_json(
            out,
            {
                "folder": shown_location(location),
                "format": contents.format,
                "entries": contents.entries,
                "bytes": contents.size,
                "bad": contents.bad,
                "groups": rows,
            },
        )
        return
    _print_info(contents, rows)


def _group_data(group: EntryGroup) -> printing.Data:
    facts = model_facts(group.model)
    usage = Usage(group.prompt_tokens, group.completion_tokens, group.cached_tokens)
    return {
        "model": group.model,
        "revision": group.revision,
        "run": group.run,
        "entries": group.entries,
        "bytes": group.size,
        "prompt_tokens": group.prompt_tokens,
        "completion_tokens": group.completion_tokens,
        "dollars": facts.cost(usage) if facts else None,
    }


def _print_info(contents: CacheInfo, rows: list[printing.Data]) -> None:
    table = printing.make_table(None, "model", "run", "entries", "KiB", "tokens in", "tokens out", "worth")
    for row in rows:
        value = "–" if row["dollars"] is None else f"${row['dollars']:.4f}"
        table.add_row(
            row["model"] + (f" ({row['revision']})" if row["revision"] else ""),
            row["run"],
            f"{row['entries']:,}",
            f"{row['bytes'] / 1024:,.0f}",
            f"{row['prompt_tokens']:,}",
            f"{row['completion_tokens']:,}",
            value,
        )
    out.print(table)
    out.print(
        f"{counted(contents.entries, 'entry', 'entries')}, {contents.size / 2**20:,.1f} MiB. "
        '"worth" is what asking again would cost, at the prices known for a model.',
    )
    if contents.bad:
        err.print(f"{counted(contents.bad, 'row')} cannot be used: `metaspo cache verify` lists them.")


def verify_entries(location: str, *, json: bool) -> None:
    """Read every entry, print what is wrong, and exit accordingly."""
    with exit_on_user_error(), _looking_after(location) as cache:
        check = verify_cache(cache)
    if json:
        printing.print_json(out, _check_data(check))
    else:
        _print_check(check)
    if not check.sound:
        raise typer.Exit(ExitCode.FAILED)


def _check_data(check: CacheCheck) -> printing.Data:
    return {
        "sound": check.sound,
        "entries": check.entries,
        "bad": [{"row": row.id, "key": row.key, "problem": row.problem} for row in check.bad],
        "damage": list(check.damage),
    }


def _print_check(check: CacheCheck) -> None:
    out.print(f"{counted(check.entries, 'entry is', 'entries are')} sound.")
    for row in check.bad:
        say_error(f"row {row.id!r} (key {row.key[:16] or 'unreadable'}): {row.problem}")
    for finding in check.damage:
        say_error(f"database: {finding}")
    if not check.sound:
        err.print(
            "`metaspo cache export FILE` saves what can be read, for a new folder; where single entries are wrong and "
            "the database is not, `prune --bad --yes` removes them."
        )


def write_snapshot(target: Path, *, location: str) -> None:
    """Write what is in it into a file."""
    with exit_on_user_error(), _looking_after(location) as cache:
        if target.exists():
            raise ConfigError(f"{target} exists already: name a new file for the snapshot")
        report = export_cache(cache, target)
    bad = f"; {counted(report.bad, 'row')} could not be read" if report.bad else ""
    out.print(f"Wrote {counted(report.entries, 'entry', 'entries')} to {target}{bad}.")


def read_snapshot(source: Path, *, trust: bool, location: str) -> None:
    """Add what a file holds."""
    with exit_on_user_error():
        if not source.is_file():
            raise ConfigError(f"there is no snapshot {source}: name a file that `metaspo cache export` wrote")
        if not trust:
            raise ConfigError(
                f"{source}: your runs would take its entries for answers of your models, and nobody can check that "
                "they are: add --trust if you trust whoever made it"
            )
        with closing(_open(location)) as cache:
            report = import_cache(cache, source)
    added, kept = counted(report.added, "entry", "entries"), counted(report.kept, "was", "were")
    out.print(f"Added {added} to {shown_location(location)}; {kept} there already.")


def prune_entries(
    *, model: str | None, run: str | None, older_than: str | None, bad: bool, yes: bool, location: str
) -> None:
    """Remove entries, or count those that would be."""
    with exit_on_user_error():
        before = None if older_than is None else time.time() - _age(older_than).total_seconds()
        try:
            what = PruneFilter(model=model, run=run, before=before, bad=bad)
        except ValueError as error:
            raise ConfigError(f"{error} (--model, --run, --older-than, or --bad)") from None
        with _looking_after(location) as cache:
            report = prune_cache(cache, what, delete=yes)
            strangers = [] if report.entries else _strangers(cache_info(cache), what)
    for stranger in strangers:
        err.print(stranger)
    done = "Removed" if report.deleted else "Would remove"
    hint = " Add --yes to remove them." if report.entries and not report.deleted else ""
    out.print(f"{done} {counted(report.entries, 'entry', 'entries')}, {report.size / 1024:,.0f} KiB.{hint}")


def _open(location: str) -> Maintained:
    return open_maintenance(location, password=environment_with_dotenv(Path()).get(PASSWORD, ""))


@contextmanager
def _looking_after(location: str) -> Iterator[Maintained]:
    """The cache at a place. Raises `ConfigError` if there is none: the place's name is the user's."""
    with closing(_open(location)) as cache:
        if not cache.exists():
            raise ConfigError(
                f"There is no cache in {shown_location(location)}: see that the folder is the one you mean "
                "(--cache DIR)"
            )
        yield cache


def _strangers(contents: CacheInfo, what: PruneFilter) -> list[str]:
    """A sentence for each name in a filter that no entry has."""
    filters = (
        ("model", what.model, {group.model for group in contents.groups}),
        ("run", what.run, {group.run for group in contents.groups}),
    )
    return [
        f"No entry has the {kind} '{name}'{nearest(name, sorted(names))}; `metaspo cache info` lists them."
        for kind, name, names in filters
        if name is not None and name not in names
    ]


def _age(text: str) -> timedelta:
    """ "30d", "12h", "45m", or any ISO 8601 duration. Raises `ConfigError`."""
    plain = text.strip().lower()
    iso = {"d": f"P{plain[:-1]}D", "h": f"PT{plain[:-1]}H", "m": f"PT{plain[:-1]}M"}.get(plain[-1:], text)
    try:
        return TypeAdapter(timedelta).validate_python(iso if plain[:-1].isdigit() else text)
    except ValidationError:
        raise ConfigError(f"--older-than {text}: give an age such as 30d, 12h or 45m") from None


def explain_entry(config: Path, *, task: str, example: int) -> None:
    """Print what goes into the key of one example."""
    from metaspo.engine import explain_example, prepare  # half of all there is, which no other command here needs

    with exit_on_user_error():
        explained = explain_example(prepare(config), task=task, number=example)
    printing.print_json(out, explained)
