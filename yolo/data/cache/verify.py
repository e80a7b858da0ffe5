"""Reading everything in a cache, in a process of its own: where the disk fails (a bad sector), or a file shrinks
meanwhile, the system ends whoever reads it through a map."""

from __future__ import annotations

import multiprocessing
import signal
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from yolo.data.cache.store import open_cache
from yolo.data.cache.tables import image_key
from yolo.data.keys import EncryptionKey
from yolo.errors import UserError
from yolo.progress import progress

_EVERY = 16  # images between two signs of life


@dataclass
class Verification:
    """What was found."""

    images: int = 0
    """Images that the cache lists."""
    checked: int = 0
    """Images that were read."""
    bytes: int = 0
    """Of the images that are intact, as they were before encryption."""
    damages: list[str] = field(default_factory=list)
    """A sentence for each damage, with the path of the image or the name of the table."""

    @property
    def intact(self) -> bool:
        """Everything was read and nothing is damaged."""
        return not self.damages and self.checked == self.images


def verify_cache(folder: Path, key: EncryptionKey | None) -> Verification:
    """Read and check every value.

    Raises:
        UserError: The cache cannot be opened at all (see `open_cache`).
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, folder, key))
    process.start()
    theirs.close()
    found = Verification()
    try:
        _listen(ours, found)
    finally:
        ours.close()
        process.join()
    if process.exitcode:
        code = process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"
        found.damages.append(
            f"{folder}: the file cannot be read, which ended a process by {how} after {found.checked:,} of "
            f"{found.images:,} images"
        )
    return found


def _listen(ours: Connection, found: Verification) -> None:
    try:
        first = ours.recv()
        if isinstance(first, str):
            raise UserError(first)
        found.images = first
        with progress("verifying", first, "images") as advance:
            while (message := ours.recv()) is not None:
                if isinstance(message, str):
                    found.damages.append(message)
                    continue
                found.bytes += message[1]
                for _ in range(message[0] - found.checked):
                    advance()
                found.checked = message[0]
    except EOFError:  # the exit status tells why
        return


def _child(out: Connection, folder: Path, key: EncryptionKey | None) -> None:
    """Sends the number of images or why there are none to count; then damages as text, and (images read, bytes)."""
    try:
        cache = open_cache(folder, key)
        count = len(cache.index.paths)
        splits = list(cache.spec.splits)
    except UserError as error:
        out.send(str(error))
        return
    out.send(count)
    for name in splits:
        try:
            cache.split(name, Path())
        except UserError as error:
            out.send(str(error))
    intact = 0
    for number in range(count):
        try:
            intact += len(cache.value(image_key(number), cache.index.paths[number], check=True))
        except UserError as error:
            out.send(str(error))
        if number % _EVERY == _EVERY - 1 or number == count - 1:
            out.send((number + 1, intact))
            intact = 0
    out.send(None)
