"""How far an exported file is from the network it was made of, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from yolo.boxes.nms import NMSOptions
from yolo.export.bars import BARS, Bars, bars_for
from yolo.export.stages import Conversion, Stage, compare_decoded
from yolo.forms import Quantization
from yolo.models.detection_model import DetectionModel
from yolo.models.exportable import ExportableModel
from yolo.quantization import is_quantized
from yolo.runtime.network import ExportedNetwork

BATCHES = (1, 5)
"""Numbers of images per run that a file with a dynamic batch is tried with."""
JITTER = 1e-6
"""Relative change of the pixels that the checkpoint's own answer is tried with. What it does to that answer is as large
as what rounding does (measured: deployed against checkpoint, v9-t, s, c and e), and no file can be nearer."""

DEPLOYED = "torch, deployed"
"""The stage of the exportable model."""
QUANTIZED = "torch, quantised"
"""The stage of what an INT8 file computes."""


class CheckFailedError(Exception):
    """An exported file does not compute what its checkpoint computes: one sentence for each check that it failed."""

    def __init__(self, failures: Sequence[str]) -> None:
        super().__init__("; ".join(failures))
        self.failures = tuple(failures)


@dataclass(frozen=True)
class Networks:
    """What is compared."""

    checkpoint: DetectionModel
    """As it was trained, in eval mode."""
    exportable: ExportableModel
    """What the file was made of."""
    file: ExportedNetwork
    """As its users run it."""
    quantized: nn.Module | None = None
    """What an INT8 file computes, in torch, with the outputs of the exportable model; None where that one does."""


@dataclass(frozen=True)
class Trial:
    """What it is compared on."""

    images: Tensor
    """float32 [N, 3, H, W] in 0..1, on the CPU."""
    source: str
    """Where they come from, in words."""
    options: NMSOptions


@dataclass(frozen=True)
class Parity:
    """The whole comparison."""

    images: int
    source: str
    """Where the images come from, in words."""
    confidence: float
    """Of the detections."""
    bars: Bars
    """Of the file."""
    deployed_bars: Bars
    """Of the exportable model: those of its own numbers, whatever the file's."""
    noise: Stage
    """The checkpoint on images changed by JITTER."""
    stages: tuple[Stage, ...]
    """Against the checkpoint."""
    score_levels: int
    """Different scores that the file gave."""
    conversion: Conversion | None = None

    @property
    def failures(self) -> list[str]:
        """The checks that fail, in words."""
        found = []
        for stage in self.stages:
            found += stage.failures(self.deployed_bars if stage.name == DEPLOYED else self.bars)
        if self.score_levels < 2:
            found.append(f"{self.stages[-1].name}: all scores are the same")
        return found + (self.conversion.failures if self.conversion else [])

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "failures": self.failures}


@torch.inference_mode()
def compare_stages(networks: Networks, trial: Trial) -> Parity:
    """Run images through the checkpoint's network, the exportable model, its quantised form if any, and the file."""
    checkpoint, exportable, file = networks.checkpoint, networks.exportable, networks.file
    images, options, quantization = trial.images, trial.options, networks.file.record.quantization
    reference = torch.cat([_decoded(checkpoint, image[None]) for image in images])
    changed = torch.cat([_decoded(checkpoint, image[None]) for image in jittered(images)])

    def noise_within(numbers: Quantization) -> Stage:
        name = f"checkpoint, images changed by {JITTER:g}"
        return compare_decoded(name, reference, changed, options, BARS[numbers])

    noise, deployed = noise_within(quantization), _numbers(exportable)
    bars, deployed_bars = bars_for(quantization, noise), bars_for(deployed, noise_within(deployed))
    steps: dict[str, nn.Module] = {DEPLOYED: exportable}
    if networks.quantized is not None:
        steps[QUANTIZED] = networks.quantized
    found = {
        name: torch.cat([file.decode(_maps(step, exportable, image[None])) for image in images])
        for name, step in steps.items()
    }
    batches = BATCHES if file.record.batch is None else (file.record.batch,)
    for batch in batches:
        found[f"file, batch {batch}"] = torch.cat([_decoded(file, some) for some in images.split(batch)])
    last, decoded = list(found.items())[-1]
    stages = {
        name: compare_decoded(name, reference, each, options, deployed_bars if name == DEPLOYED else bars)
        for name, each in found.items()
    }
    conversion = None
    if is_quantized(checkpoint):
        learnt = checkpoint.in_float()
        in_float = torch.cat([_decoded(learnt, image[None]) for image in images])
        cost = compare_decoded(f"{DEPLOYED}, against float", in_float, reference, options, bars)
        conversion = Conversion(stages[last], cost)
    elif QUANTIZED in found:
        against = compare_decoded(f"{last}, against quantised", found[QUANTIZED], decoded, options, bars)
        conversion = Conversion(against, stages[QUANTIZED])
    levels = len(decoded[:, 4:].unique())
    return Parity(
        images=len(images),
        source=trial.source,
        confidence=options.confidence,
        bars=bars,
        deployed_bars=deployed_bars,
        noise=noise,
        stages=tuple(stages.values()),
        score_levels=levels,
        conversion=conversion,
    )


def _numbers(exportable: ExportableModel) -> Quantization:
    """What it computes in before it is a file."""
    if is_quantized(exportable.network):
        return "int8"
    half = any(weight.dtype == torch.float16 for weight in exportable.network.parameters())
    return "fp16" if half else "fp32"


def _decoded(model: DetectionModel, images: Tensor) -> Tensor:
    maps, *_ = model(images)
    return model.decode(maps)


def _maps(step: nn.Module, exportable: ExportableModel, images: Tensor) -> list[Tensor]:
    """What a module with an exportable model's outputs says, as `ExportedNetwork.decode` takes it, on the CPU."""
    weights = next(exportable.network.parameters())
    outputs = [output.float().cpu() for output in step(images.to(weights.device, weights.dtype))]
    if exportable.form != "raw":
        return outputs
    return [torch.cat(pair, 1) for pair in zip(outputs[::2], outputs[1::2], strict=True)]


def jittered(images: Tensor, seed: int = 0) -> Tensor:
    """The images, each pixel times a number within JITTER of 1."""
    generator = torch.Generator().manual_seed(seed)
    return images * (1 + JITTER * (2 * torch.rand(images.shape, generator=generator) - 1))


def random_images(number: int, size: tuple[int, int], seed: int = 0) -> Tensor:
    """float32 [number, 3, H, W] in 0..1: coarse patches of colour and fine noise."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size
    patches = torch.rand(number, 3, max(height // 32, 1), max(width // 32, 1), generator=generator)
    noise = torch.rand(number, 3, height, width, generator=generator)
    return (0.8 * torch.nn.functional.interpolate(patches, size) + 0.2 * noise).clamp(0, 1)
