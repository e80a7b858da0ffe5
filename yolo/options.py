"""Command-line options from dataclasses: fields are options, attribute docstrings their help, types their check."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_type_hints

import docstring_parser
from jsonargparse import ActionYesNo, ArgumentParser, set_parsing_settings

from yolo.errors import UserError

set_parsing_settings(docstring_parse_attribute_docstrings=True)

Options = TypeVar("Options")


class SentenceErrors:
    """Mixin for parsers: an error is one sentence, without the usage of a hundred options."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise UserError."""
        raise UserError(" ".join(message.split())) from ex


class Parser(SentenceErrors, ArgumentParser):
    """The parser of the commands that are not Lightning's."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise UserError, with options spelled as on the command line and types in words."""
        flags = {action.dest: "/".join(action.option_strings) or action.dest for action in self._actions}
        start, required, names = message.partition("are required: ")
        if required:
            message = start + required + ", ".join(flags.get(name, name) for name in names.split(", "))
        wrong = re.match(r'Parser key "([\w-]+)".*(?:Got|Given) value: (.*)', message, re.DOTALL)
        if wrong and wrong[1] in flags and message.count("Parser key") == 1:  # more of them: a whole section
            types = re.findall(r"Expected an? (.+?)(?:\. Got value: .*)?$", message, re.MULTILINE)
            expected = " or ".join(_in_words(name) for name in types if "NoneType" not in name)
            message = f"{flags[wrong[1]]} is {wrong[2]}, expected {expected}"
        start, unknown, names = message.partition("nrecognized arguments: ")
        if unknown and not names.startswith("-"):  # a shell that has put files in the place of a pattern
            first, *others = names.split()
            more = f" and {len(others):,} more" if others else ""
            message = f"{start}{unknown}{first}{more} (a pattern such as '*.jpg' must stand in quotes)"
        super().error(message, ex)


def _in_words(name: str) -> str:
    """A type that jsonargparse names."""
    known = {"<class 'int'>": "a whole number", "<class 'float'>": "a number"}
    return known.get(name) or re.sub(r"^typing\.Literal\[(.*)\]$", r"one of \1", name)


def make_parser(command: str, description: str) -> Parser:
    """An empty parser of `yolo COMMAND`."""
    return Parser(prog=f"yolo {command}", description=description, default_env=False, allow_abbrev=False)


def add_options(
    parser: ArgumentParser, options: type, positional: Sequence[str] = (), short: Mapping[str, str] | None = None
) -> None:
    """Add a flat option `--field-name` per dataclass field; booleans become `--field` and `--no-field`, those named
    `save_x` become `--save-x` and `--no-x`. One that may be None tells these two from neither.

    A field of type `tuple[int, ...] | None` takes one number or more, and a positional one of `tuple[Path, ...]` one
    path or more.

    `short` gives fields a letter as well: {"output": "o"} is `-o`.
    """
    documented = [docstring_parser.parse_from_object(part) for part in reversed(options.__mro__[:-1])]
    help_texts = {p.arg_name: p.description or "" for docstring in documented for p in docstring.params}
    types = get_type_hints(options)
    for item in fields(options):
        required = item.default is MISSING
        default = None if required else item.default
        flag = f"--{item.name.replace('_', '-')}"
        settings: dict[str, Any] = {"help": help_texts.get(item.name, ""), "default": default}
        if item.name in positional and types[item.name] == tuple[Path, ...]:
            parser.add_argument(item.name, type=Path, nargs="+", help=settings["help"])
        elif item.name in positional:
            parser.add_argument(item.name, type=types[item.name], help=settings["help"])
        elif types[item.name] in (bool, bool | None):
            prefix = "save-" if item.name.startswith("save_") else ""
            parser.add_argument(flag, action=ActionYesNo(yes_prefix=prefix, no_prefix="no-"), **settings)
        elif types[item.name] == tuple[int, ...] | None:
            parser.add_argument(flag, type=int, nargs="+", required=required, **settings)
        else:
            flags = [f"-{short[item.name]}", flag] if short and item.name in short else [flag]
            parser.add_argument(*flags, type=types[item.name], required=required, **settings)


def parse_options(
    options: type[Options],
    command: str,
    arguments: Sequence[str],
    positional: Sequence[str] = (),
    short: Mapping[str, str] | None = None,
) -> Options:
    """Parse `arguments` into an instance of the dataclass `options`, whose docstring describes the command."""
    parser = make_parser(command, (options.__doc__ or "").strip())
    add_options(parser, options, positional, short)
    parsed = parser.parse_args(list(arguments))
    return options(**{item.name: parsed[item.name] for item in fields(options)})  # type: ignore[arg-type]
