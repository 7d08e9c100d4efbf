"""LoRA adapters through the service's door."""

import asyncio
import shutil

import grpc.aio
import pytest

from damso.generation.v1 import generation_pb2 as pb
from services.runtime.status import error_info
from tests.generation.lora_files import write_adapter
from tests.generation.process import MODEL_NAME
from tests.generation.replies import FRANCE, text, token_ids

BASE = "The capital of France is Paris."


@pytest.fixture(scope="session")
def root(service):
    if not service.adapter_root.name:
        pytest.skip("the service's adapter root is not known")
    return service.adapter_root


@pytest.fixture
async def load(generation, root):
    """Loads an adapter of a seed under a name; unloads it after the test."""
    names = set()

    async def loaded(name, seed, **options):
        write_adapter(root / f"{name}-{seed}", seed, **options)
        names.add(name)
        response = await generation.LoadAdapter(
            pb.LoadAdapterRequest(name=name, path=f"{name}-{seed}"), timeout=60
        )
        return response.adapter

    yield loaded
    for name in names:
        try:
            await generation.UnloadAdapter(pb.UnloadAdapterRequest(name=name))
        except grpc.aio.AioRpcError as error:
            assert error_info(error).reason == "ADAPTER_NOT_FOUND"


def greedy(complete, model=""):
    return complete(FRANCE, model=model, temperature=0, max_tokens=8, ignore_eos=True)


async def test_an_adapter_changes_what_is_said_and_a_new_version_changes_it_again(
    complete, load, root
):
    base = token_ids(await greedy(complete))
    first = await load("tale", 1)
    assert (first.name, first.base_model, first.rank) == ("tale", MODEL_NAME, 4)
    said_first = token_ids(await greedy(complete, "tale"))
    second = await load("tale", 2)
    assert second.version == first.version + 1
    said_second = token_ids(await greedy(complete, "tale"))
    assert len({tuple(base), tuple(said_first), tuple(said_second)}) == 3
    assert token_ids(await greedy(complete)) == base


async def test_an_adapter_is_served_from_a_copy(complete, load, root):
    await load("copied", 1)
    before = token_ids(await greedy(complete, "copied"))
    shutil.rmtree(root / "copied-1")
    assert token_ids(await greedy(complete, "copied")) == before


async def test_running_requests_end_on_the_version_they_began_with(generation, complete, load):
    await load("swap", 1)
    whole = token_ids(
        await complete(FRANCE, model="swap", temperature=0, max_tokens=40, ignore_eos=True)
    )
    request = pb.GenerateRequest(
        model="swap",
        prompt=pb.Content(text=FRANCE),
        sampling={"temperature": 0, "max_tokens": 40, "ignore_eos": True},
    )
    call = aiter(generation.Generate(request, timeout=60))
    responses = [await anext(call)]
    await load("swap", 2)
    changed = token_ids(await greedy(complete, "swap"))
    responses += [response async for response in call]
    assert token_ids(responses) == whole
    assert changed != whole[:8]


async def test_base_and_adapter_requests_in_one_batch_do_not_mix(complete, load):
    """With more adapters than slots, so that every slot of vLLM is taken."""
    names = [f"mix{number}" for number in range(6)]
    alone = {"": token_ids(await greedy(complete))}
    for seed, name in enumerate(names):
        await load(name, seed + 10)
        alone[name] = token_ids(await greedy(complete, name))
    assert len({tuple(ids) for ids in alone.values()}) == 7
    for _ in range(3):
        models = ["", *names, "", "mix0", "mix5"]
        together = await asyncio.gather(*(greedy(complete, model) for model in models))
        assert [token_ids(each) for each in together] == [alone[model] for model in models]


async def test_the_logprobs_of_a_prompt_can_be_had_on_an_adapter(complete, load):
    await load("probed", 1)
    options = {"temperature": 0, "max_tokens": 1, "prompt_logprobs": 0}
    base = await complete(FRANCE, **options)
    adapted = await complete(FRANCE, model="probed", **options)
    assert len(adapted[0].prompt_logprobs) == 16
    assert adapted[0].prompt_logprobs[5].token.logprob != base[0].prompt_logprobs[5].token.logprob


async def test_adapters_are_listed_as_models_too_and_go_when_unloaded(generation, complete, load):
    await load("aaa", 1)
    await load("bbb", 2)
    listed = (await generation.ListAdapters(pb.ListAdaptersRequest())).adapters
    assert [adapter.name for adapter in listed] == ["aaa", "bbb"]
    models = (await generation.ListModels(pb.ListModelsRequest())).models
    assert [model.name for model in models] == [MODEL_NAME, "aaa", "bbb"]
    assert models[1].base_model == MODEL_NAME
    described = (await generation.GetModel(pb.GetModelRequest(model="aaa"))).model
    assert described == models[1]
    await generation.UnloadAdapter(pb.UnloadAdapterRequest(name="aaa"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await greedy(complete, "aaa")
    assert error_info(caught.value).reason == "MODEL_NOT_FOUND"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await generation.UnloadAdapter(pb.UnloadAdapterRequest(name="aaa"))
    assert error_info(caught.value).reason == "ADAPTER_NOT_FOUND"
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_lists_come_in_pages(generation, load):
    for number in range(3):
        await load(f"page{number}", number)
    names, token = [], ""
    while True:
        page = await generation.ListModels(pb.ListModelsRequest(page_size=1, page_token=token))
        names += [model.name for model in page.models]
        if not (token := page.next_page_token):
            break
    assert names == [MODEL_NAME, "page0", "page1", "page2"]
    page = await generation.ListAdapters(pb.ListAdaptersRequest(page_size=2))
    assert [adapter.name for adapter in page.adapters] == ["page0", "page1"]
    rest = await generation.ListAdapters(
        pb.ListAdaptersRequest(page_size=2, page_token=page.next_page_token)
    )
    assert [adapter.name for adapter in rest.adapters] == ["page2"]
    assert not rest.next_page_token


@pytest.mark.parametrize("name", ["", MODEL_NAME, "a b", "a/b", "한", "a" * 129])
async def test_a_name_that_cannot_be_used_is_refused(generation, root, name):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await generation.LoadAdapter(pb.LoadAdapterRequest(name=name, path="x"))
    assert error_info(caught.value).metadata["field"] == "name"


async def test_an_adapter_that_does_not_fit_is_refused_and_the_base_model_goes_on(
    generation, complete, root
):
    write_adapter(root / "wrong", 1, hidden=768)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await generation.LoadAdapter(pb.LoadAdapterRequest(name="wrong", path="wrong"))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error_info(caught.value).reason == "ADAPTER_INVALID"
    assert "shape" in caught.value.details()
    assert text(await complete(FRANCE, temperature=0)) == BASE
    listed = (await generation.ListAdapters(pb.ListAdaptersRequest())).adapters
    assert "wrong" not in [adapter.name for adapter in listed]
