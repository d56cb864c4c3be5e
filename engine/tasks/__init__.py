"""Tasks: data, answer formats, metrics."""
