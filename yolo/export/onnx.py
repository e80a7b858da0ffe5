"""ONNX files, by torch.onnx.

By its tracing exporter: it writes any of the opsets below, where the one built on torch.export (torch 2.13) starts at
18 and hands over that opset whatever was asked for.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from yolo.errors import UserError
from yolo.export.config import FormatConfig, Source, Written
from yolo.forms import INPUT, Quantization
from yolo.quiet import quiet_descriptors

if TYPE_CHECKING:
    from onnx import ModelProto

    from yolo.quantization.network import QuantizedNetwork
    from yolo.runtime.metadata import ExportRecord

OPSETS = range(13, 21)
OPSET = 17
"""When none is asked for."""
GRAPH_OPSET = 18
"""The least that torch writes graphs of torch.export in, as networks that have learnt ranges are."""


@dataclass(frozen=True)
class OnnxConfig(FormatConfig):
    """Options of ONNX files."""

    QUANTIZATIONS: ClassVar[tuple[Quantization, ...]] = ("fp32", "int8")

    opset: int | None = None
    """Version of the ONNX operators, 13 to 20. Default: 17; 18, which is the least, for a checkpoint of yolo
    qat-finetune."""
    dynamic_batch: bool = False
    """Let a run take any number of images instead of one."""
    simplify: bool = False
    """Merge and drop operators with onnxslim; the numbers stay."""
    half: bool = False
    """16-bit weights, arithmetic and input, for GPUs; exported on one."""

    def __post_init__(self) -> None:
        if self.quantization == "fp16":
            raise UserError("--quantization is fp16, ONNX files are made of 16 bits by --half, on a GPU")
        super().__post_init__()
        if self.half and self.quantization is not None:
            raise UserError(f"--half makes a 16-bit file, --quantization is {self.quantization}: leave one of them out")
        if self.opset is not None and self.opset not in OPSETS:
            raise UserError(f"--opset is {self.opset}, expected one from {OPSETS[0]} to {OPSETS[-1]}")

    @property
    def numbers(self) -> Quantization:
        """fp16 for --half."""
        return "fp16" if self.half else super().numbers


def require(config: OnnxConfig) -> None:
    """UserError that names the pip command unless everything that the config takes is installed."""
    needed = ["onnx", "onnxruntime", *(["onnxslim"] if config.simplify else [])]
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        raise UserError(f"ONNX export needs {' and '.join(missing)}: pip install 'yolo[export]'")


def write(source: Source, config: OnnxConfig, path: Path, for_onnxruntime: bool = True) -> Written:
    """Write the file, with the record in it, after onnx.checker has passed it.

    Args:
        source: its model in float16 where the config says half. A network that has learnt ranges gives an INT8 file.
        config: options.
        path: of the file.
        for_onnxruntime: of an INT8 file: write it such that onnxruntime computes in integers.

    Raises:
        UserError: torch cannot express the network in this opset, or onnx.checker refuses the graph.
    """
    import onnx

    from yolo.quantization import is_quantized
    from yolo.runtime.metadata import RECORD_KEY

    record, network = source.record, source.model.network
    if is_quantized(network):
        _export_learnt(network, source, config, path, for_onnxruntime)
    else:
        _trace(source, config, path)
    proto = onnx.load(path)
    _name_shapes(proto, record)
    if config.simplify:
        import onnxslim

        proto = onnxslim.slim(proto)
    for node in proto.graph.node:
        node.ClearField("metadata_props")  # where in whose code it was traced
    onnx.helper.set_model_props(proto, {RECORD_KEY: record.to_json()})
    proto.producer_name, proto.producer_version = record.program.rpartition(" ")[::2]
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise UserError(f"onnx.checker refuses the graph: {' '.join(str(error).split())[:300]}") from error
    path.write_bytes(proto.SerializeToString())
    operators = Counter(node.op_type for node in proto.graph.node)
    return Written(dict(operators.most_common()))


def _trace(source: Source, config: OnnxConfig, path: Path) -> None:
    import torch

    model, opset = source.model, config.opset or OPSET
    sample = next(model.network.parameters())
    images = torch.zeros(1, 3, *model.image_size, dtype=sample.dtype, device=sample.device)
    names = list(source.record.outputs)
    with _quiet(), _operators_at_fault(opset), _warnings_kept(), quiet_descriptors():  # torch prints its graph
        torch.onnx.export(
            model,
            (images,),
            str(path),
            input_names=[INPUT],
            output_names=names,
            opset_version=opset,
            dynamic_axes={name: {0: "batch"} for name in (INPUT, *names)} if config.dynamic_batch else None,
            dynamo=False,
        )


def _export_learnt(
    learnt: QuantizedNetwork, source: Source, config: OnnxConfig, path: Path, for_onnxruntime: bool
) -> None:
    """A quantised network, as quantise and dequantise operators around float ones."""
    import onnx
    import torch

    from yolo.export.onnx_integers import compute_in_integers
    from yolo.models.exportable import WithOutputs
    from yolo.quantization.post_training import quantized_graph
    from yolo.quantization.rewrites import average_by_convolution

    prepared = average_by_convolution(learnt.with_scales()) if for_onnxruntime else learnt.with_scales()
    network = WithOutputs(quantized_graph(prepared, int8_weights=True), source.model).eval()
    names, shapes, opset = list(source.record.outputs), None, config.opset or GRAPH_OPSET
    if config.dynamic_batch:
        shapes = ({0: torch.export.Dim("batch", min=1, max=65536)},)
    with _quiet(), quiet_descriptors(), _operators_at_fault(opset):
        torch.onnx.export(
            network,
            (torch.zeros(1, 3, *source.model.image_size),),
            str(path),
            input_names=[INPUT],
            output_names=names,
            opset_version=opset,
            dynamic_shapes=shapes,
            external_data=False,
            dynamo=True,
        )
    if for_onnxruntime:
        proto = onnx.load(path)
        compute_in_integers(proto.graph)
        onnx.save(proto, path)


@contextlib.contextmanager
def _warnings_kept() -> Iterator[None]:
    """Give warnings behind what is silent."""
    said: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as said:
            yield
    finally:
        for entry in said:
            warnings.warn_explicit(entry.message, entry.category, entry.filename, entry.lineno)


@contextlib.contextmanager
def _operators_at_fault(opset: int) -> Iterator[None]:
    """Say in one sentence what of the network ONNX has no operator for."""
    from torch.onnx.errors import UnsupportedOperatorError

    try:
        yield
    except UnsupportedOperatorError as error:
        raise UserError(f"--opset is {opset}: {' '.join(str(error).split())[:300]}") from error


def _name_shapes(proto: ModelProto, record: ExportRecord) -> None:
    """Write into the outputs' shapes what the tracer left open: all but the batch is known."""
    for output in proto.graph.output:
        dimensions: Any = output.type.tensor_type.shape.dim
        for dimension, size in zip(dimensions[1:], record.outputs[output.name], strict=True):
            dimension.dim_value = size


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says about its tracer: that it is old, and that our shapes become constants, as they should.

    Of a network of one's own it is said: an `if` on numbers in an image is in the file as it was for one image.
    """
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        tracer: Any = torch.jit.TracerWarning  # type: ignore[attr-defined]
        warnings.filterwarnings("ignore", category=tracer, module=r"(yolo|torch)\.")
        yield
