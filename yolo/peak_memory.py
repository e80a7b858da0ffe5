"""What memory a detector takes, each measured in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from yolo.data.loaders import Image
from yolo.errors import UserError
from yolo.latency import PeakMemory, peak_of_children


def memory_of(path: Path, images: Sequence[Image], threads: int, network: str | None = None) -> int:
    """Bytes by which the peak memory of a fresh process grows while a file is opened and detects, on the CPU.

    The process has this program and torch loaded before; the library of an exported file counts, and so does all of the
    process that runs a SavedModel or an RKNN file.

    Args:
        path: checkpoint or exported file.
        images: uint8 [H, W, 3] RGB, seen one after the other.
        threads: of torch and of what runs the file.
        network: import path of the checkpoint's network, when that is code of the user's own.

    Raises:
        UserError: the file cannot be used, or the process was ended, as happens when memory runs out.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_measure, path, list(images), threads, network).result()
        except BrokenProcessPool as error:
            raise UserError(f"{path}: the process that measured its memory was ended by the system") from error


def _measure(path: Path, images: Sequence[Image], threads: int, network: str | None) -> int:
    from yolo.detector import Detector
    from yolo.models.checkpoint import allow_network

    torch.set_num_threads(threads)
    allow_network(network)
    memory = PeakMemory()
    detector = Detector.load(path, device="cpu")
    for image in images:
        detector(image)
    return memory.growth + peak_of_children()
