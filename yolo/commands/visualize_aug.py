"""`yolo visualize-aug`: training samples with their boxes, made by the very objects that training makes them with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from yolo.commands.data_config import DataModuleArguments, parse_data_command
from yolo.commands.output_place import require_place
from yolo.commands.picture_output import NOT_ENCRYPTED
from yolo.errors import UserError, require_ranges

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from yolo.data.batch import Sample
    from yolo.data.datamodule import YOLODataModule
    from yolo.data.dataset import DetectionDataset
    from yolo.data.sampler import TrainingItem

GRID_COLUMNS = 4
GRID_TILE = 480


@dataclass(frozen=True)
class VisualizeOptions:
    """Draw training samples, augmented as the config says, with their boxes."""

    num_samples: int = 10
    """How many samples are drawn: the first that training sees in the epoch."""
    indices: str | None = None
    """Draw these images instead: positions in the training split from 0, separated by commas."""
    output: Path = Path("aug_viz")
    """Folder for the pictures: aug_0005.jpg is the sample of image 5."""
    show_original: bool = False
    """Draw the images before augmentation as well: orig_0005.jpg."""
    grid: bool = False
    """Write one picture grid.jpg of four columns instead of one per sample."""
    epoch: int = 0
    """The epoch, from 0, whose random draws are shown."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    short = {"num_samples": "n", "output": "o"}
    options, data = parse_data_command("visualize-aug", VisualizeOptions, arguments, short=short)
    require_ranges(options, {"num_samples": (1, float("inf")), "epoch": (0, float("inf"))}, "--")
    written = visualize(options, data)
    print(f"{written} in {options.output}")


def visualize(options: VisualizeOptions, data: DataModuleArguments) -> str:
    """Write the pictures; returns what was written."""
    from yolo.evaluation.draw import contact_sheet, fit_boxes, save_jpeg

    require_place(options.output, ["grid.jpg"], data=data.options)
    module, dataset, items = training_items(data, options.epoch)
    names = module.class_names
    chosen = _choose(options, items)
    if module.confidential:
        print(NOT_ENCRYPTED)
    options.output.mkdir(parents=True, exist_ok=True)
    tiles = []
    for item in chosen:
        for kind, sample in _samples(dataset, item, options.show_original):
            if options.grid:
                image, boxes = fit_boxes(sample.image, sample.boxes, min(GRID_TILE, max(sample.image.shape[:2])))
                tiles.append(_draw(replace(sample, image=image, boxes=boxes), names))
            else:
                save_jpeg(_draw(sample, names), options.output / f"{kind}_{item.index:04d}.jpg")
    if options.grid:
        save_jpeg(contact_sheet(tiles, GRID_COLUMNS, max(max(t.shape[:2]) for t in tiles)), options.output / "grid.jpg")
        return f"grid.jpg of {_pictures(len(tiles))}"
    return _pictures(len(chosen) * (1 + options.show_original))


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"


def training_items(
    data: DataModuleArguments, epoch: int
) -> tuple[YOLODataModule, DetectionDataset, list[TrainingItem]]:
    """The data module of training, the dataset it would read from, and the items of an epoch in training's order."""
    from yolo.data.dataset import DetectionDataset
    from yolo.data.sampler import EpochSampler

    # Colour on the device is exact colour at another place, and there is no device here.
    colour = "exact" if data.options.colour == "device" else data.options.colour
    module = replace(data, options=replace(data.options, num_workers=0, colour=colour)).datamodule()
    module.setup("train")
    loader = module.train_dataloader()
    dataset, sampler = loader.dataset, loader.sampler
    assert isinstance(dataset, DetectionDataset)
    assert isinstance(sampler, EpochSampler)
    sampler.set_epoch(epoch)
    return module, dataset, list(sampler)


def _choose(options: VisualizeOptions, items: list[TrainingItem]) -> list[TrainingItem]:
    if options.indices is None:
        return items[: options.num_samples]
    by_index = {item.index: item for item in items}
    chosen = []
    for word in options.indices.split(","):
        if not word.strip().isdecimal() or int(word) not in by_index:
            raise UserError(
                f"--indices has {word.strip()!r}, expected numbers from 0 to {len(items) - 1} separated by commas"
            )
        chosen.append(by_index[int(word)])
    return list(dict.fromkeys(chosen))


def _samples(dataset: DetectionDataset, item: TrainingItem, original: bool) -> Iterator[tuple[str, Sample]]:
    if original:
        yield "orig", dataset.read(item.index)
    yield "aug", dataset[item]


def _draw(sample: Sample, names: Sequence[str]) -> NDArray[np.uint8]:
    from yolo.evaluation.draw import draw_boxes

    return draw_boxes(sample.image, sample.boxes, sample.classes, [names[c] for c in sample.classes])
