"""services/tokenizer/settings.py: what the environment sets."""

import os
import subprocess
import sys

import pytest


def read(**environment: str) -> subprocess.CompletedProcess[str]:
    """The settings of a process with this environment, printed."""
    code = "from services.tokenizer.settings import Settings; print(repr(Settings()))"
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_models_are_read_in_their_order_and_the_rest_has_defaults():
    printed = read(TOKENIZER_MODELS='{"b": "dir", "a": "org/name"}').stdout
    assert "models={'b': 'dir', 'a': 'org/name'}" in printed
    assert "port=50051" in printed
    assert "max_text_bytes=8388608" in printed


def test_one_setting_of_the_server_leaves_the_others():
    printed = read(TOKENIZER_MODELS='{"a": "a"}', TOKENIZER_SERVER__HOST="0.0.0.0").stdout
    assert "host='0.0.0.0'" in printed
    assert "port=50051" in printed


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "models"),
        ({"TOKENIZER_MODELS": "{}"}, "models"),
        ({"TOKENIZER_MODELS": '{"a": "a"}', "TOKENIZER_THREADS": "0"}, "threads"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(environment, said):
    process = read(**environment)
    assert process.returncode != 0
    assert said in process.stderr
