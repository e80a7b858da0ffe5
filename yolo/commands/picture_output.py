"""Pictures that commands write of a dataset: not into it, and with a word when its images are encrypted."""

from __future__ import annotations

from pathlib import Path

from yolo.data.options import DataOptions
from yolo.errors import UserError

NOT_ENCRYPTED = "the drawn copies of encrypted images are not encrypted"


def refuse_dataset_folder(output: Path, options: DataOptions) -> None:
    """UserError when pictures would land in the dataset, where the next training would take them for images of it."""
    from yolo.data.check.surveys import SPLITS, image_folder

    if options.format == "shapes":
        return
    target = output.resolve()
    root = Path(options.root)
    for folder in (root, *(image_folder(options, split) for split in SPLITS)):
        if folder.resolve() in (target, *target.parents):
            raise UserError(f"{output}: --output lies in the dataset folder {folder}, which is never written to")
