"""services/tokenizer/loading.py: what is read directly is what transformers makes of it."""

import json

import pytest

from services.tokenizer import loading
from services.tokenizer.loading import TokenizerNotLoadable
from services.tokenizer.tokenizer import Tokenizer
from tests.tokenizer import throwaway
from tests.tokenizer.texts import HARD_TEXTS


def exported_by_transformers(source) -> loading.LoadedTokenizer:
    return loading._load_by_transformers(str(source))


def assert_same(one: loading.LoadedTokenizer, other: loading.LoadedTokenizer) -> None:
    assert one.special_tokens == other.special_tokens
    assert one.chat_templates == other.chat_templates
    ours, theirs = Tokenizer(one.backend, {}), Tokenizer(other.backend, {})
    assert ours.vocabulary_size == theirs.vocabulary_size
    for add in (True, False):
        assert ours.encode(HARD_TEXTS, add) == theirs.encode(HARD_TEXTS, add)
    ids = ours.encode(HARD_TEXTS, True)
    assert ours.decode(ids, False) == theirs.decode(ids, False)
    assert ours.decode(ids, True) == theirs.decode(ids, True)


def test_the_default_model_is_read_directly_as_transformers_reads_it(default_model_dir):
    direct = loading._load_plain(default_model_dir)
    assert direct is not None
    assert_same(direct, exported_by_transformers(default_model_dir))


def test_a_saved_tokenizer_is_read_directly_as_transformers_reads_it(tmp_path):
    saved = throwaway.save(throwaway.loaded(throwaway.byte_level(with_bos=True)), tmp_path)
    direct = loading._load_plain(saved)
    assert direct is not None
    assert direct.chat_templates == {"default": throwaway.TEMPLATE}
    assert_same(direct, exported_by_transformers(saved))


def test_files_that_transformers_mends_are_left_to_it(tmp_path):
    found = throwaway.loaded(throwaway.byte_level())
    saved = throwaway.save(found, tmp_path, tokenizer_class="LlamaTokenizer")
    assert loading._load_plain(saved) is None
    saved = throwaway.save(found, tmp_path, extra_special_tokens=["<image>"])
    assert loading._load_plain(saved) is None
    mended = loading.load(str(saved))
    assert "<image>" in mended.backend.encode("fox <image>").tokens
    assert "<image>" not in found.backend.encode("fox <image>").tokens


def test_special_tokens_that_the_file_lacks_are_left_to_transformers(tmp_path):
    saved = throwaway.save(
        throwaway.loaded(throwaway.byte_level()), tmp_path, pad_token="<pad>", bos_token="<bos>"
    )
    assert loading._load_plain(saved) is None
    assert loading.load(str(saved)).backend.token_to_id("<pad>") is not None


def test_templates_of_several_files_are_read(tmp_path):
    saved = throwaway.save(throwaway.loaded(throwaway.byte_level()), tmp_path)
    (saved / "additional_chat_templates").mkdir()
    (saved / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    templates = loading.load(str(saved)).chat_templates
    assert templates == {"default": throwaway.TEMPLATE, "tool_use": "tools"}


def test_truncation_and_padding_of_the_file_do_not_hold(tmp_path):
    backend = throwaway.byte_level()
    backend.enable_truncation(2)
    backend.enable_padding(length=9)
    found = loading.load(str(throwaway.save(throwaway.loaded(backend), tmp_path)))
    assert len(found.backend.encode("the quick fox")) > 2
    assert len(found.backend.encode("a")) == 1


@pytest.mark.parametrize("content", [None, "{}", "not json"])
def test_what_is_no_tokenizer_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "tokenizer_config.json").write_text(content)
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(TokenizerNotLoadable, match=str(tmp_path)):
        loading.load(str(tmp_path))


def test_the_service_itself_never_imports_transformers_or_torch():
    import subprocess
    import sys

    code = (
        "import sys, services.tokenizer.server\n"
        "print(sorted({'transformers', 'torch', 'numpy'} & sys.modules.keys()))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert output.strip() == b"[]"
