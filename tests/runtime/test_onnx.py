from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.runtime.records import record
from yolo.errors import UserError
from yolo.runtime.metadata import ExportRecord
from yolo.runtime.onnx import open_network, read_record

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def write_model(path: Path, stored: str | None, *, output: str = "output0", height: int = 64) -> Path:
    """A file whose output [1, 6, 30] is the mean of the image."""
    shape, mean = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    nodes = [
        onnx.helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        onnx.helper.make_node("Expand", ["mean", "shape"], [output]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "mean",
        [shape("images", mean, [1, 3, height, 96])],
        [shape(output, mean, [1, 6, 30])],
        [onnx.numpy_helper.from_array(np.array([1, 6, 30]), "shape")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    if stored is not None:
        onnx.helper.set_model_props(model, {"yolo": stored})
    path.write_bytes(model.SerializeToString())
    return path


def test_runs_and_tells(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.onnx", record().to_json())
    assert read_record(path) == record()
    network = open_network(path)
    images = torch.rand(2, 3, 64, 96)
    decoded = network.decode(network(images)[0])
    assert torch.allclose(decoded[:, 0, 0], images.mean((1, 2, 3)))
    assert network.cost == (7, path.stat().st_size)


def test_a_file_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = open_network(write_model(tmp_path / "a.onnx", record().to_json()))

    def fail(*_: Any) -> None:
        raise onnxruntime.capi.onnxruntime_pybind11_state.Fail("no\nkernel")

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", fail)
    with pytest.raises(UserError, match=r"a\.onnx: onnxruntime cannot run it \(no kernel\)"):
        network(torch.rand(1, 3, 64, 96))


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as error:
        open_network(path)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value)


def test_what_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    assert "no such file" in refusal(path)
    for content in (b"", b"no model", b"\x08\x07" * 99):
        path.write_bytes(content)
        assert "not an ONNX file that onnxruntime can run" in refusal(path) or "no record" in refusal(path)
    assert "no record of `yolo export`" in refusal(write_model(path, None))
    assert "its record is no JSON" in refusal(write_model(path, "{"))


@pytest.mark.parametrize(
    ("changes", "options", "fragment"),
    [
        ({}, {"output": "output1"}, "its outputs are {'output1': [6, 30]}"),
        ({}, {"height": 32}, "by its record images of (64, 96)"),
        ({"form": "split"}, {}, "by its record they are {'boxes'"),
        ({"levels": ((9, 9), (2, 3))}, {}, "its outputs are"),
    ],
)
def test_a_record_of_another_file_is_refused(
    changes: dict[str, Any], options: dict[str, Any], fragment: str, tmp_path: Path
) -> None:
    stored: ExportRecord = record(**changes)
    assert fragment in refusal(write_model(tmp_path / "a.onnx", stored.to_json(), **options))


def test_without_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_model(tmp_path / "a.onnx", record().to_json())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install 'yolo[export]'" in refusal(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "from yolo.runtime.onnx import read_record as run",
        "import runpy; run = runpy.run_path('tools/onnx_inference.py')['open_model']",
    ],
)
def test_onnxruntime_sends_nothing(code: str, tmp_path: Path) -> None:
    """Its telemetry leaves files in TMPDIR and below HOME."""
    path, home = write_model(tmp_path / "a.onnx", record().to_json()), tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment = kept | {"TMPDIR": str(home), "HOME": str(home)}
    code = f"import sys, pathlib; {code}; run(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, path], env=environment, cwd=Path(__file__).parents[2], check=True)
    assert list(home.iterdir()) == []
