"""The folder of a run: what of earlier runs is kept in it, and that a run which was refused leaves none."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from lightning.pytorch import Trainer

FROM_THE_START = ("config.yaml", "hparams.yaml", "events.out.tfevents.*")
"""Files that runs write before they train."""


def keep_metrics(trainer: Trainer) -> None:
    """Give metrics.csv of an earlier run in the same folder another name: the logger would replace it."""
    file = _run_folder(trainer) / "metrics.csv"
    if trainer.is_global_zero and file.is_file():
        number = next(n for n in itertools.count(1) if not file.with_name(f"metrics-{n}.csv").exists())
        file.rename(file.with_name(f"metrics-{number}.csv"))


@contextlib.contextmanager
def no_folder_without_training(trainer: Trainer) -> Iterator[None]:
    """Remove the folder, and those made to hold it, when a run is refused or interrupted before its first epoch.

    One that was there before stays, and so does one with anything else in it than files of a run's start.
    """
    folder = _run_folder(trainer)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        if made and trainer.is_global_zero and not trainer.fit_loop.epoch_progress.total.ready:
            _remove(folder, made)
        raise


def _remove(folder: Path, made: list[Path]) -> None:
    """As far as nobody else has come to use them."""
    files = list(folder.glob("*"))
    if not all(path.is_file() and any(fnmatchcase(path.name, known) for known in FROM_THE_START) for path in files):
        return
    with contextlib.suppress(OSError):
        for path in files:
            path.unlink()
        for path in made:
            path.rmdir()


def _run_folder(trainer: Trainer) -> Path:
    """Collective: the processes agree on it, so all of them must call this."""
    return Path(trainer.log_dir or "")
