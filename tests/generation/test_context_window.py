import pytest

from services.generation.context_window import fitting_window
from tests.generation.process import MODEL_DIRECTORY

GIB = 1 << 30
TOKEN_BYTES = 30 * 2 * 3 * 64 * 2  # layers, keys and values, heads, width, bfloat16


@pytest.mark.parametrize(
    ("kv_cache_bytes", "window"),
    [
        (GIB, 2048),
        (2 * GIB, 4096),
        (64 * GIB, 8192),  # the model's own positions
        (16 * 1024 * TOKEN_BYTES, 1024),
        (16 * 1024 * TOKEN_BYTES - 1, 512),
        (1 << 20, 256),
    ],
)
def test_sixteen_full_windows_fit_in_the_kv_cache(kv_cache_bytes, window):
    assert fitting_window(str(MODEL_DIRECTORY), kv_cache_bytes) == window
