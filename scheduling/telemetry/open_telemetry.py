"""Calls as OpenTelemetry has them: counts that are read when they are exported, and a span for some of the calls.

A span costs a third of what the call itself costs, so that none is made unless a share is asked for. Which calls have
one follows from their keys. Prompts and answers are in neither.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter_provider
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider, get_tracer_provider
from opentelemetry.util.types import AttributeValue

from metaspo.scheduling.lanes.call_record import CallRecord
from metaspo.scheduling.telemetry import gen_ai
from metaspo.scheduling.telemetry.call_totals import CallTotals, Group, Spread, Totals

SCOPE: Final = "metaspo"
SHARES: Final = 1 << 32  # as many as the first eight hex digits of a key have values
NANOSECONDS: Final = 1_000_000_000
LANE, STATUS, RUN, ADDRESS = "metaspo.lane", "metaspo.status", "metaspo.run", "metaspo.address"
ATTEMPTS, DRAW, DOLLARS, KEY = "metaspo.attempts", "metaspo.draw", "metaspo.cost", "metaspo.key"
QUEUE, SERVER_TIME = "metaspo.queue_seconds", "metaspo.server_seconds"

Counted = Callable[[Group, Totals], Iterator[tuple[float, dict[str, AttributeValue]]]]


class _Instruments:
    """The counts of one provider: of instruments of one name it reads the first, so that all observers share them."""

    def __init__(self, provider: MeterProvider) -> None:
        self._totals = CallTotals()
        self._adding = threading.Lock()  # observers may be in several threads
        meter = provider.get_meter(SCOPE)
        for name, unit, counted in (
            ("metaspo.requests", "{request}", _requests),
            ("metaspo.attempts", "{call}", _attempts),
            ("metaspo.tokens", "{token}", _tokens),
            ("metaspo.cost", "USD", _dollars),
        ):
            meter.create_observable_counter(name, [self._observed(counted)], unit=unit)
        for name, spreads in (("metaspo.queue.time", self._totals.queue), ("metaspo.server.time", self._totals.server)):

            def seconds(_options: CallbackOptions, spreads: dict[str, Spread] = spreads) -> Iterable[Observation]:
                return [Observation(spread.total, {LANE: lane}) for lane, spread in list(spreads.items())]

            meter.create_observable_counter(name, [seconds], unit="s")

    def add(self, record: CallRecord) -> None:
        """Count one call."""
        with self._adding:
            self._totals(record)

    def _observed(self, counted: Counted) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_options: CallbackOptions) -> Iterable[Observation]:
            return [
                Observation(value, {LANE: group.lane, gen_ai.MODEL: group.model, STATUS: group.status, **more})
                for group, totals in list(self._totals.groups.items())  # in the exporter's thread
                for value, more in counted(group, totals)
            ]

        return observe


class _Shared:
    """The instruments of each provider, and those of the program's own, which may be set later."""

    def __init__(self) -> None:
        self._making = threading.Lock()
        self._of: WeakKeyDictionary[MeterProvider, _Instruments] = WeakKeyDictionary()
        self._program: _Instruments | None = None

    def of(self, provider: MeterProvider | None) -> _Instruments:
        """Those of a provider; of the program's own for None."""
        program = get_meter_provider()
        with self._making:
            if provider is None or provider is program:
                self._program = self._program or self._of.get(program) or _Instruments(program)
                return self._program
            if provider not in self._of:
                self._of[provider] = _Instruments(provider)
            return self._of[provider]


_SHARED: Final = _Shared()


class OpenTelemetry:
    """An `on_call` of a `Gateway` or a `Client`, which call it where the request was asked: that has spans' parents."""

    def __init__(
        self,
        *,
        spans: float = 0.0,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        """`spans`: the share of calls, 0 to 1, that have a span. Providers: the program's own if left out."""
        self._sampled = round(spans * SHARES)
        self._tracer = (tracer_provider or get_tracer_provider()).get_tracer(SCOPE)
        self._instruments = _SHARED.of(meter_provider)

    def __call__(self, record: CallRecord) -> None:
        """Take one call."""
        self._instruments.add(record)
        if self._sampled and int(record.key[:8], 16) < self._sampled:
            self._span(record)

    def _span(self, record: CallRecord) -> None:
        """One span over all that a request was waited for: it has ended by now."""
        operation, end = gen_ai.OPERATIONS.get(record.request.path, gen_ai.CHAT), time.time_ns()
        waited = record.queue_seconds + record.limiter_seconds + record.retry_seconds + record.server_seconds
        span = self._tracer.start_span(
            f"{operation} {record.request.model}",
            kind=SpanKind.CLIENT,
            attributes=dict(_attributes(record, operation)),
            start_time=end - round(waited * NANOSECONDS),
        )
        if record.error:
            span.set_status(Status(StatusCode.ERROR, record.error))
        span.end(end)


def _attributes(record: CallRecord, operation: str) -> Iterator[tuple[str, AttributeValue]]:
    request, completion, sampling = record.request, record.completion, record.request.sampling
    yield gen_ai.OPERATION, operation
    yield gen_ai.MODEL, request.model
    if sampling.max_tokens is not None:
        yield gen_ai.MAX_TOKENS, sampling.max_tokens
    if sampling.temperature is not None:
        yield gen_ai.TEMPERATURE, sampling.temperature
    if sampling.top_p is not None:
        yield gen_ai.TOP_P, sampling.top_p
    if sampling.stop:
        yield gen_ai.STOP, list(sampling.stop)
    if completion is not None:
        yield gen_ai.FINISH_REASONS, [completion.finish_reason]
        yield gen_ai.INPUT_TOKENS, completion.usage.prompt_tokens
        yield gen_ai.OUTPUT_TOKENS, completion.usage.completion_tokens
        yield gen_ai.CACHED_TOKENS, completion.usage.cached_tokens
    yield from _server(record.endpoint)
    if record.error:
        yield gen_ai.ERROR, record.error
    yield from ((LANE, record.lane), (STATUS, record.status), (KEY, record.key), (DRAW, request.draw))
    yield from ((ATTEMPTS, record.attempts), (QUEUE, record.queue_seconds), (SERVER_TIME, record.server_seconds))
    yield from ((name, said) for name, said in ((RUN, record.account), (ADDRESS, record.address)) if said)
    if record.dollars is not None:
        yield DOLLARS, record.dollars


def _server(endpoint: str) -> Iterator[tuple[str, AttributeValue]]:
    """Of an endpoint's name, where that is a URL."""
    parts = urlsplit(endpoint)
    if parts.hostname:
        yield gen_ai.SERVER, parts.hostname
        if parts.port:
            yield gen_ai.PORT, parts.port


def _requests(_group: Group, totals: Totals) -> Iterator[tuple[float, dict[str, AttributeValue]]]:
    yield totals.requests, {}


def _attempts(group: Group, totals: Totals) -> Iterator[tuple[float, dict[str, AttributeValue]]]:
    if group.status == "miss":
        yield totals.attempts, {}


def _tokens(_group: Group, totals: Totals) -> Iterator[tuple[float, dict[str, AttributeValue]]]:
    yield totals.prompt_tokens, {gen_ai.TOKEN_TYPE: "input"}
    yield totals.completion_tokens, {gen_ai.TOKEN_TYPE: "output"}


def _dollars(_group: Group, totals: Totals) -> Iterator[tuple[float, dict[str, AttributeValue]]]:
    yield totals.dollars, {}
