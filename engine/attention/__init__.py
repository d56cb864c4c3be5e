"""How much attention a model gives to the system prompt while it answers. The model needs the extra `attention`."""

from metaspo.engine.attention.measure import (
    AttentionReport,
    Shares,
    measure_attention,
)

__all__ = ["AttentionReport", "Shares", "measure_attention"]
