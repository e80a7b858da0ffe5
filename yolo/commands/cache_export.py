"""`yolo cache-export`: a cache as one archive file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from yolo.errors import UserError
from yolo.options import parse_options

if TYPE_CHECKING:
    from yolo.data.cache.compression import Compression


@dataclass(frozen=True)
class CacheExportOptions:
    """Write a cache into an archive, for cache-import elsewhere. An encrypted cache stays so and needs no key here."""

    cache_dir: Path
    """Folder of the cache, such as .yolo_cache_640x640_f1.0."""
    output: Path | None = None
    """Archive to write. Default: the name of the cache's folder without its first dot, in the current folder."""
    compression: Literal["gzip", "zstd", "none"] | None = None
    """Default: by the ending of --output (.tar.gz, .tar.zst, .tar), else gzip."""
    force: bool = False
    """Replace an archive that is there."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    export(parse_options(CacheExportOptions, "cache-export", arguments, short={"output": "o"}))


def export(options: CacheExportOptions) -> None:
    """Check the cache, write the archive, print its size."""
    from yolo.data.cache.archive import describe, exportable_bytes, write_archive
    from yolo.data.cache.manifest import mebibytes
    from yolo.progress import progress

    size = mebibytes(exportable_bytes(options.cache_dir))
    output, compression = choose_output(options)
    if output.is_dir():
        raise UserError(f"{output}: is a folder, expected --output to be the archive to write")
    if output.exists() and not options.force:
        raise UserError(f"{output}: exists already: choose another --output, or --force to replace it")
    if not output.parent.is_dir():
        raise UserError(f"{output.parent}: no such folder to write the archive to")
    with progress("checking", size, "MiB") as tick:
        manifest = describe(options.cache_dir, tick)
    with progress("exporting", size, "MiB") as tick:
        write_archive(options.cache_dir, manifest, output, compression, tick)
    print(f"written: {output} ({mebibytes(output.stat().st_size):,} MiB of {mebibytes(manifest.data_bytes):,} MiB)")


def choose_output(options: CacheExportOptions) -> tuple[Path, Compression]:
    """Where to write and how; UserError when the ending promises another compression."""
    from yolo.data.cache.compression import ENDINGS

    if options.output is None:
        compression = options.compression or "gzip"
        name = options.cache_dir.resolve().name.lstrip(".")
        return Path(f"{name}{ENDINGS[compression][0]}"), compression
    told = next((kind for kind, endings in ENDINGS.items() if options.output.name.lower().endswith(endings)), None)
    if options.compression and told and told != options.compression:
        raise UserError(
            f"{options.output}: --compression is {options.compression}, but such a name means {told}: expected one "
            f"ending in {' or '.join(ENDINGS[options.compression])}"
        )
    return options.output, options.compression or told or "gzip"
