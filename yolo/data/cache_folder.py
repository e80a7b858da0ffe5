"""Where the caches of a dataset lie: never in the dataset's own folder unless asked for (contract 7)."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Protocol

from yolo.errors import UserError

VARIABLE = "YOLO_CACHE_DIR"
_NAME_CHARACTERS = 60  # of the dataset's folder: readable, and short enough for any file system


class _Options(Protocol):
    @property
    def root(self) -> str: ...
    @property
    def cache_dir(self) -> str | None: ...


def dataset_cache_dir(options: _Options) -> Path:
    """`cache_dir`, else a folder for the dataset in YOLO_CACHE_DIR, else in the user's cache folder.

    Nothing is created. Datasets are told apart by the absolute path of `root`, symbolic links followed.

    Raises:
        UserError: there is no home folder that the default could lie in.
    """
    if options.cache_dir:
        return Path(options.cache_dir).expanduser()
    root = Path(os.path.realpath(options.root))
    name = f"{root.name[:_NAME_CHARACTERS] or 'root'}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:8]}"
    return _base() / name


def _base() -> Path:
    if folder := os.environ.get(VARIABLE):
        return Path(folder).expanduser()
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return Path(folder) / "yolo"
    try:
        return Path.home() / ".cache" / "yolo"
    except RuntimeError as error:
        raise UserError(f"no home folder to keep caches in: set {VARIABLE} or data.cache_dir") from error
