"""Small tokenizers of each kind that models have, trained in process in milliseconds.

byte_level      GPT-2, Llama 3, Qwen: tokens are bytes
wordpiece       BERT: lower-cases, drops accents, `[UNK]`
sentencepiece   Llama 2, Gemma: spaces are `▁`, bytes where a character is not known
metaspace       T5, XLM-R: normalises (NFKC), spaces are `▁`, `<unk>`
"""

import json
from collections.abc import Callable
from pathlib import Path

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from services.tokenizer.loading import LoadedTokenizer

CORPUS = [
    "The quick brown fox jumps over the lazy dog.",
    "It's a small world, isn't it? We don't know!",
    "안녕하세요, 담소입니다. 무엇을 도와드릴까요?",
    "대한민국의 수도는 서울입니다.",
    "こんにちは世界 你好，世界",
    "family 👩‍👩‍👧‍👦 flag 🇰🇷 café naïve",
    "def add(a, b):\n    return a + b\n",
]

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML."""

_CHAT_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_NAMED = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>"}


def byte_level(with_bos: bool = False) -> Tokenizer:
    """BPE over bytes: any text comes back as it was."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=_CHAT_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if with_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|im_start|> $A <|im_end|>",
            special_tokens=[(token, tokenizer.token_to_id(token)) for token in _CHAT_TOKENS[1:]],
        )
    return tokenizer


def wordpiece() -> Tokenizer:
    """Lower-cased words and their pieces, between `[CLS]` and `[SEP]`."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def sentencepiece() -> Tokenizer:
    """BPE over characters with `▁` for a space, and byte tokens for characters it does not have."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    bytes_ = [AddedToken(f"<0x{byte:02X}>", special=False) for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=450, special_tokens=["<unk>", "<s>", "</s>", *bytes_], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS[:4], trainer)
    return _without_added_bytes(tokenizer)


def metaspace() -> Tokenizer:
    """Unigram over normalised text."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300,
        special_tokens=["<unk>", "<s>", "</s>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte_level": byte_level,
    "wordpiece": wordpiece,
    "sentencepiece": sentencepiece,
    "metaspace": metaspace,
}


def loaded(tokenizer: Tokenizer, template: str = TEMPLATE) -> LoadedTokenizer:
    """A tokenizer as the service loads it."""
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    named = {name: token for name, token in _NAMED.items() if token in known}
    return LoadedTokenizer(tokenizer, named, {"default": template} if template else {})


def save(found: LoadedTokenizer, directory: Path, **config: object) -> Path:
    """Writes the files that a model's directory has.

    Args:
        found: The tokenizer.
        directory: Where; made if it is missing.
        config: Further entries of `tokenizer_config.json`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    found.backend.save(str(directory / "tokenizer.json"))
    entries = {"tokenizer_class": "TokenizersBackend", **found.special_tokens, **config}
    (directory / "tokenizer_config.json").write_text(json.dumps(entries))
    (directory / "config.json").write_text(json.dumps({"model_type": "llama"}))
    if "default" in found.chat_templates:
        (directory / "chat_template.jinja").write_text(found.chat_templates["default"])
    return directory


def _without_added_bytes(tokenizer: Tokenizer) -> Tokenizer:
    """Byte tokens as models have them: in the vocabulary, and not found as words in a text."""
    written = json.loads(tokenizer.to_str())
    written["added_tokens"] = [
        token for token in written["added_tokens"] if not token["content"].startswith("<0x")
    ]
    return Tokenizer.from_str(json.dumps(written))
