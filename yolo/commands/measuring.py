"""What the commands that measure checkpoints on a dataset have in common with `yolo validate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolo.commands.data_config import add_data_options, parse_with_data
from yolo.commands.measurement import dataset_given, stored_data
from yolo.data.loaders import ImageLoader
from yolo.data.options import DataOptions
from yolo.errors import UserError
from yolo.options import Options, Parser, add_options, make_parser


@dataclass(frozen=True)
class Dataset:
    """What the command line says of one."""

    options: DataOptions
    loader: ImageLoader | None = None
    """Of the user's own."""


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
        checkpoint: the option whose run says about the data what `--config` and `--data.*` do not, of several files the
            first; None without one.
        positional: options without a flag.
        short: letters of options.

    Raises:
        UserError: something of it is wrong, or nothing says which dataset is meant.
    """
    parser = _parser(command, options, positional, short)
    stored = {} if checkpoint is None else _stored(parser, arguments, checkpoint)
    if checkpoint is not None and "format" not in stored and not dataset_given(arguments):
        raise UserError(
            f"{_named(parser, arguments, checkpoint)} does not know its dataset, as no exported file does: name one by "
            "--config, or by --data.root and --data.format"
        )
    parsed, data, loader, _ = parse_with_data(parser, arguments, stored)
    return options(**parsed), data, loader


def parse_with_dataset(
    command: str, options: type[Options], arguments: Sequence[str], short: Mapping[str, str] | None = None
) -> tuple[Options, Dataset | None]:
    """The same for a command that has a `checkpoint` and works without a dataset too, which is None if not given."""
    parser = _parser(command, options, (), short)
    if dataset_given(arguments):
        parsed, data, loader, _ = parse_with_data(parser, arguments, _stored(parser, arguments, "checkpoint"))
        return options(**parsed), Dataset(data, loader)
    parsed, *_ = parse_with_data(parser, arguments)
    alone = next((item.partition("=")[0] for item in arguments if item.startswith("--data.")), None)
    if alone is not None:
        raise UserError(f"{alone} says nothing without a dataset: name one by --config, --data.root or --data.format")
    return options(**parsed), None


def _parser(command: str, options: type[Options], positional: Sequence[str], short: Mapping[str, str] | None) -> Parser:
    parser = make_parser(command, (options.__doc__ or "").strip())
    add_options(parser, options, positional, short)
    add_data_options(parser, short=False)
    return parser


def _stored(parser: Parser, arguments: Sequence[str], checkpoint: str) -> dict[str, Any]:
    """What the run of the checkpoint says about the data."""
    return stored_data(_named(parser, arguments, checkpoint), arguments, ["--config"])


def _named(parser: Parser, arguments: Sequence[str], checkpoint: str) -> Path:
    """The file that the command line has for the option `checkpoint`, of several the first."""
    named, *_ = parse_with_data(parser, arguments)
    value = named[checkpoint]
    return Path(value[0] if isinstance(value, list | tuple) else value)
