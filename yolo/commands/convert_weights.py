"""`yolo convert-weights`: weights of other programs as a safetensors file in our naming."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo.errors import UserError
from yolo.options import parse_options


@dataclass(frozen=True)
class ConvertWeightsOptions:
    """Write the weights of any file that --model.weight_path takes as safetensors, under the names of this program."""

    source: Path
    """Checkpoint of this program, safetensors, or .pt file of WongKinYiu/yolov9 or WongKinYiu/YOLO."""
    output: Path
    """File to write, ending in .safetensors."""
    model: str | None = None
    """v9-t, v9-s, v9-m, v9-c or v9-e; found out from the tensors when left out."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    convert(
        parse_options(ConvertWeightsOptions, "convert-weights", arguments, positional=["source"], short={"output": "o"})
    )


def convert(options: ConvertWeightsOptions) -> None:
    """Read, translate, write, and print what was found. UserError names what cannot be used."""
    import torch

    from yolo.models.checkpoint import NetworkSpec
    from yolo.models.registry import MODELS
    from yolo.models.weights.files import write_tensors
    from yolo.models.weights.load import fill
    from yolo.models.weights.source import open_source

    if options.model not in (None, *MODELS):
        raise UserError(f"--model is {options.model!r}, expected one of {', '.join(MODELS)}")
    source = open_source(options.source, options.model)
    if source.architecture is None or source.classes is None:
        raise UserError(f"{options.source}: has no class branch, whose size the network would be built with")
    with torch.device("meta"):
        network = NetworkSpec(source.architecture, source.class_width).build(source.classes)
    report = fill(network, source)
    metadata = {
        "format": "pt",
        "architecture": source.architecture,
        "layout": "dual" if source.has_auxiliary else "gelan",
        "classes": str(source.classes),
        "class_width": str(source.class_width),
    }
    write_tensors(options.output, {name: source.tensors[name] for name in report.loaded}, metadata)
    print(report)
    print(f"written: {options.output}")
