"""Prometheus series of generation, beside vLLM's own `vllm:*`."""

from prometheus_client import Counter, Histogram

FIRST_TOKEN = Histogram(
    "damso_generation_time_to_first_token_seconds",
    "Time from a request's arrival to its first token.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
INTER_TOKEN = Histogram(
    "damso_generation_inter_token_latency_seconds",
    "Time between two messages with tokens of one request.",
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
TOKENS = Counter("damso_generation_tokens_total", "Tokens of finished requests.", ["kind"])
PROMPT_TOKENS = TOKENS.labels("prompt")
COMPLETION_TOKENS = TOKENS.labels("completion")
