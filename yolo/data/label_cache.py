"""The labels of a split, parsed once: kept in the cache folder until anything that the reader looks at changes.

What the reader looks at is listed anew each time, from the options, and compared by type, size, mtime and ctime of
every file. An edit that keeps the size and sets the old mtime back still has a new ctime. Stamps are only as fine as
the file system's clock, so that two edits in one tick look the same: a split with a file changed moments ago is not
kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from yolo import __version__
from yolo.data import loaders
from yolo.data.annotations import AnnotatedSet
from yolo.data.cache_folder import dataset_cache_dir
from yolo.data.formats import coco, common, yolo
from yolo.data.loaders import ImageLoader, identity
from yolo.data.options import DataOptions, Split
from yolo.data.packing import pack, unpack
from yolo.data.source import coco_places
from yolo.errors import UserError

logger = logging.getLogger(__name__)

Reader = Callable[[DataOptions, Split, ImageLoader], AnnotatedSet]

_MAGIC = b"yolo labels 1\n"  # another number for another layout
_DIGEST_BYTES = 32
_FRESH_NS = 2_000_000_000  # the coarsest clock of a file system in use (FAT) ticks every two seconds


def cached_split(options: DataOptions, split: Split, loader: ImageLoader, read: Reader) -> AnnotatedSet:
    """What `read(options, split, loader)` returns, from the cache folder while the dataset is what it was.

    A cache that cannot be used or written never stops a run: the labels are read instead.
    """
    if options.cache_encrypt:
        _forget(options, split)
    if options.format == "shapes" or options.cache_encrypt or not options.cache_labels:
        return read(options, split, loader)
    question = _question(options, split, loader)
    try:
        file = dataset_cache_dir(options) / f"labels-{split}-{hashlib.sha256(question).hexdigest()[:8]}.cache"
        # Before the reading, so that a change while it goes on is a change.
        started, seen = time.time_ns(), _look(options, split, loader)
    except (OSError, UserError) as error:
        result = read(options, split, loader)  # which raises its own sentence if the dataset is at fault
        logger.warning("labels are read in each run: %s", error)
        return result
    digest = seen.digest(question)
    known = _load(file, digest, options, split)
    if known is not None:
        if known.skipped:
            listing = ", ".join(f"{count} {reason}" for reason, count in known.skipped.items())
            logger.warning("%s: skipped bad %s labels: %s (as when they were read)", options.root, split, listing)
        return known
    result = read(options, split, loader)
    if seen.newest > started - _FRESH_NS:
        logger.info("%s: changed moments ago, the %s labels are not kept yet", seen.newest_path, split)
    elif any(len(image.boxes) for image in result.images):  # else the reader has a warning to repeat next time
        _store(file, digest, pack(result, Path(options.root)))
    return result


def _forget(options: DataOptions, split: Split) -> None:
    """Remove labels in clear, kept before the cache was to be encrypted."""
    for file in dataset_cache_dir(options).glob(f"labels-{split}-*.cache"):
        file.unlink(missing_ok=True)
        logger.warning("%s: removed, since it held labels in clear and data.cache_encrypt is true", file)


def _question(options: DataOptions, split: Split, loader: ImageLoader) -> bytes:
    """Everything but files that the answer depends on."""
    parts = (
        __version__, os.path.realpath(options.root), options.root, options.format, split, *options.places(split),
        options.on_bad_label, type(loader).__qualname__, identity(loader), sorted(loader.suffixes),
    )  # fmt: skip
    return repr(parts).encode("utf-8", "surrogateescape")


@dataclass
class _Seen:
    """Stamps of files, and which of them changed last."""

    lines: list[str] = field(default_factory=list)
    newest: int = 0
    newest_path: str = ""

    def add(self, path: str | os.PathLike[str], stat: Callable[[], os.stat_result] | None = None) -> None:
        try:
            found = stat() if stat else os.stat(path)  # noqa: PTH116 (half the time of Path.stat, for every file)
        except (FileNotFoundError, NotADirectoryError):
            self.lines.append(f"{path}\0missing")
            return
        modified, changed = found.st_mtime_ns, found.st_ctime_ns
        self.lines.append(f"{path}\0{found.st_mode:o} {found.st_size} {modified} {changed}")
        if (latest := max(modified, changed)) > self.newest:
            self.newest, self.newest_path = latest, os.fspath(path)

    def add_folder(self, folder: str, suffixes: Iterable[str]) -> None:
        """All files with these endings and the names of the subfolders, but not what those hold."""
        endings = tuple(suffixes)
        self.lines.append(f"{folder}\0folder")
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.lower().endswith(endings):
                        self.add(entry.path, entry.stat)
                    elif entry.is_dir(follow_symlinks=False):
                        self.lines.append(f"{entry.path}\0subfolder")
        except (FileNotFoundError, NotADirectoryError):
            self.lines.append(f"{folder}\0missing")

    def digest(self, question: bytes) -> bytes:
        text = "\0\0".join(sorted(self.lines)).encode("utf-8", "surrogateescape")
        return hashlib.blake2b(text, digest_size=_DIGEST_BYTES, key=hashlib.sha256(question).digest()).digest()


def _look(options: DataOptions, split: Split, loader: ImageLoader) -> _Seen:
    """Stamps of all that the reader will look at; UserError where the reader would raise one."""
    root = Path(options.root)
    seen = _Seen()
    for code in (coco, common, yolo, loaders):
        if path := getattr(code, "__file__", None):
            seen.add(path)
    given = options.places(split)
    if given.split_file:
        seen.add(given.split_file)
    if options.format == "coco":
        images_dir, annotation_file = coco_places(options, split)
        seen.add(annotation_file)
        for parent, _, files in os.walk(images_dir):  # names only: sizes are those of the annotation file
            seen.lines.append("\0".join((parent, *sorted(files))))
        return seen
    places = yolo.looked_at(root, split, given.images, given.labels)
    for file in places.files:
        seen.add(file)
    for folder in places.image_folders | places.label_folders:
        # Together: images and labels may share a folder, which is then listed once.
        endings = loader.suffixes | places.endings if folder in places.image_folders else frozenset()
        seen.add_folder(folder, endings | {".txt"} if folder in places.label_folders else endings)
    return seen


def _load(file: Path, digest: bytes, options: DataOptions, split: Split) -> AnnotatedSet | None:
    """What is kept, if it is whole and of the dataset as it is."""
    try:
        data = file.read_bytes() if file.is_file() else b""
    except OSError as error:
        logger.warning("%s: cannot be read (%s), reading the labels", file, error.strerror)
        return None
    if not data:
        return None
    head = len(_MAGIC) + _DIGEST_BYTES
    body = data[head + _DIGEST_BYTES :]
    if not data.startswith(_MAGIC) or data[head : head + _DIGEST_BYTES] != _checksum(data[:head], body):
        logger.warning("%s: damaged, reading the labels again", file)
        return None
    if data[len(_MAGIC) : head] != digest:
        logger.info("%s: the dataset has changed, reading the %s labels again", options.root, split)
        return None
    try:
        result = unpack(body, Path(options.root))
    except ValueError:
        return None
    # COCO's images may also lie behind links or outside of their folder, where nobody has looked yet.
    return result if options.format != "coco" or _all_there(result) else None


def _all_there(split: AnnotatedSet) -> bool:
    folders: dict[str, set[str]] = {}
    for image in split.images:
        folder, _, name = str(image.path).rpartition(os.sep)
        if folder not in folders:
            folders[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()  # noqa: PTH112, PTH208
        if name not in folders[folder]:
            return False
    return True


def _store(file: Path, digest: bytes, body: bytes) -> None:
    head = _MAGIC + digest
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")  # ranks of one run may write at the same time
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(head + _checksum(head, body) + body)
        partial.replace(file)
    except OSError as error:
        logger.warning("%s: cannot be written (%s), labels are read in each run", file, error.strerror)
        with contextlib.suppress(OSError):  # of the folder that could not be written to
            partial.unlink(missing_ok=True)


def _checksum(head: bytes, body: bytes) -> bytes:
    check = hashlib.blake2b(head, digest_size=_DIGEST_BYTES)
    check.update(body)
    return check.digest()
