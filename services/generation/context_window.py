"""How long a context a CPU should serve."""

from transformers import AutoConfig

_FULL_WINDOWS = 16
"""Completions of the longest kind that the KV cache shall hold at once."""
_SHORTEST = 256
_NUMBER_BYTES = 2


def fitting_window(model: str, kv_cache_bytes: int) -> int:
    """The longest power of two of which the KV cache holds 16 at once, or the model's if less.

    So many people's chats then fit side by side without one pushing out another. And since a CPU
    reads prompts in one piece, at some hundred tokens a second, it keeps short how long the
    longest prompt holds up everybody else.

    Args:
        model: Checkpoint directory or hub id.
        kv_cache_bytes: Size of the KV cache.

    Returns:
        Tokens.
    """
    config = AutoConfig.from_pretrained(model).get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    token_bytes = 2 * config.num_hidden_layers * heads * width * _NUMBER_BYTES  # keys and values
    tokens = max(_SHORTEST, kv_cache_bytes // (_FULL_WINDOWS * token_bytes))
    return int(min(config.max_position_embeddings, 1 << tokens.bit_length() - 1))
