"""Makes a model's Markdown safe to show.

Streamlit shows raw HTML as text, opens links in a new tab without a referrer, and drops script
links. What is left is images: one that the model names would be fetched from the reader's browser
at once, and its address can carry away what was said. They become links, which wait for a click;
the server's content security policy (`server.py`) stops whatever slips through.
"""

import re

# What is read from left to right: a sign that is escaped and a run of ticks that nothing closes
# are read too, for neither begins code.
_READ = re.compile(
    r"\\[\\`]"
    r"|(?P<code>"
    r"^ {0,3}(?P<fence>`{3,}+(?=[^`\n]*$)|~{3,}+)[\s\S]*?"
    r"(?:\n {0,3}(?P=fence)[`~]*[ \t]*$|\Z)"
    # Within a paragraph: no line is blank, or begins as a block does.
    r"|(?P<ticks>`++)"
    r"(?:(?!\n[ \t]*(?:$|[#>=|<]|[*+-](?:[ \t*_-]|$)|`{3,}+[^`\n]*$|~{3}|\d+[.)]))[\s\S])+?"
    r"(?<!`)(?P=ticks)(?!`)"
    r")"
    r"|`+",
    re.MULTILINE,
)
# The invisible space keeps a further `!` before it from making an image of the link.
_LINK = "\u200b[🖼 "
_LIST = re.compile(r"^(\s*\d*)([-+.])", re.MULTILINE)
"""What makes a list, or a line, of what begins with it."""


def untrusted(text: str) -> str:
    """The same Markdown with images as links. Code stays as it is."""
    parts: list[str] = []
    end = 0
    for read in _READ.finditer(text):
        if read["code"]:
            parts += (text[end : read.start()].replace("![", _LINK), read["code"])
            end = read.end()
    parts.append(text[end:].replace("![", _LINK))
    return "".join(parts)


def plain(name: str) -> str:
    """A name that comes from elsewhere, with nothing in it that acts as Markdown."""
    escaped = "".join(f"\\{sign}" if sign in "\\`*_[]()<>#$:!|~&" else sign for sign in name)
    return _LIST.sub(r"\1\\\2", escaped)
