"""What an INT8 file computes, in the integers that it computes in.

Numbers of int8 and their sums are whole numbers that float32 holds exactly, so torch's own operators do the arithmetic;
what is written here is how XNNPACK, which runs TFLite files, rounds the sums to the next tensor's levels. A simulation
in float, which training needs for its gradients, rounds a few of them the other way, and some layers on every tenth
number that a detector answers is another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter
from torch.fx.node import Target, map_aggregate
from torch.utils import _pytree as pytree

from yolo.quantization.fake_quantize import FakeQuantize, PerChannelFakeQuantize
from yolo.quantization.rewrites import average_weights, is_average_by_convolution
from yolo.quantization.tflite_rules import CONVOLUTIONS, FUSED, MOVING

aten = torch.ops.aten
ADDED_BITS = 20
"""Of the larger of two factors with which XNNPACK brings the terms of a sum to one scale."""


@dataclass(frozen=True)
class Levels:
    """A quantised activation."""

    steps: Tensor
    """Whole numbers in float32: levels above that of 0."""
    scale: Tensor
    """[1] of a step."""
    zero_point: Tensor

    @property
    def values(self) -> Tensor:
        """What they stand for."""
        return self.steps * self.scale

    def rounded(self, scale: Tensor) -> Tensor:
        """In steps of another scale."""
        return Sums(self.steps, self.scale).rounded(scale)


@dataclass(frozen=True)
class Weights:
    """Of a convolution [out, ...]."""

    steps: Tensor
    scales: Tensor
    """[out]."""


@dataclass(frozen=True)
class Sums:
    """Of products of steps, as yet in 32 bits."""

    steps: Tensor
    scale: Tensor
    """Of one step, [1] or [out, 1, 1]."""

    @property
    def values(self) -> Tensor:
        """What they stand for."""
        return self.steps * self.scale

    def rounded(self, scale: Tensor) -> Tensor:
        """In steps of another scale: one factor in float32, and half to even."""
        return (self.steps * (self.scale / scale)).round()


@dataclass(frozen=True)
class Addition:
    """Of two activations, as yet in scales of their own."""

    terms: tuple[Levels, Levels]

    @property
    def values(self) -> Tensor:
        """What they stand for."""
        return self.terms[0].values + self.terms[1].values

    def rounded(self, scale: Tensor) -> Tensor:
        """In steps of another scale: factors in whole numbers, and half up."""
        factors = [float(term.scale / scale) for term in self.terms]
        shift = ADDED_BITS + 1 - math.frexp(max(factors))[1]
        one, other = (
            term.steps.int() * round(math.ldexp(factor, shift))
            for term, factor in zip(self.terms, factors, strict=True)
        )
        return ((one + other + (1 << (shift - 1))) >> shift).float()


@dataclass(frozen=True)
class Activated:
    """A result behind which an activation is computed in the same operator."""

    inner: Sums | Addition
    activation: Any
    """Of torch, with its other arguments."""

    @property
    def values(self) -> Tensor:
        """What they stand for."""
        return self.activation(self.inner.values)

    def rounded(self, scale: Tensor) -> Tensor:
        """In steps of another scale: rounded, then activated."""
        return (self.activation(self.inner.rounded(scale) * scale) / scale).round()


Number = Levels | Sums | Addition | Activated


class Integers(Interpreter):
    """Runs a graph of `with_fake_quantizers`, calibrated or trained; what stays in float in it is computed in float.

    Equal to the bit to LiteRT's answers (2.1, XNNPACK on x86) where the graph has convolutions, sums, products,
    sigmoids and operators that move values, and no sum of products reaches 2^24.
    """

    def __init__(self, graph: GraphModule) -> None:
        super().__init__(graph)

    def __call__(self, images: Tensor) -> Any:
        """As the graph, in whatever precision the rest of a program is."""
        with torch.autocast(images.device.type, enabled=False):
            return self.run(images.float())

    def run_node(self, n: Any) -> Any:
        """Averages need the node, not its operator alone."""
        if is_average_by_convolution(n):
            args, _ = self.fetch_args_kwargs_from_env(n)
            if isinstance(args[0], Levels):
                return _averaged(args[0], n)
        return super().run_node(n)

    def call_module(self, target: Target, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Fake quantisers round to their levels."""
        module = self.module.get_submodule(str(target))
        if isinstance(module, PerChannelFakeQuantize):
            return _weights(module, args[0])
        if isinstance(module, FakeQuantize):
            return _rounded(module, args[0])
        return super().call_module(target, _values(args), _values(kwargs))

    def call_function(self, target: Target, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Operators on quantised tensors compute in their steps."""
        first = args[0] if args else None
        if target in CONVOLUTIONS and isinstance(first, Levels) and isinstance(args[1], Weights):
            return _convolved(first, args[1], *args[2:])
        if target == aten.mul.Tensor and all(isinstance(factor, Levels) for factor in args):
            return Sums(args[0].steps * args[1].steps, args[0].scale * args[1].scale)
        if target == aten.add.Tensor and all(isinstance(term, Levels) for term in args) and not kwargs:
            return Addition((args[0], args[1]))
        if target in FUSED and isinstance(first, Sums | Addition):
            return Activated(first, lambda values: target(values, *args[1:], **kwargs))
        if target in MOVING - {aten.avg_pool2d.default} and (moved := _moved(target, args, kwargs)) is not None:
            return moved
        return super().call_function(target, _values(args), _values(kwargs))

    def output(self, target: Target, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """In float."""
        return super().output(target, _values(args), kwargs)


def _values(arguments: Any) -> Any:
    """In float, with whatever is no number of ours as it is."""

    def value(item: Any) -> Any:
        if isinstance(item, Weights):
            return item.steps * item.scales.view(-1, *[1] * (item.steps.ndim - 1))
        return item.values if isinstance(item, Number) else item

    return map_aggregate(arguments, value)


def _weights(quantizer: PerChannelFakeQuantize, weights: Tensor) -> Weights:
    scales = quantizer.scales(weights)
    steps = weights.double() / scales.double().view(-1, *[1] * (weights.ndim - 1))
    return Weights(steps.round().clamp(quantizer.quant_min, quantizer.quant_max).float(), scales)


def _rounded(quantizer: FakeQuantize, number: Number | Tensor) -> Levels:
    scale, zero_point = quantizer.scale, quantizer.zero_point
    if isinstance(number, Levels) and torch.equal(number.scale, scale) and torch.equal(number.zero_point, zero_point):
        return number
    steps = (number * (1 / scale)).round() if isinstance(number, Tensor) else number.rounded(scale)
    return Levels(steps.clamp(quantizer.quant_min - zero_point, quantizer.quant_max - zero_point), scale, zero_point)


def _convolved(images: Levels, weights: Weights, bias: Tensor | None = None, *rest: Any) -> Sums:
    """The bias in whole steps of the products."""
    if bias is not None:
        bias = (bias.double() / (images.scale.double() * weights.scales.double())).round().float()
    sums = torch.conv2d(images.steps, weights.steps, bias, *rest)
    return Sums(sums.round(), (images.scale * weights.scales).view(-1, 1, 1))  # GPUs have algorithms with fractions


def _averaged(images: Levels, node: Any) -> Sums:
    """As the convolution that `average_by_convolution` makes of it."""
    weights, stride, padding = average_weights(node)
    quantizer = PerChannelFakeQuantize.for_constants()
    return _convolved(images, _weights(quantizer, weights.to(images.steps)), None, stride, padding, 1, len(weights))


def _moved(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The steps moved, None when they are not all of one scale."""
    leaves = [item for item in pytree.tree_leaves((args, kwargs)) if isinstance(item, Levels | Tensor)]
    levels = [item for item in leaves if isinstance(item, Levels)]
    if len(levels) < len(leaves) or any(not torch.equal(item.scale, levels[0].scale) for item in levels):
        return None

    def steps(item: Any) -> Any:
        return item.steps if isinstance(item, Levels) else item

    found = target(*map_aggregate(args, steps), **kwargs)
    return map_aggregate(found, lambda item: replace(levels[0], steps=item))  # type: ignore[arg-type,return-value]
