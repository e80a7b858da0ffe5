from __future__ import annotations

import io
import logging
import warnings
from types import SimpleNamespace

import pytest
from rich.console import Console

from yolo.lightning_output import console_of, print_items, print_line, quiet


def test_banners_are_silenced_and_warnings_kept() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quiet()
        warnings.warn("The 'train_dataloader' does not have many workers which may be a bottleneck", stacklevel=1)
        warnings.warn("something that matters", stacklevel=1)
    assert [str(w.message) for w in caught] == ["something that matters"]
    assert logging.getLogger("lightning.pytorch.utilities.rank_zero").getEffectiveLevel() >= logging.WARNING


def test_lines_go_where_the_progress_bar_is(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(file=io.StringIO(), width=20)
    for bar in (SimpleNamespace(console=console), SimpleNamespace(console=None), None):
        trainer = SimpleNamespace(progress_bar_callback=bar, is_global_zero=True)
        assert (console_of(trainer) is console) == bool(bar and bar.console)
        print_line(trainer, "a line [red]longer[/red] than the console")
    line = "a line [red]longer[/red] than the console\n"
    assert console.file.getvalue() == line
    assert capsys.readouterr().out == 2 * line
    print_line(SimpleNamespace(is_global_zero=False), "of another process")
    assert capsys.readouterr().out == ""


def test_items_stay_whole_on_a_terminal_and_on_one_line_in_a_file() -> None:
    items = ["epoch 1/2", *(f"name{n} 0.123456" for n in range(9)), "best -> best.ckpt"]
    printed = {}
    for terminal in (True, False):
        console = Console(file=io.StringIO(), width=80, force_terminal=terminal, color_system=None)
        print_items(console, items)
        printed[terminal] = console.file.getvalue().splitlines()
    assert printed[False] == ["  ".join(items)]
    assert len(printed[True]) == 3
    assert max(map(len, printed[True])) <= 80
    assert [item for line in printed[True] for item in line.strip().split("  ")] == items
    console = Console(file=io.StringIO(), width=5, force_terminal=True, color_system=None)
    print_items(console, ["longer than the line", "b"])
    assert console.file.getvalue() == "longer than the line\n  b\n"
