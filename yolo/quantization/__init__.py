"""INT8 networks: which tensors are quantised how, calibration, and training with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import TypeIs

from yolo.models.checkpoint import NetworkSpec

if TYPE_CHECKING:
    from yolo.quantization.network import QuantizedNetwork

QUANTIZED_NETWORK = "yolo.quantization.network.QuantizedNetwork"
"""What a checkpoint of quantisation-aware training names as its network."""


def inner_network(spec: NetworkSpec) -> NetworkSpec | None:
    """The network in float that a quantised one is the form of, None for another network."""
    if spec.name != QUANTIZED_NETWORK:
        return None
    args = spec.args
    return NetworkSpec(str(args.get("network")), args.get("class_width"), dict(args.get("args") or {}))


def shown_name(spec: NetworkSpec) -> str:
    """Of a network, for people."""
    inner = inner_network(spec)
    return spec.name if inner is None else f"{inner.name} in INT8"


def told_apart(one: NetworkSpec, other: NetworkSpec) -> tuple[str, str]:
    """Names of two networks, with the options that they differ in where the names are the same."""
    names = shown_name(one), shown_name(other)
    if names[0] != names[1]:
        return names
    both = [{"class_width": spec.class_width, **spec.args} for spec in (one, other)]
    keys = [key for key in {**both[0], **both[1]} if both[0].get(key, "unset") != both[1].get(key, "unset")]
    first, second = (", ".join(f"{key} {options.get(key, 'unset')}" for key in keys) for options in both)
    return f"{names[0]} with {first}", f"{names[1]} with {second}"


def is_quantized(network: object) -> TypeIs[QuantizedNetwork]:
    """Whether a network is such a one; asks without torchao, which most programs do without."""
    return f"{type(network).__module__}.{type(network).__qualname__}" == QUANTIZED_NETWORK
