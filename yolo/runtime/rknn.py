"""RKNN files, run by rknn-toolkit2's simulator in its own environment.

The simulator refuses a .rknn file: it runs only a network that the toolkit has just built. So `yolo export` keeps
beside `a.rknn` an archive `a.rknn.simulation` of the very files that the toolkit compiled it from. They are built again
here; the archive holds the digest of the .rknn file, by which it is known to belong to it.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolo.environments import Environment, Worker
from yolo.errors import UserError
from yolo.runtime.metadata import ExportRecord
from yolo.runtime.network import ExportedNetwork

ENVIRONMENT = Environment("RKNN", "rknn", "YOLO_RKNN_PYTHON", ".venv-rknn", "scripts/setup_rknn_export.sh")
CONTENTS = "contents.json"
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, KeyError, TypeError, ValueError, RuntimeError)
"""What reading a damaged archive raises."""
LARGEST = 2**30
"""Bytes of a file in an archive."""


def simulation_of(path: Path) -> Path:
    """The archive that belongs to a .rknn file."""
    return path.with_name(f"{path.name}.simulation")


def write_simulation(path: Path, record: ExportRecord, folder: Path, files: Sequence[str]) -> None:
    """Write the archive of the .rknn file at `path` from files of a folder."""
    contents = {"record": record.to_json(), "rknn_sha256": digest_of(path), "files": files}
    with zipfile.ZipFile(simulation_of(path), "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(CONTENTS, json.dumps(contents))
        for name in files:
            archive.write(folder / name, name)


def read_record(path: Path) -> ExportRecord:
    """What `yolo export` wrote about the file. UserError when it is none of its files."""
    with tempfile.TemporaryDirectory() as folder:
        return _unpack(path, Path(folder))


def open_network(path: Path) -> ExportedNetwork:
    """The network that the file was compiled from, in the simulator.

    Raises:
        UserError: the file or its archive is missing or another's, or there is no rknn-toolkit2.
    """
    folder = tempfile.TemporaryDirectory()  # as long as the network: the worker works in it
    record = _unpack(path, Path(folder.name))
    worker = Worker(ENVIRONMENT.python(), "rknn_model.py", folder.name)

    def run(images: NDArray[np.float32]) -> list[NDArray[Any]]:
        assert folder.name
        return worker([images])

    return ExportedNetwork(record, run, path.stat().st_size)


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _unpack(path: Path, folder: Path) -> ExportRecord:
    """The record in the archive, whose files go to the folder."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    archive = simulation_of(path)
    if not archive.is_file():
        raise UserError(
            f"{path}: {archive.name} must lie beside it, which `yolo export` writes and the simulator takes"
        )
    try:
        with zipfile.ZipFile(archive) as packed:
            contents = json.loads(_content(packed, CONTENTS))
            record, digest = ExportRecord.from_json(contents["record"], str(archive)), contents["rknn_sha256"]
            for name in contents["files"]:
                (folder / Path(name).name).write_bytes(_content(packed, name))
    except DAMAGED as error:
        raise UserError(f"{archive}: not as `yolo export` writes it ({str(error)[:120]})") from error
    if digest_of(path) != digest:
        raise UserError(f"{path}: {archive.name} beside it belongs to another file, or one of them was changed")
    return record


def _content(packed: zipfile.ZipFile, name: str) -> bytes:
    size = packed.getinfo(name).file_size
    if size > LARGEST:
        raise ValueError(f"{name} has {size} bytes")
    return packed.read(name)
