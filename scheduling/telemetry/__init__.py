"""What is told of calls and lanes to people and to OpenTelemetry."""
