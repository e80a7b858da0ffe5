from __future__ import annotations

import pickle
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from yolo.environments import WORKERS
from yolo.workers.rknn_build import require_harmless


def test_a_pickle_of_the_toolkit_and_another() -> None:
    require_harmless(pickle.dumps({"args": Namespace(target_platform="rk3588"), "ranges": [0.5, None]}))
    with pytest.raises(pickle.UnpicklingError, match=r"model.data names pathlib"):
        require_harmless(pickle.dumps({"args": Path("a")}))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (r"print('I all well\r\x1b[1;31mE\x1b[0m build: no such operator\nE rknn-toolkit2 version'); require(-1)",
         "build: no such operator"),
        ("require(-1)", "rknn-toolkit2 gave status -1"),
    ],
)  # fmt: skip
def test_what_the_toolkit_says_of_a_failure(body: str, said: str, tmp_path: Path) -> None:
    script = tmp_path / "failing.py"
    script.write_text(
        "import pathlib, sys\nfrom rknn_build import in_words, require\n"
        f"with in_words(pathlib.Path(sys.argv[1])):\n    {body}\n"
    )
    done = subprocess.run(
        [sys.executable, script, tmp_path], capture_output=True, text=True, env={"PYTHONPATH": str(WORKERS)}
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip() == said
