"""services/runtime/logs.py, tracing.py: what a process writes, read as its operator reads it."""

import json
import logging
import subprocess
import sys

import grpc
import grpc.aio
import pytest

from damso.tokenizer.v1 import tokenizer_pb2 as pb
from damso.type.v1 import message_pb2
from services.runtime import logs
from services.runtime.channels import REQUEST_ID_KEY


async def test_every_line_is_json_with_its_time_level_logger_and_service(service):
    for line in service.lines():
        assert {"time", "level", "logger", "message"} <= line.keys()
        assert line["service"] == "tokenizer"


async def test_the_lines_of_a_call_are_joined_by_request_id_and_trace_id(stub, service):
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    metadata = [(REQUEST_ID_KEY, "joined-1"), ("traceparent", f"00-{trace_id}-b7ad6b7169203331-01")]
    await stub.Encode(pb.EncodeRequest(texts=["fox"]), metadata=metadata)
    line = service.ended("Encode", "joined-1")
    assert line["trace_id"] == trace_id
    assert line["method"] == "/damso.tokenizer.v1.TokenizerService/Encode"
    assert 0 < line["duration_seconds"] < 5


async def test_a_call_without_a_trace_begins_one(stub, service):
    await stub.Encode(pb.EncodeRequest(texts=["fox"]), metadata=[(REQUEST_ID_KEY, "untraced-1")])
    assert len(service.ended("Encode", "untraced-1")["trace_id"]) == 32


async def test_what_people_write_is_in_no_line(stub, service):
    said = "한밤의 비밀 a very private sentence"
    request = pb.RenderChatRequest(
        messages=[message_pb2.Message(role=message_pb2.ROLE_USER, content=said)]
    )
    await stub.RenderChat(request)
    await stub.Encode(pb.EncodeRequest(texts=[said]))
    request.max_prompt_tokens = 1
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.RenderChat(request)
    written = service.log.read_text()
    assert "private" not in written
    assert "비밀" not in written


def test_errors_of_tasks_that_nobody_awaits_say_their_type_and_place_only(tmp_path):
    stray = tmp_path / "stray.py"
    stray.write_text(
        "import asyncio, gc\n"
        "from services.runtime import server\n"
        "async def fail():\n"
        "    int('a ' + 'secret')\n"
        "async def main():\n"
        "    await asyncio.wait([asyncio.ensure_future(fail())])\n"
        "    gc.collect()\n"
        "server.run('stray', main)\n"
    )
    process = subprocess.run([sys.executable, stray], capture_output=True, check=True, text=True)
    (line,) = [json.loads(line) for line in process.stderr.splitlines()]
    assert (line["message"], line["error_type"]) == ("task failed", "ValueError")
    assert "in fail" in line["stack"][0]
    assert "a secret" not in process.stderr


def test_exceptions_that_libraries_log_say_their_type_and_place_only():
    formatter = logs._Formatter("{message}", style="{")
    try:
        int(" ".join(["a", "secret"]))
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "broke", None, sys.exc_info())
    written = formatter.format(record)
    assert "ValueError" in written
    assert "test_logs.py" in written
    assert "a secret" not in written
