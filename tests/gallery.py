"""Servers as their makers describe them: what each answers with, in its own form of OpenAI's.

Each function is one dialect and names where it was read. Bodies are cut down to what a client may look at.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Body = Any
THOUGHT = "Let me see. Two is even, so one is not."


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A response: status, body, headers."""

    status: int
    body: Body
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One server's ways.

    Attributes:
        path: where a chat call goes.
        success, reasoning: the body of an answer with a text, without thinking before it and with it. It says that the
            prompt took 40 tokens and the answer 60, or 10 and 50 of thinking before it.
        refusal: the model or the provider would not answer.
        too_long: the prompt does not fit.
        rate_limit, quota, overload: too fast, no credit left, too much to do; None where there is no such thing.
    """

    name: str
    path: str
    success: Callable[[str], Body]
    reasoning: Callable[[str], Body]
    refusal: Said
    too_long: Said
    rate_limit: Said | None = None
    quota: Said | None = None
    overload: Said | None = None


def answer(
    text: object, finish_reason: str | None = "stop", *, usage: object = None, choice: object = None, **message: object
) -> dict[str, Any]:
    """A whole answer in the form that all of them share."""
    usage = {"prompt_tokens": 40, "completion_tokens": 60, "total_tokens": 100} if usage is None else usage
    spoken = {"role": "assistant", "content": text, **message}
    first = {
        "index": 0,
        "message": spoken,
        "finish_reason": finish_reason,
        **(choice if isinstance(choice, dict) else {}),
    }
    return {"id": "c-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [first], "usage": usage}


def fault(message: str, **more: object) -> dict[str, Any]:
    """OpenAI's form of an error."""
    return {"error": {"message": message, "param": None, **more}}


def openai() -> Dialect:
    """https://platform.openai.com/docs/api-reference/chat/object and /docs/guides/error-codes."""
    usage = {
        "prompt_tokens": 40,
        "completion_tokens": 60,
        "total_tokens": 100,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 50, "rejected_prediction_tokens": 0},
    }
    return Dialect(
        name="OpenAI",
        path="/v1/chat/completions",
        success=lambda text: answer(text, refusal=None, annotations=[]),
        reasoning=lambda text: answer(text, refusal=None, usage=usage),
        refusal=Said(status=200, body=answer(None, refusal="I cannot help with that.")),
        too_long=Said(
            status=400,
            body=fault(
                "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
                type="invalid_request_error",
                code="context_length_exceeded",
            ),
        ),
        rate_limit=Said(
            status=429,
            body=fault("Rate limit reached for m.", type="requests", code="rate_limit_exceeded"),
            headers={"retry-after-ms": "820", "x-ratelimit-remaining-requests": "0"},
        ),
        quota=Said(
            status=429,
            body=fault("You exceeded your current quota.", type="insufficient_quota", code="insufficient_quota"),
        ),
        overload=Said(status=503, body=fault("The engine is currently overloaded.", type="server_error")),
    )


def azure() -> Dialect:
    """https://learn.microsoft.com/azure/ai-services/openai/reference and …/concepts/content-filter."""
    filtered = {"hate": {"filtered": True, "severity": "high"}}
    return Dialect(
        name="Azure OpenAI",
        path="/openai/deployments/NAME/chat/completions",
        success=lambda text: answer(text, choice={"content_filter_results": {}}),
        reasoning=openai().reasoning,
        refusal=Said(
            status=400,
            body=fault(
                "The response was filtered due to the prompt triggering the content management policy.",
                type=None,
                code="content_filter",
                status=400,
                innererror={"code": "ResponsibleAIPolicyViolation", "content_filter_result": filtered},
            ),
        ),
        too_long=openai().too_long,
        rate_limit=Said(
            status=429,
            body=fault("Requests to the deployment have exceeded the call rate limit.", code="429"),
            headers={"retry-after": "1", "retry-after-ms": "900"},
        ),
        quota=None,  # a deployment's quota is a rate; credit is Azure's subscription's
        overload=Said(status=503, body=fault("The service is temporarily unable to process your request.", code="503")),
    )


def gemini() -> Dialect:
    """https://ai.google.dev/gemini-api/docs/openai and …/docs/troubleshooting; errors come as a list."""
    usage = {"prompt_tokens": 40, "total_tokens": 100}  # the completion is left out where all of it was thinking

    def told(status: int, name: str, message: str, **details: object) -> Said:
        error = {"code": status, "message": message, "status": name, "details": [details]}
        return Said(status=status, body=[{"error": error}])

    return Dialect(
        name="Gemini",
        path="/v1beta/openai/chat/completions",
        success=lambda text: answer(text),
        reasoning=lambda text: answer(text, usage=usage),
        refusal=Said(
            status=200,
            body={**answer(None), "choices": [{"index": 0, "finish_reason": "content_filter: PROHIBITED_CONTENT"}]},
        ),
        too_long=told(
            400, "INVALID_ARGUMENT", "The input token count (9000) exceeds the maximum number of tokens allowed."
        ),
        rate_limit=told(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", retryDelay="34s"),
        quota=None,  # told as the rate limit is
        overload=told(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    )


def anthropic() -> Dialect:
    """https://platform.claude.com/docs/en/api/openai-sdk and …/docs/en/api/errors."""

    def told(status: int, kind: str, message: str, **headers: str) -> Said:
        body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}
        return Said(status=status, body=body, headers=headers)

    return Dialect(
        name="Anthropic",
        path="/v1/chat/completions",
        success=lambda text: answer(text),
        reasoning=lambda text: answer(text),  # thought about, but not shown
        refusal=Said(status=200, body=answer("", "refusal")),
        too_long=told(400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
        rate_limit=told(429, "rate_limit_error", "This request would exceed your rate limit.", **{"retry-after": "2"}),
        quota=told(400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
        overload=told(529, "overloaded_error", "Overloaded"),
    )


def xai() -> Dialect:
    """https://docs.x.ai/developers/debugging and …/rest-api-reference; reasoning is in the total alone."""
    usage = {
        "prompt_tokens": 40,
        "completion_tokens": 10,
        "total_tokens": 100,
        "completion_tokens_details": {"reasoning_tokens": 50},
    }
    return Dialect(
        name="xAI",
        path="/v1/chat/completions",
        success=lambda text: answer(text, refusal=None),
        reasoning=lambda text: answer(text, reasoning_content=THOUGHT, usage=usage),
        refusal=Said(status=200, body=answer("", "content_filter")),
        too_long=Said(
            status=400,
            body={
                "code": "Client specified an invalid argument",
                "error": "This model's maximum prompt length is 131072 but the request contains 140000 tokens.",
            },
        ),
        rate_limit=Said(status=429, body={"code": "Some resource has been exhausted", "error": "Too many requests."}),
        quota=Said(
            status=403,
            body={
                "code": "The caller does not have permission to execute the specified operation",
                "error": "Your team has either used all available credits or reached its monthly spending limit.",
            },
        ),
        overload=Said(status=503, body={"code": "The service is currently unavailable", "error": "At capacity."}),
    )


def deepseek() -> Dialect:
    """https://api-docs.deepseek.com/quick_start/error_codes and …/api/create-chat-completion."""
    usage = {
        "prompt_tokens": 40,
        "completion_tokens": 60,
        "total_tokens": 100,
        "prompt_cache_hit_tokens": 0,
        "prompt_cache_miss_tokens": 40,
        "completion_tokens_details": {"reasoning_tokens": 50},
    }
    return Dialect(
        name="DeepSeek",
        path="/chat/completions",
        success=lambda text: answer(text),
        reasoning=lambda text: answer(text, reasoning_content=THOUGHT, usage=usage),
        refusal=Said(status=200, body=answer("", "content_filter")),
        too_long=Said(
            status=400,
            body=fault("This model's maximum context length is 131072 tokens.", type="invalid_request_error"),
        ),
        rate_limit=Said(status=429, body=fault("Rate limit reached.", type="rate_limit_error")),
        quota=Said(status=402, body=fault("Insufficient Balance", type="unknown_error", code="invalid_request_error")),
        overload=Said(status=503, body=fault("Service is too busy.", type="service_unavailable_error")),
    )


def mistral() -> Dialect:
    """https://docs.mistral.ai/resources/error-glossary and …/capabilities/reasoning; thinking comes as a part."""

    def told(status: int, kind: str, message: object, code: str) -> Said:
        return Said(
            status=status, body={"object": "error", "message": message, "type": kind, "param": None, "code": code}
        )

    return Dialect(
        name="Mistral",
        path="/v1/chat/completions",
        success=lambda text: answer(text, tool_calls=None),
        reasoning=lambda text: answer(
            [
                {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]},
                {"type": "text", "text": text},
            ]
        ),
        refusal=told(403, "content_moderation", "The input was flagged by moderation.", "3051"),
        too_long=told(400, "invalid_request_error", "Prompt contains 40000 tokens, too large for model.", "3051"),
        rate_limit=told(429, "rate_limit_error", "Rate limit exceeded", "1300"),
        quota=told(402, "invalid_request_error", "Payment required", "1301"),
        overload=told(503, "server_error", "Service unavailable.", "3505"),
    )


def openrouter() -> Dialect:
    """https://openrouter.ai/docs/api/reference/errors-and-debugging and …/use-cases/reasoning-tokens."""

    def told(code: int, message: str, status: int | None = None, **metadata: object) -> Said:
        return Said(
            status=status or code,
            body={"error": {"code": code, "message": message, "metadata": metadata}, "user_id": "u"},
        )

    details = [{"type": "reasoning.text", "text": THOUGHT, "format": "unknown", "index": 0}]
    return Dialect(
        name="OpenRouter",
        path="/api/v1/chat/completions",
        success=lambda text: answer(text, choice={"native_finish_reason": "STOP"}, reasoning=None),
        reasoning=lambda text: answer(text, reasoning=THOUGHT, reasoning_details=details),
        refusal=told(403, "Your chosen model requires moderation and your input was flagged", reasons=["violence"]),
        too_long=told(400, "This endpoint's maximum context length is 8192 tokens."),
        rate_limit=told(
            429, "Provider returned error", raw="m is temporarily rate-limited upstream", provider_name="p"
        ),
        quota=told(402, "This request requires more credits, or fewer max_tokens. You can only afford 20."),
        overload=told(503, "There is no available model provider that meets your routing requirements", 200),
    )


def vllm() -> Dialect:
    """https://docs.vllm.ai/en/latest/features/reasoning_outputs/ and its chat protocol; it knows no limits."""
    return Dialect(
        name="vLLM",
        path="/v1/chat/completions",
        success=lambda text: answer(
            text, choice={"stop_reason": None, "logprobs": None}, reasoning=None, tool_calls=[]
        ),
        reasoning=lambda text: answer(f"\n\n{text}", reasoning=THOUGHT, reasoning_content=THOUGHT),
        refusal=Said(status=200, body=answer("", "content_filter")),
        too_long=Said(
            status=400,
            body=fault(
                "This model's maximum context length is 2048 tokens. However, you requested 4000 tokens.",
                type="BadRequestError",
                code=400,
            ),
        ),
        overload=Said(status=503, body=b""),
    )


def sglang() -> Dialect:
    """https://docs.sglang.io/docs/advanced_features/separate_reasoning; without a parser R1 opens no tag."""
    return Dialect(
        name="SGLang",
        path="/v1/chat/completions",
        success=lambda text: answer(text, choice={"matched_stop": 2}, reasoning_content=None, tool_calls=None),
        reasoning=lambda text: answer(f"{THOUGHT}\n</think>\n\n{text}"),
        refusal=Said(status=200, body=answer("", "content_filter")),
        too_long=Said(
            status=400,
            body={
                "object": "error",
                "message": "The input (9000 tokens) is longer than the model's context length (8192 tokens).",
                "type": "BadRequestError",
                "param": None,
                "code": 400,
            },
        ),
        overload=Said(
            status=503,
            body={
                "object": "error",
                "message": "The request queue is full.",
                "type": "SERVICE_UNAVAILABLE",
                "code": 503,
            },
        ),
    )


def llama_cpp() -> Dialect:
    """https://github.com/ggml-org/llama.cpp/tree/master/tools/server, its README and `format_error_response`."""
    return Dialect(
        name="llama.cpp",
        path="/v1/chat/completions",
        success=lambda text: {**answer(text), "timings": {"predicted_ms": 1.5}, "system_fingerprint": "b1-x"},
        reasoning=lambda text: answer(text, reasoning_content=THOUGHT),
        refusal=Said(status=200, body=answer("", "content_filter")),
        too_long=Said(
            status=400,
            body=fault(
                "the request exceeds the available context size, try increasing it",
                code=400,
                type="exceed_context_size_error",
                n_prompt_tokens=9000,
                n_ctx=4096,
            ),
        ),
        overload=Said(status=503, body=fault("Loading model", code=503, type="unavailable_error")),
    )


def koboldcpp() -> Dialect:
    """https://github.com/LostRuins/koboldcpp, issue 2481 and its wiki: gives no reason to stop, counts little."""
    return Dialect(
        name="koboldcpp",
        path="/v1/chat/completions",
        success=lambda text: answer(text, None),
        reasoning=lambda text: answer(f"<think>\n{THOUGHT}\n</think>\n\n{text}", None),
        refusal=Said(status=200, body=answer("", "content_filter")),
        too_long=Said(status=500, body={"detail": {"msg": "Prompt exceeds the context size.", "type": "bad_input"}}),
        overload=Said(
            status=503,
            body={"detail": {"msg": "Server is busy; please try again later.", "type": "service_unavailable"}},
        ),
    )


def ollama() -> Dialect:
    """https://docs.ollama.com/api/openai-compatibility and https://docs.ollama.com/api/errors."""
    return Dialect(
        name="Ollama",
        path="/v1/chat/completions",
        success=lambda text: {**answer(text), "system_fingerprint": "fp_ollama"},
        reasoning=lambda text: answer(text, reasoning=THOUGHT),
        refusal=Said(status=200, body=answer("", "content_filter")),
        too_long=Said(
            status=400,
            body=fault("the input length exceeds the context length", type="invalid_request_error", code=None),
        ),
        overload=Said(
            status=503,
            body=fault("server busy, please try again. maximum pending requests exceeded", type="api_error", code=None),
        ),
    )


def lm_studio() -> Dialect:
    """https://lmstudio.ai/docs/developer/openai-compat and its bug tracker: a failure may come with status 200."""
    return Dialect(
        name="LM Studio",
        path="/v1/chat/completions",
        success=lambda text: answer(text, choice={"logprobs": None}, reasoning_content=""),
        reasoning=lambda text: answer(text, reasoning_content=THOUGHT),
        refusal=Said(status=200, body=answer("", "content_filter")),
        too_long=Said(
            status=200,
            body={"error": "The number of tokens to keep from the initial prompt is greater than the context length."},
        ),
        overload=Said(status=503, body={"error": "Model is loading."}),
    )


def tgi() -> Dialect:
    """https://huggingface.co/docs/text-generation-inference/messages_api and its API reference."""
    return Dialect(
        name="TGI",
        path="/v1/chat/completions",
        success=lambda text: answer(text, "eos_token"),
        reasoning=lambda text: answer(f"<think>{THOUGHT}</think>{text}", "stop_sequence"),
        refusal=Said(status=200, body=answer("", "content_filter")),
        too_long=Said(
            status=422,
            body={
                "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096.",
                "error_type": "validation",
            },
        ),
        overload=Said(status=429, body={"error": "Model is overloaded", "error_type": "overloaded"}),
    )


GALLERY = [
    openai(),
    azure(),
    gemini(),
    anthropic(),
    xai(),
    deepseek(),
    mistral(),
    openrouter(),
    vllm(),
    sglang(),
    llama_cpp(),
    koboldcpp(),
    ollama(),
    lm_studio(),
    tgi(),
]
