"""Quantisation simulated in float: every number of a tensor goes to the nearest level.

Gradients pass as if nothing were rounded, where the number lies inside the range: https://arxiv.org/abs/1712.05877.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from yolo.errors import UserError
from yolo.quiet import quiet_descriptors

try:
    with quiet_descriptors():  # it names, on standard error, kernels for GPUs that it has none of
        from torchao.quantization.pt2e.fake_quantize import FakeQuantizeBase
except ModuleNotFoundError as error:
    raise UserError("INT8 networks need torchao: pip install 'yolo[tflite]'") from error

Mode = Literal["calibrate", "quantise", "off"]
"""calibrate: widen the range to all that is seen, change nothing; quantise, by the range as it is; off: do nothing."""
SMALLEST_SCALE = 1e-8
LEAST = 2**-8
"""Of the largest channel's scale: what channels of next to no weights have."""


class FakeQuantize(FakeQuantizeBase):
    """What torchao puts behind a tensor; its constructor takes the fields of a `QuantizationSpec`.

    Args:
        dtype: torch.int8.
        quant_min: lowest level.
        quant_max: highest level.
        qscheme: of torch.

    Attributes:
        scale: of a level, [1] or [out].
        zero_point: level of 0, int32.
    """

    scale: Tensor
    zero_point: Tensor
    ch_axis = -1
    is_dynamic = False

    def __init__(self, dtype: torch.dtype, quant_min: int, quant_max: int, qscheme: Any, **_: Any) -> None:
        nn.Module.__init__(self)
        self.dtype, self.quant_min, self.quant_max, self.qscheme = dtype, quant_min, quant_max, qscheme
        self.mode: Mode = "calibrate"

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """Scale and zero point."""
        return self.scale, self.zero_point


class RangeFakeQuantize(FakeQuantize):
    """Of an activation: one range, which contains 0, for the whole tensor."""

    low: Tensor
    high: Tensor

    def __init__(self, **spec: Any) -> None:
        super().__init__(**spec)
        for name, value in (("low", torch.inf), ("high", -torch.inf), ("scale", 1.0)):
            self.register_buffer(name, torch.tensor([value]))
        self.register_buffer("zero_point", torch.zeros(1, dtype=torch.int32))

    def reset(self) -> None:
        """Forget the range."""
        self.low.fill_(torch.inf)
        self.high.fill_(-torch.inf)

    def forward(self, values: Tensor) -> Tensor:
        """The same shape."""
        if self.mode == "calibrate":
            self._widen(values.detach())
        if self.mode != "quantise":
            return values
        return torch.fake_quantize_per_tensor_affine(
            values, self.scale, self.zero_point, self.quant_min, self.quant_max
        )

    @torch.no_grad()
    def _widen(self, values: Tensor) -> None:
        low, high = (bound.float() for bound in values.aminmax())
        self.set_range(torch.minimum(self.low, low.clamp(max=0)), torch.maximum(self.high, high.clamp(min=0)))

    @torch.no_grad()
    def set_range(self, low: Tensor, high: Tensor) -> None:
        """Quantise from `low` to `high`, [1] each, 0 in between."""
        self.low.copy_(low)
        self.high.copy_(high)
        scale = ((self.high - self.low) / (self.quant_max - self.quant_min)).clamp(min=SMALLEST_SCALE)
        self.scale.copy_(scale)
        self.zero_point.copy_((self.quant_min - (self.low / scale).round()).clamp(self.quant_min, self.quant_max))


class FixedFakeQuantize(FakeQuantize):
    """Of an activation whose range is known.

    Args:
        step: scale.
        zero: zero point.
        spec: as for any.
    """

    def __init__(self, step: float, zero: int, **spec: Any) -> None:
        super().__init__(**spec)
        self.register_buffer("scale", torch.tensor([step]), persistent=False)
        self.register_buffer("zero_point", torch.tensor([zero], dtype=torch.int32), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """The same shape."""
        if self.mode != "quantise":
            return values
        return torch.fake_quantize_per_tensor_affine(
            values, self.scale, self.zero_point, self.quant_min, self.quant_max
        )


class PerChannelFakeQuantize(FakeQuantize):
    """Of weights [out, ...]: the range of each output channel, even about 0, always that of the weights as they are.

    Scales are those of the last forward pass. They are no buffers: nothing carries over from one pass to the next.
    """

    ch_axis = 0

    @classmethod
    def for_constants(cls) -> PerChannelFakeQuantize:
        """By TFLite's rules for weights."""
        return cls(dtype=torch.int8, quant_min=-127, quant_max=127, qscheme=torch.per_channel_symmetric)

    def scales(self, weights: Tensor) -> Tensor:
        """[out] of the weights as they are.

        Biases are whole steps of them, in 32 bits, which those of a channel without weights would not fit otherwise.
        """
        largest = weights.detach().abs().amax(tuple(range(1, weights.ndim)))
        whole = largest.amax()
        least = torch.where(whole > 0, whole, 1) * LEAST
        return (torch.maximum(largest, least) / self.quant_max).clamp(min=SMALLEST_SCALE)

    def forward(self, weights: Tensor) -> Tensor:
        """The same shape."""
        self.scale = self.scales(weights)
        self.zero_point = torch.zeros_like(self.scale, dtype=torch.int32)
        if self.mode != "quantise":
            return weights
        return torch.fake_quantize_per_channel_affine(
            weights, self.scale, self.zero_point, 0, self.quant_min, self.quant_max
        )


def set_mode(network: nn.Module, mode: Mode) -> None:
    """Of every fake quantiser in the network."""
    for module in network.modules():
        if isinstance(module, FakeQuantize):
            module.mode = mode


def fake_quantizers(network: nn.Module) -> dict[str, FakeQuantize]:
    """By name."""
    return {name: module for name, module in network.named_modules() if isinstance(module, FakeQuantize)}
