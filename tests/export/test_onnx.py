from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.export.random_network import card_of, randomise
from tests.models.test_checkpoint import TinyNetwork
from yolo.errors import UserError
from yolo.export.config import Source
from yolo.export.onnx import OnnxConfig, require, write
from yolo.models.detection_model import DetectionModel, Maps
from yolo.models.exportable import ExportableModel
from yolo.models.registry import build_model
from yolo.runtime.metadata import ExportRecord
from yolo.runtime.network import ExportedNetwork
from yolo.runtime.onnx import open_network

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
SIZE = (64, 96)


@pytest.fixture(scope="module")
def network() -> DetectionModel:
    return randomise(build_model("v9-t", 3))


def exported(model: DetectionModel, config: OnnxConfig, path: Path) -> tuple[ExportedNetwork, dict[str, int]]:
    exportable = ExportableModel(model, SIZE, config.output_form)
    batch = None if config.dynamic_batch else 1
    if config.half:
        exportable.half_precision()
    record: ExportRecord = ExportRecord.of(exportable, "v9-t", card_of("v9-t", 3, SIZE), batch=batch)
    written = write(Source(exportable, record), config, path)
    return open_network(path), dict(written.operators)


@pytest.mark.slow
@pytest.mark.parametrize("opset", [13, 17, 20])
@pytest.mark.parametrize("form", ["full", "split", "raw"])
def test_the_file_computes_what_the_network_computes(
    network: DetectionModel, form: Any, opset: int, tmp_path: Path
) -> None:
    config = OnnxConfig(form=form, opset=opset, dynamic_batch=opset == 17, simplify=opset == 20)
    path = tmp_path / "a.onnx"
    file, operators = exported(network, config, path)
    images = torch.rand(3, 3, *SIZE)
    with torch.no_grad():
        wanted = network.decode(network(images)[0])
    found = file.decode(file(images)[0])
    assert (found - wanted)[:, :4].abs().max() < 1e-2
    assert (found - wanted)[:, 4:].abs().max() < 1e-4
    proto = onnx.load(path)
    assert [entry.version for entry in proto.opset_import if entry.domain == ""] == [opset]
    assert "Conv" in operators
    assert sum(operators.values()) == len(proto.graph.node)
    assert not {"BatchNormalization", *(["Gather", "Shape"] if config.simplify else [])} & set(operators)
    assert path.stat().st_size < 1.1 * network.deploy().cost[1]
    first = proto.graph.input[0].type.tensor_type.shape.dim[0]
    assert (first.dim_param, first.dim_value) == (("batch", 0) if config.dynamic_batch else ("", 1))
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]  # no weights beside it


@pytest.mark.slow
def test_simplified_is_smaller(network: DetectionModel, tmp_path: Path) -> None:
    counts = [
        sum(exported(network, OnnxConfig(dynamic_batch=True, simplify=simplify), tmp_path / "a.onnx")[1].values())
        for simplify in (False, True)
    ]
    assert counts[1] < 0.9 * counts[0]


@pytest.mark.slow
def test_half(network: DetectionModel, tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    file, _ = exported(network, OnnxConfig(half=True), path)
    images = torch.rand(1, 3, *SIZE)
    with torch.no_grad():
        wanted = network.decode(network(images)[0])
    assert (file.decode(file(images)[0]) - wanted)[:, 4:].abs().max() < 0.02
    assert path.stat().st_size < 0.55 * network.deploy().cost[1]


class Unsupported(TinyNetwork):
    """Has an operator that ONNX lacks."""

    def forward(self, images: Tensor) -> tuple[Maps, ...]:
        return super().forward(torch.special.bessel_j0(images))


def test_operators_that_onnx_lacks(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"--opset is 17: .*bessel_j0"):
        exported(Unsupported(3).eval(), OnnxConfig(), tmp_path / "a.onnx")
    assert capfd.readouterr() == ("", "")  # no graph of torch's


class Bright(TinyNetwork):
    """Does something else with bright images, which no graph can."""

    def forward(self, images: Tensor) -> tuple[Maps, ...]:
        return super().forward(images * 2 if images.mean() > 0.7 else images)


def test_of_an_if_on_what_is_in_an_image_is_said_where_it_is(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exported(TinyNetwork(3).eval(), OnnxConfig(), tmp_path / "a.onnx")
    with pytest.warns(torch.jit.TracerWarning, match="Converting a tensor to a Python boolean") as said:
        exported(Bright(3).eval(), OnnxConfig(), tmp_path / "a.onnx")
    assert {entry.filename for entry in said} == {__file__}


@pytest.mark.slow
def test_a_graph_that_the_checker_refuses(
    network: DetectionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise onnx.checker.ValidationError("no such\noperator")

    monkeypatch.setattr(onnx.checker, "check_model", refuse)
    with pytest.raises(UserError, match=r"onnx\.checker refuses the graph: no such operator"):
        exported(network, OnnxConfig(), tmp_path / "a.onnx")


@pytest.mark.parametrize("opset", [12, 21, -1])
def test_opsets_out_of_range(opset: int) -> None:
    with pytest.raises(UserError, match=f"--opset is {opset}, expected one from 13 to 20"):
        OnnxConfig(opset=opset)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("yolo.export.onnx.find_spec", lambda name: None if name == "onnxslim" else found(name))
    require(OnnxConfig())
    with pytest.raises(UserError, match=r"needs onnxslim: pip install 'yolo\[export\]'"):
        require(OnnxConfig(simplify=True))
