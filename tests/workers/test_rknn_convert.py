from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from yolo.environments import WORKERS

onnx = pytest.importorskip("onnx")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(WORKERS))
    return importlib.import_module("rknn_convert")


def test_what_stays_float(script: ModuleType, tmp_path: Path) -> None:
    """The convolution that sees the image, and the last two for box logits; weights are inputs of such graphs, too."""
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        node("Identity", ["images"], ["images_int8"]),
        node("Conv", ["images_int8", "weight"], ["stem"]),
        node("exSwish", ["stem"], ["stem_act"]),
        node("Conv", ["stem_act", "weight"], ["deep"]),
        node("exSwish", ["deep"], ["deep_act"]),
        node("Conv", ["deep_act", "weight"], ["hidden"]),
        node("exSwish", ["hidden"], ["hidden_act"]),
        node("exDataConvert", ["hidden_act"], ["hidden_float"]),
        node("Conv", ["hidden_float", "weight"], ["box_int8"]),
        node("exDataConvert", ["box_int8"], ["box_logits_0"]),
        node("Conv", ["deep", "weight"], ["class_int8"]),
        node("exDataConvert", ["class_int8"], ["class_logits_0"]),
    ]
    values = {name: value(name, 1, [1, 3, 4, 4]) for name in ("images", "weight", "box_logits_0", "class_logits_0")}
    weight = onnx.numpy_helper.from_array(np.zeros((3, 3, 1, 1), np.float32), "weight")
    graph = onnx.helper.make_graph(
        nodes, "g", [values["images"], values["weight"]], [values["box_logits_0"], values["class_logits_0"]], [weight]
    )
    path = tmp_path / "model.model"
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    assert script.edges(path) == ["stem", "stem_act", "box_int8", "hidden_act", "hidden"]


def test_it_is_written_before_the_ranges(script: ModuleType, tmp_path: Path) -> None:
    ranges = tmp_path / "a.cfg"
    ranges.write_text("custom_quantize_layers: {}\nquantize_parameters:\n    images: 1\n")
    script.keep_float(ranges, ["stem", "stem_act"])
    assert ranges.read_text() == (
        "custom_quantize_layers:\n    stem: float16\n    stem_act: float16\nquantize_parameters:\n    images: 1\n"
    )
    with pytest.raises(ValueError, match=r"a\.cfg starts with"):
        script.keep_float(ranges, ["stem"])
