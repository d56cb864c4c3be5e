"""How many files the process may have open at once."""

import contextlib
import sys

MAX_ASKED = 65_536  # of a system that knows no limit


def raise_limit() -> None:
    """Let the process open as many files as the system lets it; what the shell lets it is often 256 or 1,024."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = MAX_ASKED if hard == resource.RLIM_INFINITY else min(hard, MAX_ASKED)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            with contextlib.suppress(ValueError, OSError):  # a sandbox, or a system that lets less than it says
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def limit() -> int | None:
    """Files that may be open at once; None where there is no such limit."""
    if sys.platform == "win32":
        return None
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else soft
