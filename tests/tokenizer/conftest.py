"""Tokenizers of every kind, and a real server in process that serves them."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
from tokenizers import Tokenizer as Backend

from damso.tokenizer.v1 import tokenizer_pb2_grpc
from services.runtime import channels
from services.tokenizer import loading, server
from services.tokenizer.loading import LoadedTokenizer
from services.tokenizer.settings import Settings
from services.tokenizer.tokenizer import Tokenizer
from services.tokenizer.vocabulary import Vocabulary
from tests.tokenizer import throwaway

DEFAULT_MODEL = Path(__file__).parents[2] / "var/models/SmolLM2-135M-Instruct"


@pytest.fixture(scope="session")
def default_model_dir() -> Path:
    """The default model's directory, which `make setup` fills."""
    if not DEFAULT_MODEL.is_dir():
        pytest.skip("the default model is not there; `make setup` converts it")
    return DEFAULT_MODEL


@pytest.fixture(scope="session")
def loaded() -> dict[str, LoadedTokenizer]:
    """By served name; the first is the default. With the default model where it is there."""
    found = {kind: throwaway.loaded(build()) for kind, build in throwaway.KINDS.items()}
    found["with_bos"] = throwaway.loaded(throwaway.byte_level(with_bos=True))
    found["base_model"] = throwaway.loaded(throwaway.byte_level(), template="")
    if DEFAULT_MODEL.is_dir():
        found["smollm2"] = loading.load(str(DEFAULT_MODEL))
    return found


@pytest.fixture(scope="session", params=[*throwaway.KINDS, "with_bos", "smollm2"])
def backend(request: pytest.FixtureRequest, loaded: dict[str, LoadedTokenizer]) -> Backend:
    """The library's tokenizer of each kind."""
    if request.param not in loaded:
        pytest.skip("the default model is not there; `make setup` converts it")
    return loaded[request.param].backend


@pytest.fixture(scope="session")
def tokenizer(backend: Backend) -> Tokenizer:
    """Ours of each kind."""
    return Tokenizer(backend, {})


@pytest.fixture(scope="session")
def vocabulary(backend: Backend) -> Vocabulary:
    """Its tokens."""
    return Vocabulary(backend)


@pytest.fixture(scope="session")
async def served(loaded: dict[str, LoadedTokenizer]) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server of all of them, with small limits."""
    settings = Settings(
        server={"port": 0},
        models={"unused": "unused"},
        max_text_bytes=1_000_000,
        max_token_ids=100_000,
        max_render_seconds=1,
    )
    async with (
        server.serving(settings, loaded) as running,
        channels.open_channel(f"127.0.0.1:{running.port}") as channel,
    ):
        yield channel


@pytest.fixture
def stub(served: grpc.aio.Channel) -> tokenizer_pb2_grpc.TokenizerServiceStub:
    """The service."""
    return tokenizer_pb2_grpc.TokenizerServiceStub(served)
