"""`yolo replay`: a training step that went wrong, once more and looked at closely."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from yolo.options import parse_options

if TYPE_CHECKING:
    from yolo.training.replay import Replay

SHOWN = 5


@dataclass(frozen=True)
class ReplayOptions:
    """Run the training step of a bundle again. Exit status 1 when loss or gradient are not finite, 0 when they are."""

    bundle: Path
    """File that a run left in its folder `non_finite`."""
    json: bool = False
    """Print JSON, in which numbers that are not finite are the strings "inf", "-inf" and "nan"."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to run; auto is the run's kind of device if there is one here, else the CPU."""
    network: str | None = None
    """Import path of the bundle's network, when that is code of your own."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = parse_options(ReplayOptions, "replay", arguments, positional=["bundle"])
    from yolo.models.checkpoint import allow_network
    from yolo.training.replay import replay

    allow_network(options.network)
    shown = replay(options.bundle, options.device)
    print(json.dumps(_plain(asdict(shown)), indent=1) if options.json else "\n".join(describe(shown)))
    raise SystemExit(0 if shown.finite else 1)


def describe(shown: Replay) -> list[str]:
    """Lines for people."""
    lines = [f"{name:<6}{value:<12.6g} in the run {shown.recorded[name]:.6g}" for name, value in shown.losses.items()]
    same = "the same as in the run" if shown.same else "not the same as in the run"
    lines.append(f"the loss is {same}; loss and gradient are {'finite' if shown.finite else 'not finite'}")
    lines.append(f"first module whose output is not finite: {shown.first_module or 'none'}")
    for title, items in (
        ("weights that are not finite", shown.weights),
        ("gradients that are not finite", shown.gradients),
        ("targets that cannot be right", shown.targets),
    ):
        lines.append(f"{title}: {'' if items else 'none'}".rstrip())
        lines += [f"  {item}" for item in items[:SHOWN]]
        lines += [f"  and {len(items) - SHOWN} more"] * (len(items) > SHOWN)
    return [*lines, "images:", *(f"  {path}" for path in shown.images)]


def _plain(value: Any) -> Any:
    """The same with numbers that JSON does not know as strings."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
