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


def is_quantized(network: object) -> TypeIs[QuantizedNetwork]:
    """Whether a network is such a one; asks without torchao, which most programs do without."""
    return f"{type(network).__module__}.{type(network).__qualname__}" == QUANTIZED_NETWORK
