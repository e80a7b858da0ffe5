"""Where a command may write: where it can, and not over what it reads (contract 7). Known before the work."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from yolo.commands.picture_output import refuse_dataset_folder
from yolo.data.options import DataOptions
from yolo.errors import UserError


def require_place(
    folder: Path,
    names: Iterable[str],
    inputs: Iterable[Path] = (),
    data: DataOptions | None = None,
    flag: str = "--output",
) -> None:
    """UserError, which names the flag, when files cannot be written into a folder or should not be.

    Args:
        folder: made later, with its parents, when it is missing.
        names: of all files that may be written or removed there.
        inputs: files that the command reads.
        data: the dataset that it reads.
        flag: the option that names the folder.
    """
    if data is not None:
        refuse_dataset_folder(folder, data, flag)
        inputs = [*inputs, *_annotation_files(data)]
    read = {os.path.realpath(path) for path in inputs}
    for target in (folder / name for name in names):
        if os.path.realpath(target) in read:
            raise UserError(f"{flag} would have {target} overwritten, which is an input of this command")
        if target.is_dir():
            raise UserError(f"{flag} would have {target} written, which is a folder")
    place = next(part for part in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(part))
    if not place.is_dir():
        which = "which" if place == folder.absolute() else f"but {place}"
        raise UserError(f"{flag} is {folder}, {which} is a file, expected a folder")
    try:
        with tempfile.TemporaryDirectory(dir=place):  # what access rights say is not all there is to it
            pass
    except OSError as error:
        raise UserError(f"{flag} is {folder}, but nothing can be written in {place} ({error.strerror})") from error


def require_file(file: Path | None, flag: str, inputs: Iterable[Path] = (), data: DataOptions | None = None) -> None:
    """The same for a single file, whose folder must be there already."""
    if file is None:
        return
    if not file.parent.is_dir():
        raise UserError(f"{flag} is {file}, but there is no folder {file.parent}")
    if file.is_dir():
        raise UserError(f"{flag} is {file}, which is a folder, expected a file")
    require_place(file.parent, [file.name], inputs, data, flag)


def _annotation_files(data: DataOptions) -> list[Path]:
    """Files of labels that may lie outside the folders of the dataset."""
    from yolo.data.source import coco_places

    if data.format != "coco":
        return []
    return [coco_places(data, "train")[1], coco_places(data, "val")[1]]
