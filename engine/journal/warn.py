"""Who is warned."""

import logging
from collections.abc import Callable

Warn = Callable[[str], None]


def log_warning(text: str) -> None:
    """Where warnings go if nobody takes them: the logger "metaspo", whose warnings Python shows on standard error."""
    logging.getLogger("metaspo").warning(text)
