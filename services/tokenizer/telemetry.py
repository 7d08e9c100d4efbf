"""The tokenizer's own Prometheus series."""

from prometheus_client import Counter

_TOKENS = Counter("damso_tokenizer_tokens_total", "Tokens processed.", ["kind"])

ENCODED = _TOKENS.labels("encoded")
"""Tokens of texts and prompts that were encoded or counted."""

DECODED = _TOKENS.labels("decoded")
"""Tokens that were decoded, streams included."""
