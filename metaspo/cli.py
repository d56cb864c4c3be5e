"""The command line. Results go to standard output, everything else to standard error."""

from collections.abc import Sequence
from typing import Annotated

import typer

from metaspo.console import EXIT_CODES, OF_THE_MACHINE, end_of, hold_closed_streams, out, take_any_text
from metaspo.late_commands import LateCommands
from metaspo.log import LogForm, LogLevel, show_log

app = typer.Typer(
    cls=LateCommands,
    name="metaspo",
    help="Optimize the system prompt of a language model so that it works across many tasks.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: Sequence[str] | None = None) -> None:
    """The `metaspo` command, with the process's own arguments if none are given; ends in `SystemExit`."""
    hold_closed_streams()
    take_any_text()
    show_log()
    try:
        app(arguments)
    except SystemExit as end:
        raise SystemExit(end_of(end.code)) from None
    except OSError as fault:  # of help, which no console of ours writes; a command tells its own
        if fault.errno not in OF_THE_MACHINE:
            raise
        out.give_up(fault)
        raise SystemExit(end_of(None)) from None


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # which reads mail headers, and packed archives

        out.print(f"metaspo {version('metaspo')}")
        raise typer.Exit


def _logged_as(form: LogForm) -> LogForm:
    """Before anything else is read, for what is wrong with it is logged, too."""
    if form is not LogForm.CONSOLE:
        show_log(form)
    return form


@app.callback()
def _top(
    _show: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    log: Annotated[
        LogForm,
        typer.Option(
            "--log",
            metavar="console|json",
            envvar="METASPO_LOG",
            callback=_logged_as,
            is_eager=True,
            show_default=False,
            help="Standard error as lines for people, or all of it as JSON.",
        ),
    ] = LogForm.CONSOLE,
    log_level: Annotated[
        LogLevel,
        typer.Option(
            "--log-level",
            metavar="warning|info|debug",
            envvar="METASPO_LOG_LEVEL",
            show_default=False,
            help="From which level on metaspo logs.",
        ),
    ] = LogLevel.WARNING,
) -> None:
    if (log, log_level) != (LogForm.CONSOLE, LogLevel.WARNING):
        show_log(log, log_level)
