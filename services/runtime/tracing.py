"""OpenTelemetry: one trace through every hop, exported where an OTLP address is configured."""

import os

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def configure(service: str) -> None:
    """Gives every call of this process a span.

    Spans are exported when `OTEL_EXPORTER_OTLP_ENDPOINT` is set; without it they still carry the
    trace id from hop to hop and into the logs. The other `OTEL_*` variables hold as documented
    by OpenTelemetry.
    """
    provider = TracerProvider(resource=Resource.create({"service.name": f"damso-{service}"}))
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        # Its import takes as long as that of a small service: only where it is used.
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
