"""Makes a model's Markdown safe to show.

Streamlit shows raw HTML as text, opens links in a new tab without a referrer, and drops script
links. What is left is images: one that the model names would be fetched from the reader's browser
at once, and its address can carry away what was said. They become links, which wait for a click;
the server's content security policy (`server.py`) stops whatever slips through.
"""

import re

_CODE = re.compile(
    r"(?:^|(?<=\n)) {0,3}(?P<fence>`{3,}|~{3,})[\s\S]*?(?:\n[ \t]*(?P=fence)|$)"
    r"|(?<!`)(?P<ticks>`+)(?!`)[^\n]+?(?<!`)(?P=ticks)(?!`)"
)
# The invisible space keeps a further `!` before it from making an image of the link.
_LINK = "\u200b[🖼 "


def untrusted(text: str) -> str:
    """The same Markdown with images as links. Code stays as it is."""
    parts: list[str] = []
    end = 0
    for code in _CODE.finditer(text):
        parts += (text[end : code.start()].replace("![", _LINK), code.group())
        end = code.end()
    parts.append(text[end:].replace("![", _LINK))
    return "".join(parts)


def plain(name: str) -> str:
    """A name that comes from elsewhere, with nothing in it that acts as Markdown."""
    return "".join(f"\\{sign}" if sign in "\\`*_[]()<>#$:!|~" else sign for sign in name)
