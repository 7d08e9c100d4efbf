"""Adapters on a CPU, done right.

vLLM 0.32's own `PunicaWrapperCPU` gives requests without an adapter the weights of the last slot
when all slots are taken (it indexes with −1), and copies an adapter's matrices once per token.
Here each adapter meets exactly its own tokens, in one matrix product: base requests are untouched,
and cost what they cost without adapters.
"""

from typing import Any

import torch
from torch.nn.functional import linear
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms.cpu import CpuPlatform
from vllm.v1.worker.cpu_worker import CPUWorker


class CpuWorker(CPUWorker):  # type: ignore[misc]
    """vLLM's worker with adapters by `AdapterProducts`."""

    def load_model(self, *args: Any, **kwargs: Any) -> Any:
        """Loads the model; vLLM asks the platform for the products while it wraps the layers."""
        name = f"{AdapterProducts.__module__}.{AdapterProducts.__qualname__}"
        CpuPlatform.get_punica_wrapper = classmethod(lambda _: name)
        return super().load_model(*args, **kwargs)


class AdapterProducts(PunicaWrapperCPU):  # type: ignore[misc]
    """Adds the adapters' products to those of the linear layers."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rows_by_slot: list[tuple[int, torch.Tensor]] = []

    def update_metadata(self, *args: Any, **kwargs: Any) -> None:
        """Notes which tokens of the next steps belong to which adapter."""
        super().update_metadata(*args, **kwargs)
        slots = self.token_lora_indices  # (tokens,); −1: no adapter
        self._rows_by_slot = [
            (int(slot), torch.nonzero(slots == slot).squeeze(1))
            for slot in slots.unique()
            if slot >= 0
        ]

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        **_: Any,
    ) -> None:
        """Adds `scale · x Aᵀ Bᵀ` to y, in place, for each part of a fused layer.

        Args:
            y: The layer's output, shape (tokens, sum of `output_slices`).
            x: Its input, shape (tokens, in_features).
            lora_a_stacked: A by slot, one for each part, shape (slots, 1, rank, in_features).
            lora_b_stacked: B by slot, one for each part, shape (slots, 1, part, rank).
            scale: Applied to the product.
            output_slices: Widths of the parts.
        """
        if not self._rows_by_slot:
            return
        y = y.view(-1, y.shape[-1])
        x = x.view(-1, x.shape[-1])
        for slot, rows in self._rows_by_slot:
            inputs = x[rows]  # (rows, in_features)
            start = 0
            for a, b, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
                low = linear(inputs, a[slot, 0])  # (rows, rank)
                y[rows, start : start + width] += scale * linear(low, b[slot, 0])
                start += width
