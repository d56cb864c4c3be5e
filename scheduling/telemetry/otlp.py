"""OpenTelemetry for a command that has no providers of its own: by OTLP over HTTP, as OTEL_… variables say."""

from collections.abc import Callable, Sequence
from typing import Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from metaspo.scheduling.telemetry.open_telemetry import SCOPE, OpenTelemetry

SERVICE: Final = Resource.create({SERVICE_NAME: SCOPE})


class Exported:
    """Providers with their exporters, and the observer that feeds them."""

    def __init__(self, *, spans: float) -> None:
        """Raises `ValueError` where a variable says what cannot be."""
        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        self._tracing = TracerProvider(resource=SERVICE, shutdown_on_exit=False)
        self._tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._metering = MeterProvider([reader], resource=SERVICE, shutdown_on_exit=False)
        self.on_call = OpenTelemetry(spans=spans, tracer_provider=self._tracing, meter_provider=self._metering)

    @property
    def closings(self) -> Sequence[Callable[[], object]]:
        """What sends what is left; each of them blocks."""
        return (self._tracing.shutdown, self._metering.shutdown)
