"""RKNN files for Rockchip's NPUs, by rknn-toolkit2 in its own environment."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from yolo.errors import UserError
from yolo.export import onnx
from yolo.export.config import FormatConfig, Source, Written
from yolo.forms import Form, Quantization

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from yolo.runtime.metadata import ExportRecord

PLATFORMS = (
    "rk3588", "rk3576", "rk3568", "rk3566", "rk3562", "rv1126b", "rv1106b", "rv1106", "rv1103b", "rv1103",
)  # fmt: skip
"""What rknn-toolkit2 2.5.0 compiles for, less rk2118: there its compiler dies of an INT8 v9-t."""
INTEGER_ONLY = ("rv1106b", "rv1106", "rv1103b", "rv1103")
"""Those without float16."""
LONGEST = 1023
"""Characters of text that the toolkit takes into a file."""
COSINE, INTEGER_COSINE = 0.998, 0.98
"""Least cosine between a raw map of an INT8 file and the float network's, over some of its calibration images: with the
edges in float16, and all in 8 bits. A v9-t of bccd has 0.9991 to 0.9998, by the images that it is calibrated with, and
0.9920."""


@dataclass(frozen=True)
class RknnConfig(FormatConfig):
    """Options of RKNN files."""

    FORMS: ClassVar[tuple[Form, ...]] = ("raw",)
    QUANTIZATIONS: ClassVar[tuple[Quantization, ...]] = ("int8", "fp16")

    target_platform: str = "rk3588"
    """Chip that an RKNN file is for: rk3588, rk3576, rk3568, rk3566, rk3562, rv1126b, rv1106b, rv1106, rv1103b or
    rv1103; the last four have INT8 alone."""
    float_edges: bool = True
    """Keep the first convolution of an INT8 RKNN file, and the last two in front of its box logits, in float16, where
    the chip has it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target_platform not in PLATFORMS:
            raise UserError(f"--target-platform is {self.target_platform}, expected one of {', '.join(PLATFORMS)}")
        if self.numbers == "fp16" and self.target_platform in INTEGER_ONLY:
            raise UserError(f"--quantization is fp16, but {self.target_platform} has INT8 alone")

    @property
    def has_float_edges(self) -> bool:
        """Whether an INT8 file is in part float16."""
        return self.float_edges and self.target_platform not in INTEGER_ONLY


def require(_: RknnConfig) -> None:
    """UserError that says what to install unless everything that the config takes is there."""
    from yolo.runtime.rknn import ENVIRONMENT

    onnx.require(onnx.OnnxConfig())
    ENVIRONMENT.require_package()


def write(source: Source, config: RknnConfig, path: Path) -> Written:
    """Write the file, and beside it what the simulator runs in its stead.

    Args:
        source: with images to calibrate with for INT8.
        config: options.
        path: of the file.

    Raises:
        UserError: the toolkit refuses the network.
    """
    from yolo.environments import run_worker
    from yolo.export.rknn_graph import adapt
    from yolo.quantization import is_quantized
    from yolo.runtime.rknn import ENVIRONMENT, write_simulation

    numbers, learnt = config.numbers, is_quantized(source.model.network)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx.write(source, onnx.OnnxConfig(form="raw"), folder / "model.onnx", for_onnxruntime=False)
        if learnt:
            adapt(folder / "model.onnx")
        settings = {
            "quantization": "learnt" if learnt else numbers,
            "target_platform": config.target_platform,
            "float_edges": config.has_float_edges,
            "custom_string": text_in_file(source.record),
        }
        (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        if numbers == "int8" and not learnt:
            assert source.calibration is not None, "the command sees to it"
            _write_images(source.calibration.pixels(), folder)
        made = json.loads(run_worker(ENVIRONMENT.python(), "rknn_convert.py", folder))
        path.write_bytes((folder / "model.rknn").read_bytes())
        write_simulation(path, source.record, folder, made["files"])
    note = f"for {config.target_platform}, run by rknn-toolkit2's simulator and not by a chip"
    if learnt:
        return Written(made["operators"], (note, "ranges as learnt in training"))
    written = Written(made["operators"], (note,))
    return _compared(source, config, path, written) if numbers == "int8" else written


def _compared(source: Source, config: RknnConfig, path: Path, written: Written) -> Written:
    """An INT8 file with the cosines of its outputs."""
    from yolo.export.cosine import cosines
    from yolo.runtime.rknn import open_network

    found = cosines(source, open_network(path))
    parts = "the first convolution and the last two for boxes in float16" if config.has_float_edges else "all in 8 bits"
    shown = ", ".join(f"{name} {cosine:.5f}" for name, cosine in found.items())
    note = f"{parts}; cosine with the float network's on calibration images: {shown}"
    least = COSINE if config.has_float_edges else INTEGER_COSINE
    failures = [
        f"{name}: cosine {cosine:.5f} with the float network's on calibration images, at least {least} is asked"
        for name, cosine in found.items()
        if not cosine >= least  # so that NaN fails
    ]
    return Written(written.operators, (*written.notes, note), tuple(failures))


def text_in_file(record: ExportRecord) -> str:
    """What hosts that decode the outputs have to know, in JSON; without the classes where there are too many."""
    known = record.to_dict()
    names = ("program", "image_size", "letterbox", "strides", "bins", "quantization", "class_names")
    for kept in (names, names[:-1]):
        text = json.dumps({name: known[name] for name in kept})
        if len(text) <= LONGEST:
            return text
    raise UserError(f"the network is too large to describe in the {LONGEST} characters that RKNN files have room for")


def _write_images(pixels: Iterator[NDArray[np.uint8]], folder: Path) -> None:
    """[H, W, 3] each, in files that are listed in `images.txt`.

    As arrays: pictures the toolkit would decode by itself, into an order of channels that an option of its own says.
    """
    import numpy as np

    with (folder / "images.txt").open("w", encoding="utf-8") as listed:
        for number, image in enumerate(pixels):
            np.save(folder / f"{number}.npy", image.transpose(2, 0, 1)[None])
            listed.write(f"{number}.npy\n")  # where the toolkit will work; it splits paths at blanks
