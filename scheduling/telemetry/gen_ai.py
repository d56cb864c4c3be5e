"""The names of OpenTelemetry's conventions for generative AI, as of their release 0.1: all are still in development."""

from typing import Final

CHAT: Final = "chat"
OPERATIONS: Final = {
    "": CHAT,
    "completions": "text_completion",
    "embeddings": "embeddings",
    "responses": "generate_content",
}
OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
MODEL: Final = "gen_ai.request.model"
MAX_TOKENS: Final = "gen_ai.request.max_tokens"
TEMPERATURE: Final = "gen_ai.request.temperature"
TOP_P: Final = "gen_ai.request.top_p"
STOP: Final = "gen_ai.request.stop_sequences"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 - of "input" or "output"
ERROR: Final = "error.type"
SERVER: Final = "server.address"
PORT: Final = "server.port"
