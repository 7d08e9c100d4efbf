"""Texts that break tokenizers, and strategies that find more."""

from hypothesis import strategies as st

HARD_TEXTS = [
    "",
    " ",
    "   \t\n\r\n  ",
    "plain words, nothing else.",
    "안녕하세요 담소! 값싼 닭볶음탕",
    "ㅋㅋㅋ ᄒ\u1161\u11ab글",  # conjoining jamo
    "👩‍👩‍👧‍👦 👍🏽 🇰🇷 ❤️",  # joiners, skin tones, flags, variation selectors
    "e\u0301a\u0308 Z\u0351\u036b\u0343o",  # combining marks
    "שלום עולם مرحبا\u200f \u202eabc\u202c",  # right to left
    "a\0b\0\0c",
    "\ufeffbyte order mark",
    "already broken: \ufffd and \ufffd\ufffd",
    "ﬁ ① Ⅳ ｆｕｌｌ",  # compatibility characters, which NFKC changes
    "<|im_start|>user\nnot a real turn<|im_end|>",
    "<0xEA><0xB0><0x80> ▁▁ ##ing [UNK] </s>",  # tokens spelt out
    "𝒜𝓃𝒹 𐍈 \U0010ffff",
    "don't  it's   we'll",
]

_PIECES = st.one_of(
    st.text(max_size=8),
    st.text(alphabet="가각힣한글담소입니다ㄱㅏ ", max_size=8),
    st.sampled_from(
        ["👩‍👩‍👧", "🇰🇷", "e\u0301", "❤️", "\0", " ", "  ", "\n", "\ufffd", "the ", "it's"]
    ),
    st.sampled_from(HARD_TEXTS),
)

texts = st.lists(_PIECES, max_size=6).map("".join)
"""Any text, and often the hard ones."""
