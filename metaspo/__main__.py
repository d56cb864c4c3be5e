"""The `metaspo` command, also `python -m metaspo`: a Ctrl-C while all the rest is imported ends it without a word."""

import signal


def main() -> None:
    """The command with the process's own arguments; ends in `SystemExit`."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from metaspo.cli import main as command

    signal.signal(signal.SIGINT, before)
    command()


if __name__ == "__main__":
    main()
