"""What becomes of a service whose engine or own process is killed; each test starts its own."""

import os
import signal

import grpc.aio
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from damso.generation.v1 import generation_pb2 as pb
from damso.generation.v1.generation_pb2_grpc import GenerationServiceStub
from services.runtime.status import error_info
from tests.generation.lora_files import write_adapter
from tests.generation.process import launched
from tests.generation.replies import FRANCE, token_ids

pytestmark = pytest.mark.slow

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def gone(processes: list[psutil.Process], seconds: float) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return not alive


async def health(channel: grpc.aio.Channel, service: str = "") -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    return (await health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)).status


async def test_while_it_loads_it_says_how_far_it_is_and_refuses_with_a_reason(tmp_path):
    with launched(tmp_path / "state") as running:
        async with grpc.aio.insecure_channel(running.address) as channel:
            stub = GenerationServiceStub(channel)
            (model,) = (
                await stub.ListModels(pb.ListModelsRequest(), timeout=10, wait_for_ready=True)
            ).models
            assert model.state == pb.Model.STATE_LOADING
            assert model.loading.phase == pb.Loading.PHASE_IMPORTING
            assert 0 <= model.loading.progress < 0.5
            assert await health(channel) == NOT_SERVING
            request = pb.GenerateRequest(prompt=pb.Content(text=FRANCE))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await anext(aiter(stub.Generate(request, timeout=5)))
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert error_info(caught.value).reason == "MODEL_LOADING"
            assert error_info(caught.value).metadata["phase"] == "importing"
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.GetModel(pb.GetModelRequest(model="adapter"), timeout=5)
            assert error_info(caught.value).reason == "MODEL_LOADING"
        running.process.terminate()
        running.process.wait(timeout=60)
        assert "Traceback" not in running.written()


async def test_a_killed_engine_ends_streams_with_a_reason_and_the_process_with_an_error(tmp_path):
    with launched(tmp_path / "state") as running:
        running.wait_until_ready()
        engine = running.children()
        assert engine
        async with grpc.aio.insecure_channel(running.address) as channel:
            assert await health(channel) == SERVING
            stub = GenerationServiceStub(channel)
            request = pb.GenerateRequest(
                prompt=pb.Content(text=FRANCE), sampling={"temperature": 0, "ignore_eos": True}
            )
            stream = aiter(stub.Generate(request, timeout=60))
            await anext(stream)
            request.request_id = "batched"
            batch = stub.GenerateBatch(iter([pb.GenerateBatchRequest(start=request)]), timeout=60)
            messages = aiter(batch)
            await anext(messages)
            for process in engine:
                process.send_signal(signal.SIGKILL)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                while True:
                    await anext(stream)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert error_info(caught.value).reason == "ENGINE_DEAD"
            *_, last = [message async for message in messages]
            assert last.items[0].failure.reason == "ENGINE_DEAD"
            assert await health(channel) == NOT_SERVING
            (model,) = (await stub.ListModels(pb.ListModelsRequest(), timeout=5)).models
            assert model.state == pb.Model.STATE_FAILED
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await anext(aiter(stub.Generate(request, timeout=5)))
            assert error_info(caught.value).reason == "ENGINE_DEAD"
        assert running.process.wait(timeout=20) != 0


async def test_a_killed_service_leaves_no_process_behind(tmp_path):
    with launched(tmp_path / "state") as running:
        running.wait_until_ready()
        engine = running.children()
        os.kill(running.process.pid, signal.SIGKILL)
        assert gone(engine, seconds=5)


async def test_a_service_killed_while_it_starts_its_engine_leaves_no_process_behind(tmp_path):
    with launched(tmp_path / "state") as running:
        engine: list[psutil.Process] = []
        while not engine:
            running.goes_on_for(0.02)
            engine = running.children()
        os.kill(running.process.pid, signal.SIGKILL)
        assert gone(engine, seconds=5)


async def test_a_restarted_service_serves_its_adapters_again(tmp_path):
    said = []
    for _ in range(2):
        with launched(tmp_path / "state") as running:
            running.wait_until_ready()
            async with grpc.aio.insecure_channel(running.address) as channel:
                stub = GenerationServiceStub(channel)
                if not said:
                    write_adapter(running.adapter_root / "kept", 1)
                    await stub.LoadAdapter(pb.LoadAdapterRequest(name="kept", path="kept"))
                (adapter,) = (await stub.ListAdapters(pb.ListAdaptersRequest())).adapters
                assert (adapter.name, adapter.version, adapter.path) == ("kept", 1, "kept")
                request = pb.GenerateRequest(
                    model="kept",
                    prompt=pb.Content(text=FRANCE),
                    sampling={"temperature": 0, "max_tokens": 8},
                )
                responses = [response async for response in stub.Generate(request, timeout=60)]
                said.append(token_ids(responses))
    assert said[0] == said[1]


async def test_a_model_that_cannot_be_read_ends_the_process_with_an_error(tmp_path):
    (tmp_path / "empty").mkdir()
    with launched(tmp_path / "state", GENERATION_MODEL=str(tmp_path / "empty")) as running:
        assert running.process.wait(timeout=120) != 0
        assert "Traceback" not in running.written()
        assert '"level": "ERROR"' in running.written()
