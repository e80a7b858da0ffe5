"""What commands write of a dataset: not into it, and pictures with a word when its images are encrypted."""

from __future__ import annotations

from pathlib import Path

from yolo.data.options import DataOptions
from yolo.errors import UserError

NOT_ENCRYPTED = "the drawn copies of encrypted images are not encrypted"


def refuse_dataset_folder(output: Path, options: DataOptions, flag: str = "--output") -> None:
    """UserError when files would land in the dataset, where the next training would take pictures for images of it."""
    from yolo.data.check.surveys import SPLITS, image_folder
    from yolo.data.formats.yolo import label_file_of

    if options.format == "shapes":
        return
    target = output.resolve()
    root = Path(options.root)
    folders = [root]
    for split in SPLITS:
        images, labels = image_folder(options, split), options.places(split).labels
        folders.append(images)
        if options.format == "yolo":
            folders.append(root / labels if labels else label_file_of(images / "any.jpg", images, None).parent)
    for folder in folders:
        if folder.resolve() in (target, *target.parents):
            raise UserError(f"{output}: {flag} lies in the dataset folder {folder}, which is never written to")
