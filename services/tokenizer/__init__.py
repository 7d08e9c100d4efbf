"""Text to token ids and back, and messages to prompts, exactly as the served models see them.

    loading ──► tokenizer ◄── token_bytes, decode_stream
       │            ▲
    transformers_export (a process of its own)
                    │
    chat_template ◄─┴─ prompts (within a token budget)

`registry` holds one `Model` per served name; `servicer` is the wire.
"""
