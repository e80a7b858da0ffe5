"""What reaches the terminal: our lines; of Lightning's, warnings that matter and errors as sentences."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from yolo.errors import UserError


def quiet() -> None:
    """Silence hardware banners, tips and warnings about choices that are ours, not the user's."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*LeafSpec.*",
        "LightningCLI's args parameter is intended.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*The number of training batches .* is smaller than the logging interval.*",
        "It is recommended to use .*sync_dist=True.*",
        ".*your dataloader is not resumable.*",  # its sampler is, by ExactResume
        # Where colours change on the device, and where images stay off it until they are cut into tiles.
        "You have overridden `(on_after_batch_transfer|transfer_batch_to_device)` in `LightningModule`.*",
        ".*You are using a CUDA device .* that has Tensor Cores.*",
    ):
        warnings.filterwarnings("ignore", message)
    if getattr(rank_zero_only, "rank", 0):  # what all processes have to say, the first one says
        logging.getLogger("yolo").setLevel(logging.ERROR)
        warnings.simplefilter("ignore")


def console_of(trainer: Trainer) -> Console:
    """Where to print while `trainer` trains: that of the progress bar, which moves out of the way, or else stdout."""
    bar = getattr(trainer, "progress_bar_callback", None)
    return getattr(bar, "console", None) or Console(file=sys.stdout)


def print_line(trainer: Trainer, line: str) -> None:
    """Print a line, once for all processes, that reads the same on a terminal and in a log file."""
    if trainer.is_global_zero:
        console_of(trainer).print(line, highlight=False, soft_wrap=True, markup=False)


def print_items(console: Console, items: Sequence[str]) -> None:
    """Print items two spaces apart: a log file gets one line, on a terminal it breaks between items where that ends."""
    lines = [""]
    for item in items:
        joined = f"{lines[-1]}  {item}" if lines[-1] else item
        if lines[-1] and console.is_terminal and len(joined) > console.width:
            lines.append(f"  {item}")
        else:
            lines[-1] = joined
    console.print("\n".join(lines), highlight=False, soft_wrap=True, markup=False)


@contextlib.contextmanager
def options_at_fault() -> Iterator[None]:
    """Turn Lightning's complaints about trainer options into UserErrors."""
    try:
        yield
    except MisconfigurationException as error:
        raise UserError(" ".join(str(error).split())) from error
