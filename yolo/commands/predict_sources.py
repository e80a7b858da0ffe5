"""What `yolo predict` looks at: an image, a video, the images of a folder, the files of a glob pattern."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path

from yolo.data.image_files import IMAGE_SUFFIXES, image_stem, is_encrypted, plain_name, readable_suffixes, without_twins
from yolo.errors import UserError

VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg"})


@dataclass(frozen=True)
class Source:
    """A file and what its results are called."""

    path: Path
    drawn: Path
    """The drawn copy, below the folder of the drawn copies."""
    stem: Path
    """The name of what has another suffix, below its folder."""

    @property
    def is_video(self) -> bool:
        """Whether it has frames."""
        return is_video(self.path)


def is_video(path: Path) -> bool:
    """Whether the name is that of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def list_sources(source: Path) -> list[Source]:
    """The files that `source` stands for, each with names of its own for its results.

    Files of a glob pattern keep their folders below the part before the first wildcard, so that equal names in
    different folders stay apart. Folders that are there under their very names are no wildcards.

    Raises:
        UserError: when there is none.
    """
    if source.is_file():
        return _named([source], source.parent)
    if source.is_dir():
        return _named(list_images(source, readable_suffixes()), source)
    places = [Path(*source.parts[: i + 1]) for i in range(len(source.parts))]
    wild = next((i for i, place in enumerate(places) if has_magic(place.name) and not place.exists()), None)
    if wild is None:
        raise UserError(f"{source}: no such image or folder, nor a video or glob pattern")
    root = Path(*source.parts[:wild])
    return _named(_matching(root, Path(*source.parts[wild:])), root)


def list_images(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The images in a folder, by suffix. UserError when there is none."""
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    images = without_twins(path for path in files if path.suffix.lower() in suffixes and not path.is_dir())
    if not images:
        raise UserError(f"{folder}: no images in this folder (looked for {', '.join(sorted(suffixes))}){_hint(files)}")
    return images


def left_out(source: Path, sources: Iterable[Source]) -> Counter[str]:
    """How many files of each suffix in a folder are no sources; none where `source` is no folder."""
    taken = {found.path for found in sources}
    files = (path for path in source.iterdir() if not path.name.startswith(".")) if source.is_dir() else ()
    return Counter(path.suffix.lower() or path.name for path in files if path not in taken and path.is_file())


def _matching(root: Path, pattern: Path) -> list[Path]:
    suffixes = readable_suffixes() | VIDEO_SUFFIXES
    try:
        found = sorted({Path(os.path.normpath(path)) for path in root.glob(str(pattern))})
    except ValueError as error:
        raise UserError(f"{root / pattern}: {error}") from error
    files = [path for path in found if not path.is_dir() and not path.name.startswith(".")]
    readable = [path for path in files if path.suffix.lower() in suffixes]
    if not readable:
        raise UserError(f"{root / pattern}: {len(files)} files match, none of them an image or video{_hint(files)}")
    return without_twins(readable)


def _hint(files: Sequence[Path]) -> str:
    encrypted, videos = sum(map(is_encrypted, files)), [path for path in files if is_video(path)]
    hint = f"; {encrypted} encrypted (.enc): set YOLO_ENCRYPTION_KEY to read them" if encrypted else ""
    if videos:
        hint += f"; of a folder images alone are taken, its videos by '{videos[0].with_name('*' + videos[0].suffix)}'"
    return hint


def _named(paths: Iterable[Path], root: Path) -> list[Source]:
    drawn_taken: set[str] = set()
    stems_taken: set[str] = set()
    sources = []
    for path in paths:
        relative = Path(os.path.relpath(path.parent, root))
        folder = Path(*(part for part in relative.parts if part != ".."))
        name = drawn_name(path)
        drawn = _free(
            [name, *(f"{Path(name).stem}_{i}{Path(name).suffix}" for i in range(2, 100))], folder, drawn_taken
        )
        stem = image_stem(path)
        unique = _free([stem, path.name, *(f"{path.name}_{i}" for i in range(2, 100))], folder, stems_taken)
        sources.append(Source(path, drawn, unique))
    return sources


def _free(names: Iterable[str], folder: Path, taken: set[str]) -> Path:
    """The first of the names that no other file of the run has; some file systems know no upper case."""
    free = next(folder / name for name in names if str(folder / name).lower() not in taken)
    taken.add(str(free).lower())
    return free


def drawn_name(path: Path) -> str:
    """What the drawn copy of a file is called; that of an encrypted image is not encrypted."""
    if is_video(path):
        return f"{path.stem}.mp4"
    name = plain_name(path)
    return name if name == path.name or Path(name).suffix.lower() in IMAGE_SUFFIXES else f"{name}.jpg"
