"""services/runtime/server.py, health.py: the life of a process, from its port to its exit code."""

import asyncio
import signal

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from damso.tokenizer.v1 import tokenizer_pb2 as pb
from damso.tokenizer.v1 import tokenizer_pb2_grpc
from services.runtime import channels, server
from services.runtime.settings import ServerSettings
from tests.runtime import probe, process
from tests.runtime.probe import Probe

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
TOKENIZER = "damso.tokenizer.v1.TokenizerService"


async def test_health_knows_the_process_and_each_service(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", TOKENIZER):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health.Check(health_pb2.HealthCheckRequest(service="no.such.Service"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_health_follows_what_the_service_says_of_itself():
    settings = ServerSettings(port=0)
    async with (
        server.running(settings, {probe.SERVICE: Probe().register}, serving=False) as running,
        channels.open_channel(f"127.0.0.1:{running.port}") as channel,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(service=probe.SERVICE)
        )
        assert (await watch.read()).status == NOT_SERVING
        await running.set_serving(True)
        assert (await watch.read()).status == SERVING


async def test_a_watch_of_health_hears_of_the_drain_and_does_not_delay_it():
    async with probe.serving(Probe(), drain_seconds=600) as (running, _):
        channel = channels.open_channel(f"127.0.0.1:{running.port}")
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == SERVING
    assert (await watch.read()).status == NOT_SERVING
    assert await watch.read() is grpc.aio.EOF
    await channel.close()


async def test_reflection_lists_every_service(channel):
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    listed = {service.name for service in (await call.read()).list_services_response.service}
    assert listed == {
        TOKENIZER,
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    await call.write(reflection_pb2.ServerReflectionRequest(file_containing_symbol=TOKENIZER))
    assert (await call.read()).file_descriptor_response.file_descriptor_proto
    await call.done_writing()


async def test_a_port_that_is_taken_is_said_at_once():
    async with probe.serving(Probe()) as (running, _):
        with pytest.raises(OSError, match=str(running.port)):
            async with server.running(ServerSettings(port=running.port), {}):
                pass


async def test_sigterm_ends_what_runs_and_refuses_what_comes(model, tmp_path):
    with process.started(model, tmp_path / "log") as service:
        async with channels.open_channel(service.address) as channel:
            stub = tokenizer_pb2_grpc.TokenizerServiceStub(channel)
            health = health_pb2_grpc.HealthStub(channel)
            watch = health.Watch(health_pb2.HealthCheckRequest(service=TOKENIZER))
            assert (await watch.read()).status == SERVING
            stream = stub.DecodeStream()
            await stream.write(pb.DecodeStreamRequest(token_ids=[68]))
            first = (await stream.read()).text

            service.process.send_signal(signal.SIGTERM)
            assert (await watch.read()).status == NOT_SERVING
            async with asyncio.timeout(5):
                while True:  # until the refusal: the state is told just before it
                    async with channels.open_channel(service.address) as newcomer:
                        late = tokenizer_pb2_grpc.TokenizerServiceStub(newcomer)
                        try:
                            await late.Encode(pb.EncodeRequest(texts=["a"]))
                        except grpc.aio.AioRpcError as error:
                            assert error.code() is grpc.StatusCode.UNAVAILABLE
                            break

            # What ran before goes on to its own end.
            await stream.write(pb.DecodeStreamRequest(token_ids=[68]))
            assert (await stream.read()).text == first
            await stream.done_writing()
            assert await stream.read() is grpc.aio.EOF
        assert service.process.wait(10) == 0
        assert service.lines()[-1]["message"] == "stopped"


async def test_a_stream_that_does_not_end_is_cut_when_the_drain_is_over(model, tmp_path):
    with process.started(model, tmp_path / "log", TOKENIZER_SERVER__DRAIN_SECONDS="0.2") as service:
        async with channels.open_channel(service.address) as channel:
            stream = tokenizer_pb2_grpc.TokenizerServiceStub(channel).DecodeStream()
            await stream.write(pb.DecodeStreamRequest(token_ids=[68]))
            await stream.read()
            assert await asyncio.to_thread(service.terminate) == 0
            with pytest.raises(grpc.aio.AioRpcError):
                await stream.read()


async def test_sigint_stops_it_too(model, tmp_path):
    with process.started(model, tmp_path / "log") as service:
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(10) == 0
