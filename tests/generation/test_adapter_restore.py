"""services/generation/adapters.py, adapter_index.py: what a restart does to served adapters."""

import asyncio

import pytest
from transformers import AutoTokenizer

from services.generation.adapter_files import AdapterFiles, AdapterInvalid
from services.generation.adapters import AdapterNotFound, Adapters
from services.generation.linear_layers import linear_layers
from tests.generation.lora_files import write_adapter
from tests.generation.process import MODEL_DIRECTORY


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MODEL_DIRECTORY)


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "kept"


@pytest.fixture
def begin(tmp_path, kept, tokenizer):
    """Adapters as a process that starts has them, with an engine that takes all, none, or waits."""

    async def begun(base_model="base", most=4, accepts=True, until=None):
        async def add(adapter):
            if until is not None:
                until.set()
                await asyncio.Event().wait()
            if not accepts:
                raise AdapterInvalid("the engine could not load the adapter")

        async def remove(adapter):
            pass

        files = AdapterFiles(
            tmp_path,
            linear_layers(str(MODEL_DIRECTORY)),
            32,
            tokenizer.backend_tokenizer.to_str(),
            tokenizer.chat_template,
        )
        adapters = Adapters(base_model, files, kept, most, add=add, remove=remove)
        await adapters.restore()
        return adapters

    return begun


@pytest.fixture
async def first(begin, tmp_path):
    """The first process, which has loaded `tale`."""
    write_adapter(tmp_path / "tale", 1)
    adapters = await begin()
    await adapters.load("tale", "tale")
    return adapters


def names(adapters):
    return [(adapter.name, adapter.version) for adapter in adapters.served()]


async def test_what_was_served_is_served_again(first, begin):
    assert names(await begin()) == [("tale", 1)]


@pytest.mark.parametrize("other", [{"base_model": "another"}, {"most": 0}, {"accepts": False}])
async def test_what_cannot_be_served_now_is_served_by_a_later_process(first, begin, other):
    assert names(await begin(**other)) == []
    assert names(await begin()) == [("tale", 1)]


async def test_a_load_beside_what_cannot_be_served_keeps_it(first, begin, tmp_path):
    write_adapter(tmp_path / "poem", 2)
    another = await begin(base_model="another")
    await another.load("poem", "poem")
    assert names(another) == [("poem", 1)]
    assert names(await begin()) == [("tale", 1)]


async def test_what_cannot_be_served_is_replaced_or_given_up_by_its_name(first, begin, kept):
    again = await begin(most=1, base_model="another")
    await again.unload("tale")
    assert not (kept / "tale@1").exists()
    with pytest.raises(AdapterNotFound):
        await again.unload("tale")
    await again.load("tale", "tale")
    assert names(again) == [("tale", 2)]


@pytest.mark.parametrize("index", ["", "{", "[]", '{"versions": {}, "served": {"tale": 1}}'])
async def test_a_damaged_index_is_put_aside_with_the_files_that_it_named(first, begin, kept, index):
    (kept / "index.json").write_text(index)
    assert names(await begin()) == []
    assert (kept / "index.damaged").read_text() == index
    assert (kept / "tale@1").is_dir()


async def test_a_load_that_is_cancelled_changes_nothing(first, begin, kept):
    reading = asyncio.Event()
    second = await begin(base_model="another", until=reading)
    load = asyncio.create_task(second.load("tale", "tale"))
    await reading.wait()
    load.cancel()
    await asyncio.wait([load])
    assert load.cancelled()
    assert [each.name for each in kept.iterdir() if each.is_dir()] == ["tale@1"]
    assert names(await begin()) == [("tale", 1)]


async def test_a_load_that_fails_leaves_nothing_behind(first, kept, tmp_path):
    write_adapter(tmp_path / "wrong", 1, hidden=768)
    with pytest.raises(AdapterInvalid):
        await first.load("tale", "wrong")
    assert [each.name for each in kept.iterdir() if each.is_dir()] == ["tale@1"]
    assert names(first) == [("tale", 1)]
