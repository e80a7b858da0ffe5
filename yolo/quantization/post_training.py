"""INT8 after training: ranges from calibration images, then a graph that computes as the device will."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from yolo.errors import UserError
from yolo.quiet import quiet_descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator

Network = TypeVar("Network", bound=nn.Module)


def exported_graph(network: nn.Module, images: Tensor, any_batch: bool = False) -> GraphModule:
    """The network as a graph of ATen operators for inputs shaped like `images`, in any number if so asked.

    UserError when what it computes depends on the numbers in the images, which a graph cannot.
    """
    shapes = ({0: torch.export.Dim("batch", min=1, max=65536)},) if any_batch else None
    with _quiet(), torch.no_grad():
        try:
            exported: Any = torch.export.export(network.eval(), (images,), dynamic_shapes=shapes, strict=False).module()
        except RuntimeError as error:  # as its own exceptions are
            reason = (str(error).strip() or repr(error)).splitlines()[0]
            raise UserError(f"torch.export cannot make a graph of the network: {reason}") from error
    return exported


@torch.no_grad()
def calibrated_graph(
    graph: GraphModule, calibration: Iterable[Tensor], shared_outputs: Iterable[Iterable[int]]
) -> tuple[GraphModule, tuple[str, ...]]:
    """Put fake quantisers into the graph and find the range of every tensor.

    Args:
        graph: of a network with normalisation fused, by `exported_graph`; it is used up.
        calibration: float32 [1, 3, H, W] in 0..1 each.
        shared_outputs: numbers of outputs with a common range.

    Returns:
        The graph, and the operators that TFLite's rules do not cover, which stay in float.
    """
    prepared, left_in_float = with_fake_quantizers(graph, shared_outputs)
    for images in calibration:
        prepared(images)
    return prepared, left_in_float


def with_fake_quantizers(
    graph: GraphModule, shared_outputs: Iterable[Iterable[int]], keep_float: Iterable[str] = ()
) -> tuple[GraphModule, tuple[str, ...]]:
    """Put a fake quantiser behind every tensor, in mode calibrate, by TFLite's rules.

    Args:
        graph: as above.
        shared_outputs: as above.
        keep_float: names or patterns of parts of the network that stay in float.

    Returns:
        The graph, and the operators without a rule.

    Raises:
        UserError: a pattern matches no part.
    """
    with _quiet():
        from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e

        from yolo.quantization.tflite_rules import TFLiteQuantizer

        quantizer = TFLiteQuantizer(shared_outputs, keep_float)
        prepared = _with_modes(prepare_qat_pt2e(graph, quantizer))
    for pattern, count in quantizer.kept.items():
        if not count:
            raise UserError(f"--keep-float {pattern} matches no part of the network")
    _name_by_tensor(prepared)
    return prepared, tuple(quantizer.left_in_float)


def _name_by_tensor(prepared: GraphModule) -> None:
    """Call each fake quantiser after the first tensor behind which it stands: torchao numbers them through, so that
    checkpoints would depend on every rule."""
    from yolo.quantization.fake_quantize import FakeQuantize

    names: dict[str, str] = {}
    for node in prepared.graph.nodes:
        if node.op != "call_module" or not isinstance(prepared.get_submodule(node.target), FakeQuantize):
            continue
        if node.target not in names:
            names[node.target] = f"range_{node.args[0].name}"
            prepared.add_submodule(names[node.target], prepared.get_submodule(node.target))
        node.target = names[node.target]
    for name in names:
        delattr(prepared, name)
    prepared.recompile()


@torch.no_grad()
def quantized_graph(prepared: GraphModule, int8_weights: bool = False) -> GraphModule:
    """Quantise and dequantise operators in the place of fake quantisers, which are used up with the graph.

    Args:
        prepared: by `with_fake_quantizers`, calibrated or trained.
        int8_weights: keep weights as int8, where else they are float beside their quantiser, as LiteRT's converter
            (0.10) needs them.
    """
    with _quiet():
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

        _part_equal_biases(prepared)
        return _with_modes(convert_pt2e(prepared, fold_quantize=int8_weights))


def _with_modes(graph: GraphModule) -> GraphModule:
    """With `train` and `eval` of any module. Those of torchao look for dropout and normalisation, which a deployed
    network has not, and draw random numbers for that."""
    for name in ("train", "eval"):
        vars(graph).pop(name, None)
    return graph


def copied(network: Network) -> Network:
    """A deep copy."""
    with _quiet():
        return copy.deepcopy(network)


def _part_equal_biases(graph: GraphModule) -> None:
    """Make the last of biases that are all equal the next number: LiteRT's converter (0.5) quantises all but the first
    of such biases wrongly. Those of a trained network are not, but the class priors of a new one are."""
    for tensor in graph.state_dict().values():
        if tensor.ndim == 1 and tensor.is_floating_point() and len(tensor) > 1 and bool((tensor == tensor[0]).all()):
            tensor[-1] = torch.nextafter(tensor[-1], tensor.new_tensor(torch.inf))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch and torchao say of their own insides, some of it when they are imported."""
    with warnings.catch_warnings(), quiet_descriptors():
        warnings.simplefilter("ignore")
        yield
