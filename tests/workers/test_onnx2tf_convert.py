from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.runtime.records import record
from tests.runtime.test_onnx import write_model
from yolo.environments import WORKERS

pytest.importorskip("onnx")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(WORKERS))
    return importlib.import_module("onnx2tf_convert")


def test_names_of_outputs(script: ModuleType, tmp_path: Path) -> None:
    assert script.output_names(write_model(tmp_path / "a.onnx", record().to_json())) == ["output0"]


def test_what_it_lacks_is_said_before_the_work(tmp_path: Path) -> None:
    """Without site-packages no interpreter has any of it; standard output stays free."""
    command = [sys.executable, "-I", "-S", "-c", "import sys, runpy; sys.modules['numpy'] = sys; "
               "runpy.run_path(sys.argv.pop(1), run_name='__main__')", WORKERS / "onnx2tf_convert.py",
               tmp_path / "a.onnx", tmp_path]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": str(tmp_path)})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("lacks onnx2tf and tensorflow and the program onnxsim\n")
    assert list(tmp_path.iterdir()) == []
