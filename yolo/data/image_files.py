"""Names of image files: which belong together, and what an encrypted one is called."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
ENCRYPTED_SUFFIX = ".enc"
ENCRYPTED_LOADER = "yolo.data.encrypted_loader.EncryptedImageLoader"


def is_encrypted(path: Path) -> bool:
    """Whether the name is that of an encrypted image."""
    return path.suffix.lower() == ENCRYPTED_SUFFIX


def plain_name(path: Path) -> str:
    """The name without `.enc`: `a.jpg` of both `a.jpg` and `a.jpg.enc`, `a` of `a.enc`."""
    return path.stem if is_encrypted(path) else path.name


def image_stem(path: Path) -> str:
    """The name that labels and split files use: `a` of `a.jpg`, `a.jpg.enc` and `a.enc`."""
    name = Path(plain_name(path))
    return name.name if is_encrypted(path) and name.suffix.lower() not in IMAGE_SUFFIXES else name.stem


def names_of(path: Path) -> set[str]:
    """Every name under which a split file may list the image; `a.enc` does not know what suffix it had."""
    stem = image_stem(path)
    names = {path.name, plain_name(path), stem}
    return names | {stem + suffix for suffix in IMAGE_SUFFIXES} if plain_name(path) == stem != path.name else names


def variants(path: Path, suffixes: Collection[str]) -> list[Path]:
    """Where the image that annotations call `path` may lie, best first, for a loader that reads `suffixes`."""
    if ENCRYPTED_SUFFIX not in suffixes or is_encrypted(path):
        return [path]
    return [path, path.with_name(path.name + ENCRYPTED_SUFFIX), path.with_name(path.stem + ENCRYPTED_SUFFIX)]


def without_twins(paths: Iterable[Path]) -> list[Path]:
    """The paths, less each encrypted image whose plain one is among them: it would count twice."""
    paths = list(paths)
    if not any(map(is_encrypted, paths)):
        return paths
    plain = {(path.parent, image_stem(path)) for path in paths if not is_encrypted(path)}
    return [path for path in paths if not is_encrypted(path) or (path.parent, image_stem(path)) not in plain]


def encrypted_hint(count: int) -> str:
    """End of a sentence about images that were not found, when encrypted ones were: the loader that reads them."""
    return f"; {count} encrypted (.enc): read them by data.image_loader={ENCRYPTED_LOADER}" if count else ""


def readable_suffixes() -> frozenset[str]:
    """Of the images that a folder is searched for: encrypted ones too when the key is there."""
    from yolo.data.encrypted_loader import EncryptedImageLoader
    from yolo.data.keys import find_key

    return EncryptedImageLoader.suffixes if find_key() else IMAGE_SUFFIXES
