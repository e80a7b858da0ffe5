"""Metrics as a table on the terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table


def print_metrics(title: str, metrics: Mapping[str, float]) -> None:
    """One row per metric, six decimals: `fit` and `validate` print the same number the same way."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    table = Table(show_header=False)
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in metrics.items():
        table.add_row(name, f"{value:.6f}")
    console.print(title, style="bold")
    console.print(table)
