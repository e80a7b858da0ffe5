"""What an INT8 file computes, in the integers that it computes in.

Numbers of int8 and their sums are whole numbers that float32 holds exactly, so torch's own operators do the arithmetic;
what is written here is how XNNPACK, which runs TFLite files, rounds the sums to the next tensor's levels. A simulation
in float, which training needs for its gradients, rounds a few of them the other way, and some layers on every tenth
number that a detector answers is another.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Interpreter
from torch.fx.node import Node, Target, map_aggregate

from yolo.quantization.fake_quantize import FakeQuantize, PerChannelFakeQuantize
from yolo.quantization.rewrites import average_weights, is_average_by_convolution
from yolo.quantization.tflite_rules import CONVOLUTIONS, FUSED

aten = torch.ops.aten
ADDED_BITS = 20
"""Of the larger of two factors with which XNNPACK brings the terms of a sum to one scale."""
ADDED = (2**-10, 2**8)
"""What it takes of such factors; sums of others are LiteRT's own, and rounded here as in float."""


@dataclass(frozen=True)
class Steps:
    """Numbers as multiples of a scale."""

    steps: Tensor
    """Whole numbers in float32, 0 for 0."""
    scale: Tensor
    """Of a step; [1], or one of each output channel, shaped to be multiplied with."""

    @property
    def values(self) -> Tensor:
        """What they stand for."""
        return self.steps * self.scale


class Levels(Steps):
    """A quantised activation."""


class Weights(Steps):
    """Of a convolution [out, ...]."""


class Sums(Steps):
    """Of products of steps, as yet in 32 bits."""

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
        if not all(ADDED[0] <= factor < ADDED[1] for factor in factors):
            return (self.values / scale).round()
        shift = ADDED_BITS + 1 - math.frexp(max(factors))[1]
        one, other = (
            term.steps.int() * round(math.ldexp(factor, shift))
            for term, factor in zip(self.terms, factors, strict=True)
        )
        return ((one + other + (1 << (shift - 1))) >> shift).float()


@dataclass(frozen=True)
class Activated:
    """A result and the activation behind it, which TFLite computes in the same operator."""

    inner: Sums | Addition
    activation: Callable[[Tensor], Tensor]

    @property
    def values(self) -> Tensor:
        """What they stand for."""
        return self.activation(self.inner.values)

    def rounded(self, scale: Tensor) -> Tensor:
        """In steps of another scale: rounded, then activated."""
        return (self.activation(self.inner.rounded(scale) * scale) / scale).round()


class Integers(Interpreter):
    """Runs a graph of `with_fake_quantizers`, calibrated or trained; what has no rule here is computed in float.

    Equal to the bit to what LiteRT (2.3, XNNPACK on x86) answers of a file that was rewritten for XNNPACK, as long as
    neither a sum of products nor a bias reaches 2^24 steps. Not traceable: export a network's graph, not the network.
    """

    def __call__(self, images: Tensor) -> Any:
        """As the graph, in whatever precision the rest of a program is."""
        with torch.autocast(images.device.type, enabled=False):
            return self.run(images.float())

    def run_node(self, n: Node) -> Any:
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
        """Operators that compute do so in steps; those that move values may move them in float."""
        if target in CONVOLUTIONS and isinstance(args[0], Levels) and isinstance(args[1], Weights):
            return _convolved(args[0], args[1], *args[2:])
        if target == aten.mul.Tensor and all(isinstance(factor, Levels) for factor in args):
            return Sums(args[0].steps * args[1].steps, args[0].scale * args[1].scale)
        if target == aten.add.Tensor and all(isinstance(term, Levels) for term in args) and not kwargs:
            return Addition((args[0], args[1]))
        if target in FUSED and isinstance(args[0], Sums | Addition):
            return Activated(args[0], lambda values: target(values, *args[1:], **kwargs))
        return super().call_function(target, _values(args), _values(kwargs))

    def output(self, target: Target, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """In float."""
        return super().output(target, _values(args), kwargs)


def _values(arguments: Any) -> Any:
    """The same in float."""
    number = Steps | Addition | Activated
    return map_aggregate(arguments, lambda item: item.values if isinstance(item, number) else item)


def _weights(quantizer: PerChannelFakeQuantize, weights: Tensor) -> Weights:
    scales = quantizer.scales(weights).view(-1, *[1] * (weights.ndim - 1))
    steps = half_away(weights.double() / scales.double())
    return Weights(steps.clamp(quantizer.quant_min, quantizer.quant_max).float(), scales)


def half_away(steps: Tensor) -> Tensor:
    """Constants in 64 bits, rounded as the converter does: half away from 0."""
    return steps.sign() * (steps.abs() + 0.5).floor()


def _rounded(quantizer: FakeQuantize, number: Any) -> Levels:
    scale, zero_point = quantizer.scale, quantizer.zero_point
    whole = isinstance(number, Sums | Addition | Activated)
    steps = number.rounded(scale) if whole else (_values(number) * (1 / scale)).round()
    return Levels(steps.clamp(quantizer.quant_min - zero_point, quantizer.quant_max - zero_point), scale)


def _convolved(images: Levels, weights: Weights, bias: Tensor | None = None, *rest: Any) -> Sums:
    """The bias in whole steps of the products."""
    scales = weights.scale.flatten()
    if bias is not None:
        bias = half_away(bias.double() / (images.scale.double() * scales.double())).float()
    sums = torch.conv2d(images.steps, weights.steps, bias, *rest)
    return Sums(sums.round(), (images.scale * scales).view(-1, 1, 1))  # GPUs have algorithms with fractions


def _averaged(images: Levels, node: Node) -> Sums:
    """As the convolution that `average_by_convolution` makes of it."""
    weights, stride, padding = average_weights(node)
    quantizer = PerChannelFakeQuantize.for_constants()
    return _convolved(images, _weights(quantizer, weights.to(images.steps)), None, stride, padding, 1, len(weights))
