"""What the commands that measure checkpoints on a dataset have in common with `yolo validate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from yolo.commands.data_config import add_data_options, parse_with_data
from yolo.commands.measurement import stored_data
from yolo.data.loaders import ImageLoader
from yolo.data.options import DataOptions
from yolo.options import Options, add_options, make_parser


def parse_measuring(
    command: str,
    options: type[Options],
    arguments: Sequence[str],
    checkpoint: str | None,
    positional: Sequence[str] = (),
    short: Mapping[str, str] | None = None,
) -> tuple[Options, DataOptions, ImageLoader | None]:
    """Parse the command line of a command that measures on a dataset.

    Args:
        command: its name.
        options: its options, a dataclass.
        arguments: the command line.
        checkpoint: the option whose run says about the data what `--config` and `--data.*` do not; None without one.
        positional: options without a flag.
        short: letters of options.
    """
    parser = make_parser(command, (options.__doc__ or "").strip())
    add_options(parser, options, positional, short)
    add_data_options(parser, short=False)
    stored: dict[str, Any] = {}
    if checkpoint is not None:
        named, *_ = parse_with_data(parser, arguments)
        stored = stored_data(named[checkpoint], arguments, ["--config"])
    parsed, data, loader, _ = parse_with_data(parser, arguments, stored)
    return options(**parsed), data, loader
