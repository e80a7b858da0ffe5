"""What the commands that measure checkpoints on a dataset have in common with `yolo validate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yolo.commands.data_config import add_data_options, parse_with_data
from yolo.commands.validate import stored_data
from yolo.data.loaders import ImageLoader
from yolo.data.options import DataOptions
from yolo.errors import UserError
from yolo.options import Options, add_options, make_parser


def parse_measuring(
    command: str, options: type[Options], arguments: Sequence[str], checkpoint: str, positional: Sequence[str] = ()
) -> tuple[Options, DataOptions, ImageLoader | None]:
    """Parse the command line of a command that measures on a dataset.

    Args:
        command: its name.
        options: its options, a dataclass.
        arguments: the command line.
        checkpoint: the option whose run says about the data what `--config` and `--data.*` do not.
        positional: options without a flag.
    """
    parser = make_parser(command, (options.__doc__ or "").strip())
    add_options(parser, options, positional)
    add_data_options(parser)
    named, *_ = parse_with_data(parser, arguments)
    stored: dict[str, Any] = stored_data(named[checkpoint], arguments)
    parsed, data, loader, _ = parse_with_data(parser, arguments, stored)
    return options(**parsed), data, loader


def require_folder(file: Path | None, flag: str) -> None:
    """UserError when the folder of a file to be written is not there: known before the work, not after it."""
    if file is not None and not file.parent.is_dir():
        raise UserError(f"{flag} is {file}, but there is no folder {file.parent}")
