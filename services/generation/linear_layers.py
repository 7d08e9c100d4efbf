"""The layers of a model that adapters may change, found without reading its weights."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from services.generation.adapter_files import LinearShape


def linear_layers(model: str) -> dict[str, LinearShape]:
    """Every linear layer by its full name, except the one that makes the logits.

    Adapters of the logits are left out: vLLM on a CPU dies of them when it is asked for the
    logprobs of a prompt, and training leaves that layer alone too.

    Args:
        model: Checkpoint directory or hub id.
    """
    config = AutoConfig.from_pretrained(model)
    with torch.device("meta"):  # shapes only
        network = AutoModelForCausalLM.from_config(config)
    logits = network.get_output_embeddings()
    return {
        name: LinearShape(layer.in_features, layer.out_features)
        for name, layer in network.named_modules()
        if isinstance(layer, torch.nn.Linear) and layer is not logits
    }
