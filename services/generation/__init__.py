"""Token ids to completions and scores: one base model and its LoRA adapters on one vLLM engine.

`server.py` listens at once and loads the engine behind it (`host.py`); only the modules named
`vllm_*` know vLLM.
"""

import os

# gRPC reads this when it is imported. The engine is forked from a process that serves gRPC and
# never uses gRPC itself; the handlers would stop this server's threads around the fork.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
