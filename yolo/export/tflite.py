"""TFLite files, by LiteRT's converter for PyTorch.

INT8 by torchao and our statement of TFLite's rules: against ai-edge-quantizer's on the finished file, INT8 is then what
quantisation-aware training learns too, and the file has no operator that only changes a scale. 16-bit and 8-bit weights
alone are ai-edge-quantizer's.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from yolo.errors import UserError
from yolo.export import onnx2tf
from yolo.export.config import FormatConfig, Source, Written
from yolo.forms import Form, Quantization

if TYPE_CHECKING:
    from torch.fx import GraphModule

    from yolo.models.exportable import ExportableModel
    from yolo.quantization.integers import Integers

RUNTIME, CONVERTERS = "ai-edge-litert", ["litert-torch", "ai-edge-quantizer"]


@dataclass(frozen=True)
class TFLiteConfig(FormatConfig):
    """Options of TFLite files."""

    FORMS: ClassVar[tuple[Form, ...]] = ("split", "raw", "full")
    QUANTIZATIONS: ClassVar[tuple[Quantization, ...]] = ("fp32", "fp16", "dynamic", "int8")

    xnnpack_optimize: bool = True
    """Write what XNNPACK, which runs the file on CPUs, lacks in operators that it has; the function stays."""
    converter: Literal["litert", "onnx2tf"] = "litert"
    """What makes a TFLite file: LiteRT's converter for PyTorch, or onnx2tf by way of ONNX, for fp32 alone, in an
    environment of its own."""
    hardswish: bool = False
    """Put HardSwish in the place of every SiLU. That is another network, for which the weights were not trained: it
    takes a dataset, on which it is measured."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.converter == "onnx2tf" and self.numbers != "fp32":
            raise UserError(f"--quantization is {self.numbers}, --converter onnx2tf makes fp32 files")
        if self.quantization == "int8" and self.form == "full":
            raise UserError(
                "--form is full, which --quantization int8 does not have: boxes of hundreds of pixels and scores up to "
                "1 would share one scale, and all scores be 0; split and raw keep them apart"
            )


def require(config: TFLiteConfig) -> None:
    """UserError that names the pip command unless everything that the config takes is installed."""
    packages = [RUNTIME]
    if config.converter == "litert":
        packages += CONVERTERS + (["torchao"] if config.numbers == "int8" else [])
    missing = [package for package in packages if find_spec(package.replace("-", "_")) is None]
    if missing:
        raise UserError(f"TFLite export needs {' and '.join(missing)}: pip install 'yolo[tflite]'")
    if config.converter == "onnx2tf":
        onnx2tf.require()


def write(source: Source, config: TFLiteConfig, path: Path) -> Written:
    """Write the file, with the record in it.

    Args:
        source: for INT8 with calibration images, unless its network has learnt its ranges.
        config: options.
        path: of the file.
    """
    from yolo.export import xnnpack
    from yolo.export.decode_check import decode_failures
    from yolo.export.int8_checks import check_int8
    from yolo.export.weight_check import weight_failures
    from yolo.models.exportable import WithOutputs
    from yolo.runtime.tflite_file import write_record

    if config.converter == "onnx2tf":
        made = _by_onnx2tf(source)
    elif config.numbers == "int8":
        made = _in_int8(source, config)
    else:
        made = _in_float(source, config)
    path.write_bytes(made.content)
    write_record(path, source.record)
    failures = [] if made.graph is None else check_int8(made.graph, path)
    if made.in_float is not None:
        failures += weight_failures(made.in_float, path)
    if config.converter == "litert" and source.model.form != "raw":
        failures += decode_failures(source.model, path)
    operators, outside = xnnpack.operators(path)
    taken = f"XNNPACK takes all operators but {dict(outside)}" if outside else "XNNPACK takes all operators"
    quantized = None if made.integers is None else WithOutputs(made.integers, source.model)
    return Written(dict(operators.most_common()), (*made.notes, taken), tuple(failures), quantized)


@dataclass(frozen=True)
class _Converted:
    content: bytes
    """Of the file, without a record in it."""
    notes: tuple[str, ...] = ()
    graph: GraphModule | None = None
    """What an INT8 file was made of."""
    integers: Integers | None = None
    """What the network in it computes, where ranges are those of calibration."""
    in_float: bytes | None = None
    """What a file of smaller weights alone was made of."""


def _by_onnx2tf(source: Source) -> _Converted:
    with tempfile.TemporaryDirectory() as folder:
        return _Converted(onnx2tf.convert(source, Path(folder)).tflite.read_bytes())


def _in_float(source: Source, config: TFLiteConfig) -> _Converted:
    from yolo.export import litert
    from yolo.models.exportable import WithOutputs
    from yolo.quantization.rewrites import upsample_by_concatenation

    graph = _graph(source.model)
    network = WithOutputs(upsample_by_concatenation(graph) if config.xnnpack_optimize else graph, source.model)
    content = litert.convert(litert.ChannelsLast(network), source.model.image_size, quantized=False)
    if config.numbers in ("fp16", "dynamic"):
        return _Converted(litert.smaller_weights(content, config.numbers), in_float=content)
    return _Converted(content)


def _in_int8(source: Source, config: TFLiteConfig) -> _Converted:
    from yolo.export import litert
    from yolo.models.exportable import WithOutputs
    from yolo.quantization import is_quantized
    from yolo.quantization.integers import Integers
    from yolo.quantization.post_training import copied, quantized_graph
    from yolo.quantization.rewrites import rewrite_for_xnnpack

    prepared, left = _with_ranges(source)
    learnt = is_quantized(source.model.network)  # computes in them itself
    integers = None if learnt else Integers(copied(prepared))
    graph = quantized_graph(rewrite_for_xnnpack(prepared) if config.xnnpack_optimize else prepared)
    network = WithOutputs(graph, source.model)
    content = litert.convert(litert.ChannelsLast(network), source.model.image_size, quantized=True)
    notes = tuple(f"no INT8 rule for {name}, which stays in float" for name in sorted(set(left)))
    return _Converted(content, notes, graph, integers)


def _graph(model: ExportableModel) -> GraphModule:
    import torch

    from yolo.models.exportable import RawOutputs
    from yolo.quantization.post_training import exported_graph

    return exported_graph(RawOutputs(model), torch.zeros(1, 3, *model.image_size))


def _with_ranges(source: Source) -> tuple[GraphModule, tuple[str, ...]]:
    """The graph with fake quantisers, learnt or calibrated, and the operators that have no rule."""
    from yolo.quantization import is_quantized
    from yolo.quantization.network import shared_ranges
    from yolo.quantization.post_training import calibrated_graph

    model = source.model
    if is_quantized(model.network):
        return model.network.with_scales(), model.network.left_in_float
    assert source.calibration is not None, "the command sees to it"
    return calibrated_graph(_graph(model), source.calibration, shared_ranges(len(model.levels)))
