"""`yolo encrypt-images`: a folder of images as `.enc` files that only the key opens."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from yolo.errors import UserError, require_ranges
from yolo.options import parse_options
from yolo.whole_file import whole_file

if TYPE_CHECKING:
    from yolo.data.encrypted_file import ImageCipher

SHOWN = 10


@dataclass(frozen=True)
class EncryptImagesOptions:
    """Encrypt images (AES-256-GCM) with the key in YOLO_ENCRYPTION_KEY; the originals stay as they are."""

    source: Path
    """Image, or folder of images with its subfolders."""
    output: Path
    """Folder for the encrypted images, NAME.EXT.enc each in the subfolder it had; not inside the source."""
    workers: int | None = None
    """Threads; null for one per core."""
    force: bool = False
    """Replace what is there already; without it, images that are there, encrypted with this key, stay."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    encrypt_images(parse_options(EncryptImagesOptions, "encrypt-images", arguments))


def encrypt_images(options: EncryptImagesOptions) -> None:
    """Encrypt every image of the source and print what was done. UserError names what cannot be used."""
    from rich.console import Console

    from yolo.data.encrypted_file import ImageCipher
    from yolo.data.keys import require_key

    require_ranges(options, {"workers": (1, 4096)}, "--")
    cipher = ImageCipher(require_key("encrypt-images encrypts"))
    images, others = find_images(options.source)
    base = options.source if options.source.is_dir() else options.source.parent
    _refuse_output(options, base)
    targets = {path: options.output / f"{path.relative_to(base)}.enc" for path in images}
    done = set() if options.force else _already_encrypted(cipher, targets, options.workers)
    targets = {path: target for path, target in targets.items() if path not in done}
    console = Console(highlight=False, soft_wrap=True, markup=False)
    for path in others[:SHOWN]:
        console.print(f"left out: {path}")
    if len(others) > SHOWN:
        console.print(f"left out: {len(others) - SHOWN} more")
    size, seconds = _encrypt_all(cipher, targets, options.workers)
    rate = f"{size / 1e6:.1f} MB in {seconds:.1f} s, {size / 1e6 / seconds:.0f} MB/s"
    left_out = f"{len(others)} files left out, results in {options.output}"
    console.print(f"{len(targets)} images encrypted ({rate}), already encrypted: {len(done)}, {left_out}")


def find_images(source: Path) -> tuple[list[Path], list[Path]]:
    """The images that `source` is or holds, and its other files, sorted. UserError when there is no image."""
    from yolo.data.image_files import IMAGE_SUFFIXES

    if not source.exists():
        raise UserError(f"{source}: no such image or folder")
    files = [source]
    if source.is_dir():
        files = sorted(Path(folder) / name for folder, _, names in os.walk(source) for name in names)
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")]
    if not images:
        raise UserError(f"{source}: no images, expected files ending in {', '.join(sorted(IMAGE_SUFFIXES))}")
    return images, sorted(set(files) - set(images))


def _refuse_output(options: EncryptImagesOptions, base: Path) -> None:
    """Nothing is written into a dataset's folder."""
    output, source = options.output.resolve(), base.resolve()
    if output == source or (options.source.is_dir() and source in output.parents):
        raise UserError(f"{options.output}: --output lies in the source {base}, which is never written to")
    if output.exists() and not output.is_dir():
        raise UserError(f"{options.output}: --output is a file, expected a folder")


def _already_encrypted(cipher: ImageCipher, targets: dict[Path, Path], workers: int | None) -> set[Path]:
    """The images that an earlier run has encrypted. UserError when something else is in the place of one."""
    from concurrent.futures import ThreadPoolExecutor

    from yolo.data.encrypted_file import is_old

    def same(path: Path) -> bool:
        content = targets[path].read_bytes()
        try:
            # The old layout, in which a change goes unnoticed, is not what the command stands for.
            return not is_old(content) and cipher.decrypt(content, targets[path]) == path.read_bytes()
        except UserError:
            return False

    there = [path for path, target in targets.items() if target.exists()]
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        others = [path for path, found in zip(there, pool.map(same, there), strict=True) if not found]
    if others:
        number = f"{len(others)} of {len(targets)}"
        raise UserError(
            f"{targets[others[0]]}: exists already and is not {others[0]} encrypted with this key ({number}); "
            "--force replaces them"
        )
    return set(there)


def _encrypt_all(cipher: ImageCipher, targets: dict[Path, Path], workers: int | None) -> tuple[int, float]:
    """Bytes read and seconds taken. After an error nothing further is begun, and what is written is complete."""
    import time
    from concurrent.futures import ThreadPoolExecutor

    from yolo.progress import progress

    def encrypt(path: Path) -> int:
        image = path.read_bytes()
        target = targets[path]
        target.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(target) as partial:
            partial.write_bytes(cipher.encrypt(image))
        return len(image)

    start = time.perf_counter()
    size = 0
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        with progress("encrypting", len(targets), "images", errors=True) as advance:
            for count in pool.map(encrypt, targets):
                size += count
                advance()
    finally:
        pool.shutdown(cancel_futures=True)
    return size, time.perf_counter() - start
