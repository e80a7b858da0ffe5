from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from lightning.pytorch import Callback

from tests.conftest import TINY_FIT
from tests.processes import Launched, launch_yolo, living


class LeavesAProcess(Callback):
    def on_train_start(self, trainer, pl_module) -> None:
        subprocess.Popen(["sleep", "60"])


def test_what_is_printed_and_how_it_ends(tmp_path: Path) -> None:
    done = launch_yolo("info", "v9-x", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")


@pytest.mark.slow
def test_a_process_left_behind_fails_the_test_and_is_ended(tmp_path: Path) -> None:
    callback = "--trainer.callbacks=tests.test_processes.LeavesAProcess"
    process = Launched(*TINY_FIT, "--trainer.max_epochs=1", callback, cwd=tmp_path)
    with pytest.raises(pytest.fail.Exception, match="processes that it started outlive it"):
        process.finish()
    assert not living(process.process.pid)
