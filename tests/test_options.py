from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from yolo.errors import UserError
from yolo.options import parse_options


@dataclass(frozen=True)
class Example:
    """An example."""

    source: Path
    """Where from."""
    max_det: int = 3
    """How many."""
    draw: bool = True
    """Whether to draw."""
    size: int | None = None
    """How large."""


def test_flags_come_from_fields() -> None:
    parsed = parse_options(Example, "example", ["--source", "a", "--max-det", "7", "--no-draw", "--size", "5"])
    assert parsed == Example(Path("a"), 7, False, 5)
    assert parse_options(Example, "example", ["--source=a"]) == Example(Path("a"))


def test_positional() -> None:
    assert parse_options(Example, "example", ["a"], positional=["source"]) == Example(Path("a"))


@pytest.mark.parametrize(
    "arguments",
    [[], ["--source", "a", "--max-det", "many"], ["--source", "a", "--what"], ["--source", "a", "--max", "3"]],
)
def test_errors_are_one_sentence(arguments: list[str]) -> None:
    with pytest.raises(UserError) as error:
        parse_options(Example, "example", arguments)
    assert "\n" not in str(error.value)
    assert "usage" not in str(error.value)


def test_missing_options_are_spelled_as_on_the_command_line() -> None:
    with pytest.raises(UserError, match=r"required: -s/--source$"):
        parse_options(Example, "example", [], short={"source": "s"})
    with pytest.raises(UserError, match=r"required: source$"):
        parse_options(Example, "example", [], positional=["source"])


def test_help_shows_description_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options(Example, "example", ["--help"])
    output = " ".join(capsys.readouterr().out.split())
    assert "How many. (type: int, default: 3)" in output
    assert "--draw, --no-draw" in output


@dataclass(frozen=True)
class Saving:
    """Other kinds of fields."""

    save_json: bool = True
    """Write."""
    size: tuple[int, ...] | None = None
    """Side, or sides."""
    share: float | None = None
    """How much."""
    split: Literal["train", "val"] | None = None
    """Which."""


def test_what_is_saved_or_not_and_several_numbers() -> None:
    assert parse_options(Saving, "example", []) == Saving()
    parsed = parse_options(Saving, "example", ["--no-json", "--size", "3", "4"])
    assert (parsed.save_json, list(parsed.size or ())) == (False, [3, 4])
    assert parse_options(Saving, "example", ["--save-json"]).save_json
    with pytest.raises(UserError, match="--no-save-json"):
        parse_options(Saving, "example", ["--no-save-json"])


@pytest.mark.parametrize(("arguments", "sentence"), [
    (["--size", "abc"], "--size is abc, expected a whole number"),
    (["--size", "320", "6.5"], "--size is 6.5, expected a whole number"),
    (["--share", "half"], "--share is half, expected a number"),
    (["--split", "test"], "--split is test, expected one of 'train', 'val'"),
    (["a.jpg", "b.jpg"], "unrecognized arguments: a.jpg and 1 more (a pattern such as '*.jpg' must stand in quotes)"),
    (["--what"], "unrecognized arguments: --what"),
])  # fmt: skip
def test_wrong_values_in_words(arguments: list[str], sentence: str) -> None:
    with pytest.raises(UserError) as error:
        parse_options(Saving, "example", arguments)
    assert str(error.value) == sentence
