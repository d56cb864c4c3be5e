"""OpenTelemetry for a command that has no providers of its own: by OTLP over HTTP, as OTEL_… variables say."""

from typing import Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from metaspo.scheduling.open_telemetry import SCOPE, OpenTelemetry

SERVICE: Final = Resource.create({SERVICE_NAME: SCOPE})


class Exported:
    """Providers with their exporters, and the observer that feeds them."""

    def __init__(self, *, spans: float) -> None:
        self._tracing = TracerProvider(resource=SERVICE)
        self._tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._metering = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())], resource=SERVICE)
        self.on_call = OpenTelemetry(spans=spans, tracer_provider=self._tracing, meter_provider=self._metering)

    def close(self) -> None:
        """Send what is left; blocks."""
        self._tracing.shutdown()
        self._metering.shutdown()
