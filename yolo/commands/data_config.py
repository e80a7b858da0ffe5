"""How commands take a dataset: configs of `fit`, and every `--data.*` option on top of them."""

from __future__ import annotations

import json
import re
from argparse import ArgumentParser as PlainParser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from yolo.data.loaders import ImageLoader
from yolo.data.options import DataOptions
from yolo.errors import UserError
from yolo.options import Options, Parser, SentenceErrors, add_options, make_parser
from yolo.shipped_configs import find_config
from yolo.size import as_size, size_option

if TYPE_CHECKING:
    from yolo.data.datamodule import YOLODataModule

_LINKED = ("image_size", "seed")
"""What a saved config has in its data section as well, though it comes from elsewhere."""


@dataclass(frozen=True)
class DataModuleArguments:
    """What a YOLODataModule is built from."""

    options: DataOptions
    image_size: tuple[int, int]
    image_loader: ImageLoader | None
    seed: int
    max_epochs: int | None = None
    """trainer.max_epochs of the configs, from whose end the epochs without mosaic count."""

    def datamodule(self) -> YOLODataModule:
        """The data module that `fit` would build from the same config."""
        from yolo.data.datamodule import YOLODataModule

        options = {item.name: getattr(self.options, item.name) for item in fields(self.options)}
        module = YOLODataModule(self.image_size, self.image_loader, self.seed, **options)
        module.max_epochs = self.max_epochs
        return module


@dataclass(frozen=True)
class DataConfig:
    """What counts of one config file."""

    path: Path
    data: Mapping[str, Any]
    image_size: Any = None
    seed: Any = None
    max_epochs: Any = None


class _ConfigFlags(SentenceErrors, PlainParser):
    """Finds `--config` before the parser of the command sees the arguments."""


def parse_data_command(
    command: str,
    options: type[Options],
    arguments: Sequence[str],
    *,
    short: Mapping[str, str] | None = None,
) -> tuple[Options, DataModuleArguments]:
    """Parse the command line of `yolo COMMAND`, which works on a dataset.

    Beside the fields of the dataclass `options`, whose docstring describes the command, it takes `--config` (of `fit`;
    repeated, later ones win), `--data.*`, `--size` and `--seed`, which win over configs.

    Raises:
        UserError: An option or a config is wrong; a config's error names the file and the key.
    """
    parser = make_parser(command, (options.__doc__ or "").strip())
    add_options(parser, options, short=short)
    add_data_options(parser)
    parser.add_argument(
        "--size",
        type=int,
        nargs="+",
        default=None,
        help="Side of the square network input in pixels, or height and width. Default: model.image_size of the "
        "config, else 640.",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=None,
        help="Root of all random draws. Default: seed_everything of the config, else 0.",
    )
    parsed, data, loader, configs = parse_with_data(parser, arguments)
    size, seed = parsed.pop("size"), parsed.pop("seed")
    if size is None:
        image_size = next((_image_size(config) for config in reversed(configs) if config.image_size), (640, 640))
    else:
        image_size = size_option(size)
    if seed is None:
        seed = next((_seed(config) for config in reversed(configs) if config.seed is not None), 0)
    max_epochs = next((c.max_epochs for c in reversed(configs) if isinstance(c.max_epochs, int)), None)
    return options(**parsed), DataModuleArguments(data, image_size, loader, seed, max_epochs)


def add_data_options(parser: Parser, *, short: bool = True) -> None:
    """Add `--config`, with the letter `-c` if it is to be `short`, and `--data.*`."""
    parser.add_argument(
        *(["-c"] if short else []),
        "--config",
        type=Path,
        help="Config of `fit`, a file or the name of a shipped one; of several, later win.",
    )
    parser.add_class_arguments(DataOptions, "data", instantiate=False)
    parser.add_argument(
        "--data.image_loader", type=ImageLoader | None, default=None, help="Reads images; null for the usual loader."
    )


def parse_with_data(
    parser: Parser, arguments: Sequence[str], stored: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], DataOptions, ImageLoader | None, list[DataConfig]]:
    """Parse with a parser that has the data options: its other values, the data, its loader, and the configs read.

    Args:
        parser: With `add_data_options`.
        arguments: The command line; its `--data.*` win over its configs, whatever their order.
        stored: A data section that configs and arguments win over.
    """
    flags = _ConfigFlags(add_help=False, allow_abbrev=False)
    names = next(action.option_strings for action in parser._actions if action.dest == "config")
    flags.add_argument(*names, dest="config", action="append", default=[])
    known, rest = flags.parse_known_args(list(arguments))
    configs = [read_config(find_config(name)) for name in known.config]
    # Sections go in as the parser's own `--data SECTION`, so that they merge as those of `fit` do.
    sections = [stored or {}, *(config.data for config in configs)]
    given = [f"--data={json.dumps(section, default=str)}" for section in sections if section]
    parsed = parser.instantiate(parser.parse_args([*given, *rest])).as_dict()
    del parsed["config"]
    values = parsed.pop("data")
    loader = values.pop("image_loader")
    return parsed, DataOptions(**values), loader, configs


def read_config(path: Path) -> DataConfig:
    """What counts of a config for a command that works on a dataset. UserError when it is none."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a mapping with sections such as `data`, found {type(content).__name__}")
    section, model, trainer = (content.get(name) or {} for name in ("data", "model", "trainer"))
    if not isinstance(section, dict):
        raise UserError(f"{path}: `data` is {section!r}, expected a mapping")
    data = {name: value for name, value in section.items() if name not in _LINKED}
    _check(path, data)
    image_size = model.get("image_size") if isinstance(model, dict) else None
    max_epochs = trainer.get("max_epochs") if isinstance(trainer, dict) else None
    return DataConfig(path, data, image_size, content.get("seed_everything"), max_epochs)


def _check(path: Path, data: Mapping[str, Any]) -> None:
    """UserError that names the file and the key when a data section would not be accepted."""
    parser = make_parser("", "")
    add_data_options(parser)
    try:
        parser.parse_args([f"--data={json.dumps(data, default=str)}"])
    except UserError as error:
        reason = str(error).rpartition("Parser key ")[2]  # what comes before it quotes the whole section, keys and all
        unknown = re.fullmatch(r".*Group '(.+)' does not accept option '(.+)'.*", reason)
        raise UserError(f"{path}: " + (f"unknown option {unknown[1]}.{unknown[2]}" if unknown else reason)) from error


def _image_size(config: DataConfig) -> tuple[int, int]:
    size = config.image_size
    numbers = size if isinstance(size, list | tuple) else [size]
    if not 1 <= len(numbers) <= 2 or not all(type(number) is int for number in numbers):
        raise UserError(f"{config.path}: model.image_size is {size!r}, expected one number, or height and width")
    try:
        return as_size(numbers if len(numbers) == 2 else numbers[0])
    except UserError as error:
        raise UserError(f"{config.path}: model.image_size: {error}") from error


def _seed(config: DataConfig) -> int:
    try:
        return whole_seed(config.seed)
    except UserError as error:
        raise UserError(f"{config.path}: {error}") from error


def whole_seed(value: Any) -> int:
    """The value of seed_everything. UserError for true and false, which Lightning takes as well."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(f"seed_everything is {value!r}, expected a whole number")
    return value
