"""Small adapters for the default model, as PEFT would write them."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

LAYERS = 30
HIDDEN = 576
VALUE = 192


def write_adapter(
    directory: Path, seed: int, *, rank: int = 4, config: dict[str, Any] | None = None,
    hidden: int = HIDDEN, scale: float = 0.3,
) -> Path:  # fmt: skip
    """Random weights large enough to change what the model says, the same for the same seed."""
    directory.mkdir(parents=True, exist_ok=True)
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(LAYERS):
        for name, width in (("q_proj", hidden), ("v_proj", VALUE)):
            prefix = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{prefix}.lora_A.weight"] = torch.randn(rank, hidden, generator=random) * scale
            tensors[f"{prefix}.lora_B.weight"] = torch.randn(width, rank, generator=random) * scale
    save_file(tensors, directory / "adapter_model.safetensors")
    written = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "anything",
        "r": rank,
        "lora_alpha": 2 * rank,
        "lora_dropout": 0.0,
        "target_modules": ["q_proj", "v_proj"],
        "bias": "none",
        "modules_to_save": None,
        "use_dora": False,
        "rank_pattern": {},
        "alpha_pattern": {},
        "fan_in_fan_out": False,
    }
    (directory / "adapter_config.json").write_text(json.dumps(written | (config or {})))
    return directory
