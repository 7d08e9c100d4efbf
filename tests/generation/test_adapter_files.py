import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from services.generation.adapter_files import AdapterFiles, AdapterInvalid
from services.generation.linear_layers import linear_layers
from services.runtime.errors import InvalidArgument
from tests.generation.lora_files import write_adapter
from tests.generation.process import MODEL_DIRECTORY


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL_DIRECTORY)


@pytest.fixture
def root(tmp_path):
    directory = tmp_path / "root"
    directory.mkdir()
    return directory


@pytest.fixture
def files(root, tokenizer):
    return AdapterFiles(
        root,
        linear_layers(str(MODEL_DIRECTORY)),
        32,
        tokenizer.backend_tokenizer.to_str(),
        tokenizer.chat_template,
    )


@pytest.fixture
def adapter(root):
    return write_adapter(root / "good", seed=1)


def refusal(files, tmp_path, path="good"):
    with pytest.raises(AdapterInvalid) as caught:
        files.take(path, tmp_path / "copy")
    assert caught.value.field == "path"
    return caught.value.message


def test_a_scale_larger_than_any_number_is_refused(files, adapter, tmp_path):
    change_config(adapter, lora_alpha=10**400)
    assert "lora_alpha" in refusal(files, tmp_path)


def change_config(adapter, **changes):
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def change_tensors(adapter, change):
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def test_a_good_adapter_is_copied_and_its_rank_known(files, adapter, tmp_path):
    assert files.take("good", tmp_path / "copy") == 4
    shutil.rmtree(adapter)
    assert files.check(tmp_path / "copy") == 4


@pytest.mark.parametrize("path", ["", ".", "..", "../root", "/etc", "missing", "a\0b", "good/x"])
def test_a_path_that_leaves_the_root_or_is_no_directory_is_refused(files, adapter, tmp_path, path):
    with pytest.raises(InvalidArgument) as caught:
        files.take(path, tmp_path / "copy")
    assert caught.value.field == "path"


def test_a_link_out_of_the_root_is_refused(files, root, tmp_path):
    outside = write_adapter(tmp_path / "outside", seed=1)
    (root / "link").symlink_to(outside)
    with pytest.raises(InvalidArgument):
        files.take("link", tmp_path / "copy")


def test_a_linked_file_is_refused(files, adapter, root, tmp_path):
    (adapter / "adapter_config.json").rename(tmp_path / "config")
    (adapter / "adapter_config.json").symlink_to(tmp_path / "config")
    assert "no plain file" in refusal(files, tmp_path)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_file_is_named(files, adapter, tmp_path, name):
    (adapter / name).unlink()
    assert name in refusal(files, tmp_path)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"peft_type": "IA3"}, "peft_type"),
        ({"r": 33}, "rank"),
        ({"r": 0}, "rank"),
        ({"r": True}, "rank"),
        ({"r": "4"}, "rank"),
        ({"r": 8}, "shape"),
        ({"lora_alpha": 0}, "lora_alpha"),
        ({"lora_alpha": "x"}, "lora_alpha"),
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "bias"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern"),
    ],
)
def test_a_configuration_that_cannot_be_served_is_refused(files, adapter, tmp_path, changes, named):
    change_config(adapter, **changes)
    assert named in refusal(files, tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{", "null", "[" * 100_000])
def test_a_damaged_configuration_is_refused(files, adapter, tmp_path, content):
    (adapter / "adapter_config.json").write_text(content)
    refusal(files, tmp_path)


def test_damaged_weights_are_refused(files, adapter, tmp_path):
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    assert "damaged" in refusal(files, tmp_path)


def test_weights_too_large_for_the_base_model_are_not_even_copied(files, adapter, tmp_path):
    with (adapter / "adapter_model.safetensors").open("r+b") as file:
        file.truncate(1 << 40)  # sparse
    assert "larger" in refusal(files, tmp_path)


def test_weights_for_another_base_model_are_refused(files, root, tmp_path):
    write_adapter(root / "good", seed=1, hidden=768)
    assert "shape" in refusal(files, tmp_path)


@pytest.mark.parametrize(
    "key",
    [
        "base_model.model.lm_head.lora_A.weight",
        "base_model.model.model.layers.30.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.embed_tokens.weight",
        "anything",
    ],
)
def test_a_tensor_of_no_adaptable_layer_is_refused(files, adapter, tmp_path, key):
    change_tensors(adapter, lambda tensors: tensors.update({key: torch.zeros(4, 576)}))
    assert "linear layer" in refusal(files, tmp_path)


def test_half_a_pair_is_refused(files, adapter, tmp_path):
    key = "base_model.model.model.layers.3.self_attn.q_proj.lora_B.weight"
    change_tensors(adapter, lambda tensors: tensors.pop(key))
    assert "lora_A and lora_B" in refusal(files, tmp_path)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(files, adapter, tmp_path, number):
    key = "base_model.model.model.layers.3.self_attn.q_proj.lora_B.weight"
    change_tensors(adapter, lambda tensors: tensors[key].fill_(number))
    assert "finite" in refusal(files, tmp_path)


def test_integer_weights_are_refused(files, adapter, tmp_path):
    key = "base_model.model.model.layers.3.self_attn.q_proj.lora_B.weight"
    change_tensors(adapter, lambda tensors: tensors.update({key: tensors[key].to(torch.int8)}))
    assert "type" in refusal(files, tmp_path)


def test_the_base_models_own_tokenizer_and_template_may_lie_beside_it(
    files, adapter, tmp_path, tokenizer
):
    tokenizer.save_pretrained(adapter)
    assert (adapter / "tokenizer.json").exists()
    assert (adapter / "chat_template.jinja").exists()
    assert files.take("good", tmp_path / "copy") == 4


def test_another_chat_template_is_refused(files, adapter, tmp_path):
    (adapter / "chat_template.jinja").write_text("{{ messages }}")
    assert "chat_template.jinja differs" in refusal(files, tmp_path)


def test_another_tokenizer_is_refused(files, adapter, tmp_path, tokenizer):
    tokenizer.save_pretrained(adapter)
    file = adapter / "tokenizer.json"
    rules = json.loads(file.read_text())
    rules["added_tokens"][5]["content"] = "<|other|>"
    file.write_text(json.dumps(rules))
    (adapter / "chat_template.jinja").unlink()
    assert "tokenizer.json" in refusal(files, tmp_path)
