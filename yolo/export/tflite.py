"""TFLite files, by LiteRT's converter for PyTorch.

INT8 by torchao and our statement of TFLite's rules: against ai-edge-quantizer's on the finished file, INT8 is then what
quantisation-aware training learns too, and the file has no operator that only changes a scale. 16-bit and 8-bit weights
alone are ai-edge-quantizer's.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from yolo.errors import UserError
from yolo.export.config import FormatConfig, Source, Written
from yolo.forms import Form, Quantization

if TYPE_CHECKING:
    from torch import nn

PACKAGES = ("litert-torch", "ai-edge-litert", "ai-edge-quantizer")


@dataclass(frozen=True)
class TFLiteConfig(FormatConfig):
    """Options of TFLite files."""

    FORMS: ClassVar[tuple[Form, ...]] = ("split", "raw", "full")
    QUANTIZATIONS: ClassVar[tuple[Quantization, ...]] = ("fp32", "fp16", "dynamic", "int8")

    xnnpack_optimize: bool = True
    """Write what XNNPACK, which runs the file on CPUs, lacks in operators that it has; the function stays."""
    hardswish: bool = False
    """Put HardSwish in the place of every SiLU. That is another network, for which the weights were not trained: it takes
    a dataset, on which it is measured."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quantization == "int8" and self.form == "full":
            raise UserError(
                "--form is full, which --quantization int8 does not have: boxes of hundreds of pixels and scores up to "
                "1 would share one scale, and all scores be 0; split and raw keep them apart"
            )


def require(config: TFLiteConfig) -> None:
    """UserError that names the pip command unless everything that the config takes is installed."""
    packages = (*PACKAGES, *(["torchao"] if config.quantization == "int8" else []))
    missing = [package for package in packages if find_spec(package.replace("-", "_")) is None]
    if missing:
        raise UserError(f"TFLite export needs {' and '.join(missing)}: pip install 'yolo[tflite]'")


def write(source: Source, config: TFLiteConfig, path: Path) -> Written:
    """Write the file, with the record in it.

    Args:
        source: for INT8 with calibration images.
        config: options.
        path: of the file.
    """
    import torch

    from yolo.export import litert, xnnpack
    from yolo.export.int8_checks import check_int8
    from yolo.models.exportable import RawOutputs
    from yolo.quantization.post_training import exported_graph, quantize_after_training
    from yolo.quantization.rewrites import rewrite_for_xnnpack
    from yolo.runtime.tflite_file import write_record

    model, notes = source.model, []
    graph = exported_graph(RawOutputs(model), torch.zeros(1, 3, *model.image_size))
    if config.xnnpack_optimize:
        rewrite_for_xnnpack(graph, config.quantization == "int8")
    quantized: nn.Module | None = None
    if config.quantization == "int8":
        assert source.calibration is not None
        levels = range(len(model.levels))
        shared = [[2 * level for level in levels], [2 * level + 1 for level in levels]]
        graph, left = quantize_after_training(graph, source.calibration, shared)
        notes += [f"no INT8 rule for {name}, which stays in float" for name in sorted(set(left))]
        quantized = litert.WithOutputs(graph, model)
    layers = litert.ChannelsLast(litert.WithOutputs(graph, model))
    content = litert.convert(layers, model.image_size, config.quantization == "int8")
    if config.quantization in ("fp16", "dynamic"):
        content = litert.smaller_weights(content, config.quantization)
    path.write_bytes(content)
    failures = check_int8(graph, path) if config.quantization == "int8" else []
    write_record(path, source.record)
    operators, outside = xnnpack.operators(path)
    notes.append(f"XNNPACK takes all operators but {dict(outside)}" if outside else "XNNPACK takes all operators")
    return Written(dict(operators.most_common()), tuple(notes), tuple(failures), quantized)
