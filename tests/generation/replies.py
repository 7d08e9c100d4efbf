"""Reading responses in tests."""

from collections.abc import Iterable

from damso.generation.v1 import generation_pb2 as pb

FRANCE = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"


def text(responses: Iterable[pb.GenerateResponse], index: int = 0) -> str:
    """One completion's whole text."""
    return "".join(delta.text for delta in _deltas(responses, index))


def token_ids(responses: Iterable[pb.GenerateResponse], index: int = 0) -> list[int]:
    """One completion's ids."""
    return [token_id for delta in _deltas(responses, index) for token_id in delta.token_ids]


def last_delta(responses: Iterable[pb.GenerateResponse], index: int = 0) -> pb.Delta:
    """One completion's last delta."""
    return _deltas(responses, index)[-1]


def _deltas(responses: Iterable[pb.GenerateResponse], index: int) -> list[pb.Delta]:
    return [delta for response in responses for delta in response.deltas if delta.index == index]
