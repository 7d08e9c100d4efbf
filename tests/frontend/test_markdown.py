"""frontend/markdown.py: what a model writes cannot make the browser fetch anything."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from frontend.markdown import plain, untrusted


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("![cat](http://e/c.png)", "\u200b[🖼 cat](http://e/c.png)"),
        ("![](http://e/c.png)", "\u200b[🖼 ](http://e/c.png)"),
        ("![cat][1]\n\n[1]: http://e/c.png", "\u200b[🖼 cat][1]\n\n[1]: http://e/c.png"),
        ("!![cat](http://e/c.png)", "!\u200b[🖼 cat](http://e/c.png)"),
        ("a [link](http://e) stays", "a [link](http://e) stays"),
        ("wow! [link](http://e)", "wow! [link](http://e)"),
    ],
)
def test_images_become_links(written, shown):
    assert untrusted(written) == shown


@pytest.mark.parametrize(
    "code",
    [
        "```md\n![cat](http://e/c.png)\n```",
        "~~~\n![cat](c.png)\n~~~",
        "`![cat](c.png)`",
        "``a ` ![cat](c.png)``",
        "```md\n![cat](http://e/c.png)",
    ],
)
def test_code_stays_as_it_is(code):
    assert untrusted(code) == code


def test_an_image_after_code_becomes_a_link():
    assert untrusted("`a` ![x](y) `b` ![x](y)") == "`a` \u200b[🖼 x](y) `b` \u200b[🖼 x](y)"


@pytest.mark.parametrize(
    "written",
    [
        "\\` ![x](u) `",
        "\\``a` ![x](u) `b`",
        "```a`b\n![x](u)",
        "``` ` ```\n![x](u)",
        "```\na\n```b\n```\n![x](u)",
        "`a\n` ![x](u) `",
    ],
)
def test_ticks_that_begin_no_code_let_no_image_through(written):
    assert "![" not in untrusted(written)


@given(st.text(alphabet="![]()ab\n \\"))
def test_no_image_is_left_where_there_is_no_code(text):
    assert "![" not in untrusted(text)


@given(st.lists(st.sampled_from(["![x](u)", "`", "``", "```", "\\", " ", "a"])).map("".join))
def test_no_image_is_left_outside_code(line):
    shown = MarkdownIt("commonmark").parse(untrusted(line))
    assert not any(part.type == "image" for block in shown for part in block.children or ())


@given(st.text())
def test_a_plain_name_shows_every_sign_of_itself(name):
    assert re.sub(r"\\(.)", r"\1", plain(name), flags=re.DOTALL) == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("- a", "\\- a"),
        ("+ a", "\\+ a"),
        ("12. a", "12\\. a"),
        ("&amp;", "\\&amp;"),
        ("a-b 1.5", "a-b 1.5"),
    ],
)
def test_a_plain_name_begins_no_list_and_names_no_sign(name, shown):
    assert plain(name) == shown
