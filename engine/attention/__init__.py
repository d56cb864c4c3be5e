"""How much attention a model gives to the system prompt while it answers. The model needs the extra `attention`."""

from metaspo.engine.attention.measure import Attender as Attender
from metaspo.engine.attention.measure import AttentionReport as AttentionReport
from metaspo.engine.attention.measure import Shares as Shares
from metaspo.engine.attention.measure import measure_attention as measure_attention
