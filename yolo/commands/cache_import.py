"""`yolo cache-import`: a cache out of an archive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yolo.options import parse_options


@dataclass(frozen=True)
class CacheImportOptions:
    """Unpack an archive of cache-export. It is checked as it is read; one that is at fault leaves nothing behind."""

    archive: Path
    """Archive that cache-export wrote."""
    output: Path = Path()
    """Folder to put the cache's folder into."""
    force: bool = False
    """Replace a cache of this name that is there."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = parse_options(CacheImportOptions, "cache-import", arguments, short={"output": "o"})
    from yolo.data.cache.unpack import import_archive

    target = import_archive(options.archive, options.output, force=options.force)
    print(f"imported: {target}")
