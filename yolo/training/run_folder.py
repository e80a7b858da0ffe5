"""The folder of a run: what of earlier runs is kept in it, and that a run which was refused leaves none."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

from lightning.pytorch import Trainer


def keep_metrics(trainer: Trainer) -> None:
    """Give metrics.csv of an earlier run in the same folder another name: the logger would replace it."""
    file = _folder(trainer) / "metrics.csv"
    if trainer.is_global_zero and file.is_file():
        number = next(n for n in itertools.count(1) if not file.with_name(f"metrics-{n}.csv").exists())
        file.rename(file.with_name(f"metrics-{number}.csv"))


@contextlib.contextmanager
def no_folder_without_training(trainer: Trainer) -> Iterator[None]:
    """Remove the folder, and what was made to hold it, when the run ends before its first epoch begins."""
    folder = _folder(trainer)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        if made and trainer.is_global_zero and not trainer.fit_loop.epoch_progress.total.ready:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):  # another run may have come to be there
                for path in made[1:]:
                    path.rmdir()
        raise


def _folder(trainer: Trainer) -> Path:
    """Of the run; the processes agree on it, so all of them must ask."""
    return Path(trainer.log_dir or "")
