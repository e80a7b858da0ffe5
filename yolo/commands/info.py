"""`yolo info`: what a network costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from yolo.errors import require_ranges
from yolo.options import parse_options


@dataclass(frozen=True)
class InfoOptions:
    """Parameters, FLOPs and shapes of a network, as trained and as deployed."""

    model: str
    """Name of the network: v9-t, v9-s, v9-m, v9-c or v9-e."""
    classes: int = 80
    """Number of classes."""
    size: tuple[int, ...] | None = None
    """Side of the square input in pixels, or height and width; 640 when left out."""
    class_width: int | None = None
    """Hidden width of the class branch; the published one when left out."""
    json: bool = False
    """Print JSON."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = parse_options(InfoOptions, "info", arguments, positional=["model"])
    from rich.console import Console
    from rich.table import Table

    from yolo.models.profile import profile_model
    from yolo.size import size_option

    require_ranges(options, {"classes": (1, 100_000), "class_width": (1, 100_000)}, "")
    profile = asdict(
        profile_model(
            options.model,
            num_classes=options.classes,
            image_size=size_option(options.size or 640),
            class_width=options.class_width,
        )
    )
    if options.json:
        print(json.dumps(profile))
        return
    table = Table(show_header=False, box=None)
    for key, value in profile.items():
        table.add_row(key, f"{value:,}" if isinstance(value, int) else str(value))
    Console().print(table)
