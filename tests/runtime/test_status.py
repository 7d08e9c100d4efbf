"""services/runtime/status.py, errors.py: an error is the same on the other side of the wire."""

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from services.runtime import errors, status
from services.runtime.status import RemoteError


class QueueFull(errors.ResourceExhausted):
    reason = "QUEUE_FULL"


RAISED = [
    (errors.InvalidArgument("top_p must be at most 1", field="top_p", most=1), "INVALID_ARGUMENT"),
    (errors.InvalidArgument("nothing in particular"), "INVALID_ARGUMENT"),
    (errors.NotFound("no such run", resource_type="run", resource_name="r1"), "NOT_FOUND"),
    (errors.AlreadyExists("taken", resource_type="run", resource_name="r1"), "ALREADY_EXISTS"),
    (errors.FailedPrecondition("it has ended", state="SUCCEEDED"), "FAILED_PRECONDITION"),
    (QueueFull("too many", retry_after_seconds=2.5, waiting=9), "RESOURCE_EXHAUSTED"),
    (errors.Unavailable("loading"), "UNAVAILABLE"),
    (errors.DeadlineExceeded("too late"), "DEADLINE_EXCEEDED"),
    (errors.Unauthenticated("who?"), "UNAUTHENTICATED"),
    (errors.PermissionDenied("not yours"), "PERMISSION_DENIED"),
    (errors.ServiceError("internal error"), "INTERNAL"),
]
ids = [type(error).__name__ for error, _ in RAISED]


def over_the_wire(error: errors.ServiceError) -> grpc.aio.AioRpcError:
    """What a caller of a service that raises `error` catches."""
    sent = status.to_status(error, request_id="r")
    trailers = grpc.aio.Metadata((status.STATUS_KEY, sent.SerializeToString()))
    code = status.grpc_code(sent.code)
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailers, sent.message)


def details(sent: status_pb2.Status, kind):
    return [kind for packed in sent.details if packed.Unpack(kind)]


@pytest.mark.parametrize(("error", "code"), RAISED, ids=ids)
def test_an_error_comes_back_with_its_code_reason_message_and_figures(error, code):
    caught = over_the_wire(error)
    assert caught.code().name == code
    back = status.from_rpc_error(caught)
    assert isinstance(back, RemoteError)
    assert status.reason_of(back) == error.reason
    assert back.message == error.message
    assert back.metadata == {**error.metadata, "request_id": "r"}
    assert status.error_info(caught).domain == "damso"
    # Passed on by a second service it is still the same.
    assert status.to_status(back) == status.to_status(error, request_id="r")


@pytest.mark.parametrize(("error", "code"), RAISED, ids=ids)
def test_a_kept_failure_is_the_error_again(error, code):
    failure = status.to_failure(error)
    again = status.from_failure(failure)
    assert status.to_failure(again) == failure
    assert status.grpc_code(failure.code).name == code
    assert status.reason_of(again) == error.reason


def test_each_class_adds_its_detail():
    sent = status.to_status(RAISED[0][0])
    (bad,) = details(sent, error_details_pb2.BadRequest())
    assert [(v.field, v.description) for v in bad.field_violations] == [
        ("top_p", "top_p must be at most 1")
    ]
    (resource,) = details(status.to_status(RAISED[2][0]), error_details_pb2.ResourceInfo())
    assert (resource.resource_type, resource.resource_name) == ("run", "r1")
    (unmet,) = details(status.to_status(RAISED[4][0]), error_details_pb2.PreconditionFailure())
    assert unmet.violations[0].type == "FAILED_PRECONDITION"
    (retry,) = details(status.to_status(RAISED[5][0]), error_details_pb2.RetryInfo())
    assert retry.retry_delay.ToTimedelta().total_seconds() == 2.5


def test_what_callers_sent_is_cut_to_what_a_status_can_carry():
    long = "가" * 1_000_000
    error = errors.NotFound(f"no {long}", resource_type="model", resource_name=long)
    assert len(status.to_status(error).SerializeToString()) < 16_000


@pytest.mark.parametrize("code", [c for c in grpc.StatusCode if c is not grpc.StatusCode.OK])
def test_errors_of_grpc_itself_become_ours(code):
    caught = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), "by gRPC")
    back = status.from_rpc_error(caught)
    assert status.grpc_code(status.to_status(back).code) is code


def test_a_code_that_grpc_has_not_is_unknown():
    assert status.grpc_code(99) is grpc.StatusCode.UNKNOWN
