"""What the formats of `yolo export` have in common: their options, and what writing one gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from yolo.errors import UserError
from yolo.forms import Form, Quantization

if TYPE_CHECKING:
    from torch import nn

    from yolo.models.exportable import ExportableModel
    from yolo.quantization.calibration import Calibration
    from yolo.runtime.metadata import ExportRecord


@dataclass(frozen=True)
class FormatConfig:
    """Options of every format; each has a subclass with its own and with what it can do."""

    FORMS: ClassVar[tuple[Form, ...]] = ("full", "split", "raw")
    """Forms of output that the format has, the one when none is asked for first."""
    QUANTIZATIONS: ClassVar[tuple[Quantization, ...]] = ("fp32",)
    """Numbers that its files can have, those when none are asked for first."""

    form: Form | None = None
    """What comes out: full, boxes and scores in one tensor output0 (of ONNX and SavedModel unless another is asked
    for); split, the two apart (TFLite); raw, the logits of each level (RKNN)."""
    quantization: Quantization | None = None
    """Numbers of the file: fp32 (the default but of RKNN); fp16, 16-bit weights; dynamic, 8-bit weights; int8 (the
    default of RKNN), 8-bit weights and activations, which takes images to calibrate with."""

    def __post_init__(self) -> None:
        name = type(self).__name__.removesuffix("Config")
        if self.form not in (None, *self.FORMS):
            raise UserError(f"--form is {self.form}, {name} files have {', '.join(self.FORMS)}")
        if self.quantization not in (None, *self.QUANTIZATIONS):
            known = ", ".join(self.QUANTIZATIONS)
            raise UserError(f"--quantization is {self.quantization}, {name} files are {known}")

    @property
    def output_form(self) -> Form:
        """The form asked for, or the format's usual one."""
        return self.form or self.FORMS[0]

    @property
    def numbers(self) -> Quantization:
        """What the file's record says of its numbers: those asked for, or the format's usual ones."""
        return self.quantization or self.QUANTIZATIONS[0]


@dataclass(frozen=True)
class Source:
    """What a file is made of."""

    model: ExportableModel
    record: ExportRecord
    """What the file says about itself."""
    calibration: Calibration | None = None


@dataclass(frozen=True)
class Written:
    """A file that was written, as far as its writer knows it."""

    operators: Mapping[str, int]
    """How often each occurs in it."""
    notes: tuple[str, ...] = ()
    """Sentences for the report."""
    failures: tuple[str, ...] = ()
    """Checks of the format's own that the file fails, a sentence each; then it is not handed over."""
    quantized: nn.Module | None = None
    """What an INT8 file computes, in torch, where that is not its model: float [1, 3, H, W] in 0..1 to the outputs of
    the form."""
