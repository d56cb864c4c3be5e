"""What is logged, on standard error: lines for people, or JSON lines for programs, other libraries' records alike.

Records are formatted by structlog, which is imported with the first of them: most commands log nothing.
"""

import io
import json
import logging
import os
import sys
import threading
from collections.abc import Mapping, MutableMapping
from enum import StrEnum
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from metaspo.backends.http.loose_json import mended
from metaspo.backends.late_patterns import late_pattern
from metaspo.backends.secrets import hold_secrets_of, without_secrets
from metaspo.console import HarmlessConsole, err
from metaspo.scheduling.log_context import about

if TYPE_CHECKING:
    from structlog.stdlib import ProcessorFormatter

OF_OTHERS = ("aiohttp", "asyncio")  # loggers whose tracebacks are no news to a user
NOT_EXPORTED = (
    "calls are not exported: no OpenTelemetry collector takes them where OTEL_EXPORTER_OTLP_ENDPOINT says "
    "(http://localhost:4318 if it is not set); metaspo goes on without"
)
_OF_MLFLOW = {  # else it prints where its runs are on standard output, and logs by handlers of its own
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
}
_OF_AN_EXPORT = ("Failed to export", "Transient error")  # how the exporters' messages begin
_SAID = late_pattern(r"(?:(?P<run>[\w.-]+): )?(?P<level>(?i:error|warning)): (?P<text>.*)")
Record = MutableMapping[str, Any]


class LogForm(StrEnum):
    """How what is logged is written."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """From which level on metaspo's own records are written; other libraries' are from "warning" on."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"


class Log(logging.Handler):
    """Shows what is logged, a line each and harmless, without a key; a traceback only of a mistake of ours.

    What others say of the clients of a server of ours, such as that they speak no HTTP, is no more than its sentence,
    and for people said once where it is said again and again.
    """

    def __init__(self, form: LogForm = LogForm.CONSOLE, *, to: HarmlessConsole = err) -> None:
        super().__init__()
        self._form = form
        self._to = to
        self._last = ""
        self._lost_exports = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; of calls that a collector does not take the first alone, in words of ours.

        Of one that cannot be formatted, whose mistake it is: it raises nothing. What outlives the program is not heard.
        """
        if sys.is_finalizing():  # nothing can be imported any more
            return
        if record.name.startswith("opentelemetry.exporter") and str(record.msg).startswith(_OF_AN_EXPORT):
            if self._lost_exports:
                return
            self._lost_exports = True
            record = logging.LogRecord("metaspo", logging.WARNING, "", 0, NOT_EXPORTED, None, None)
        try:
            text = self._formatter.format(record)
        except Exception as mistake:  # noqa: BLE001 - whatever the code of others raises as it is shown
            text = self._formatter.format(_unwritten(record, mistake))
        if self._form is LogForm.JSON:
            self._to.write(f"{text}\n")
        elif text != self._last:
            self._to.print(text)
        self._last = text

    @cached_property
    def _formatter(self) -> "ProcessorFormatter":
        import structlog
        from structlog.stdlib import ProcessorFormatter, add_log_level, add_logger_name

        stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
        return ProcessorFormatter(
            foreign_pre_chain=[
                structlog.contextvars.merge_contextvars,
                _add_about,
                add_log_level,
                add_logger_name,
                stamp,
            ],
            processors=[
                _shorten_others,
                ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _redact,
                _as_json if self._form is LogForm.JSON else _as_line,
            ],
        )


class _Lines(io.StringIO):
    """What is said beside the log, progress and mistakes, whoever says it: as records, a line each."""

    def __init__(self, beneath: TextIO) -> None:
        super().__init__()
        self.beneath = beneath
        self.log = Log(LogForm.JSON, to=HarmlessConsole(file=beneath))
        self._begun = ""

    def write(self, text: str) -> int:
        """Every line that ends in here is a record."""
        *lines, self._begun = (self._begun + text).split("\n")
        for line in filter(None, map(str.strip, lines)):
            self.log.handle(_record_of(line))
        return len(text)

    def fileno(self) -> int:
        """For processes that inherit it."""
        return self.beneath.fileno()


def show_log(form: LogForm = LogForm.CONSOLE, level: LogLevel = LogLevel.WARNING) -> None:
    """From here on, unless somebody else listens already; as JSON, everything on standard error is a record.

    Warnings and mistakes that nobody has caught, in whatever thread, are records in both forms.
    """
    hold_secrets_of(os.environ)
    for name, value in _OF_MLFLOW.items():
        os.environ.setdefault(name, value)
    root = logging.getLogger()
    ours = [handler for handler in root.handlers if isinstance(handler, Log)]
    if len(ours) < len(root.handlers):
        return
    for handler in ours:
        root.removeHandler(handler)
    logging.getLogger("metaspo").setLevel(level.upper())
    logging.captureWarnings(True)
    sys.excepthook, threading.excepthook, sys.unraisablehook = _log_mistake, _log_of_thread, _log_unraisable
    if form is LogForm.CONSOLE:
        root.addHandler(Log())
        return
    lines = _Lines(sys.stderr.beneath if isinstance(sys.stderr, _Lines) else sys.stderr)
    root.addHandler(lines.log)
    sys.stderr = lines
    err.write_into(lines)


def _log_mistake(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    error = kind.__new__(kind) if error is None else error
    logging.getLogger("metaspo").critical("A mistake in metaspo: %s", kind.__name__, exc_info=(kind, error, trace))


def _log_of_thread(mistake: threading.ExceptHookArgs) -> None:
    if mistake.exc_type is not SystemExit:  # which ends a thread, and is no mistake
        _log_mistake(mistake.exc_type, mistake.exc_value, mistake.exc_traceback)


def _log_unraisable(mistake: "sys.UnraisableHookArgs") -> None:
    _log_mistake(mistake.exc_type, mistake.exc_value, mistake.exc_traceback)


def _record_of(line: str) -> logging.LogRecord:
    said = _SAID.fullmatch(line)
    level = logging.getLevelName(said["level"].upper()) if said else logging.INFO
    text = f"{said['run']}: {said['text']}" if said and said["run"] else said["text"] if said else line
    return logging.LogRecord("metaspo", level, "", 0, text, None, None)


def _unwritten(record: logging.LogRecord, mistake: Exception) -> logging.LogRecord:
    text = f"a record of {record.name} could not be written: {type(mistake).__name__}"
    return logging.LogRecord(record.name, record.levelno, record.pathname, record.lineno, text, None, None)


# Steps of a record's way, as structlog calls them: with a logger, a method's name, and the record so far.


def _add_about(_logger: object, _method: str, record: Record) -> Record:
    return {**record, **about()}


def _shorten_others(_logger: object, _method: str, record: Record) -> Record:
    """Of others' errors the sentence alone."""
    error = (record.get("exc_info") or (None, None))[1]
    if error is not None and str(record.get("logger", "")).startswith(OF_OTHERS):
        record["event"] = f"{record['event']}: {' '.join(str(error).split()) or type(error).__name__}"
        record.pop("exc_info")
    return record


def _redact(_logger: object, _method: str, record: Record) -> Record:
    return {name: _redacted(value) for name, value in record.items()}


def _redacted(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(name): _redacted(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_redacted(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float) else without_secrets(str(value))


def _as_json(_logger: object, _method: str, record: Record) -> str:
    first = {name: record[name] for name in ("timestamp", "level", "logger", "event") if name in record}
    return json.dumps(mended({**first, **record}))  # ASCII alone, so that no terminal obeys any of it


def _as_line(_logger: object, _method: str, record: Record) -> str:
    named = " ".join(f"{name}={record[name]}" for name in ("run", "lane") if name in record)
    trace = f"\n{record['exception']}" if "exception" in record else ""
    return f"{record['level']}: {record['event']}{f' ({named})' if named else ''}{trace}"
