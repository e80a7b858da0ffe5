"""`yolo export` of networks that have learnt their ranges: the file has those, and nothing is calibrated."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch
from torch.fx import GraphModule

from tests.conftest import assert_user_error, run_yolo
from tests.export.learnt_network import learnt_checkpoint
from tests.export.random_network import random_checkpoint
from tests.processes import Done
from tests.quantization.test_network import SIZE, SMALL
from yolo import Detector
from yolo.commands.export import parse
from yolo.commands.export_job import prepare_export
from yolo.errors import UserError
from yolo.export import xnnpack
from yolo.export.formats import FORMATS
from yolo.export.int8_checks import check_int8
from yolo.export.int8_ranges import file_ranges
from yolo.export.parity import random_images
from yolo.models.checkpoint import CARD_KEY, load_model
from yolo.quantization.fake_quantize import RangeFakeQuantize
from yolo.quantization.network import QuantizedNetwork
from yolo.quantization.post_training import quantized_graph
from yolo.quantization.rewrites import rewrite_for_xnnpack
from yolo.runtime.tflite_file import read_model


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learnt")
    return learnt_checkpoint(folder / "a.ckpt", random_checkpoint(folder / "float.ckpt", SMALL))


def export(checkpoint: Path, target: Path, *options: str) -> Done:
    kind = target.suffix.removeprefix(".")
    return run_yolo("export", "-c", checkpoint, "-f", kind, "-o", target, "--network", SMALL, *options)


def file_graph(network: QuantizedNetwork) -> GraphModule:
    """What its TFLite file is made of."""
    return quantized_graph(rewrite_for_xnnpack(network.with_scales()))


@pytest.mark.slow
def test_a_tflite_file_has_the_learnt_ranges_and_all_of_them(learnt: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.tflite"
    done = export(learnt, target, "--form=raw")
    assert done.returncode == 0, done.stderr
    network, _ = load_model(learnt)
    assert isinstance(network, QuantizedNetwork)
    assert check_int8(file_graph(network), target) == []
    ranges = [module for module in network.modules() if isinstance(module, RangeFakeQuantize)]
    in_file = file_ranges(read_model(target))
    for module in ranges:
        scale, zero = float(module.scale), int(module.zero_point)
        assert any(abs(found - scale) <= 1e-6 * scale and zero == point for found, point in in_file)
    operators, _ = xnnpack.operators(target)
    assert operators["CONV_2D"] > 10
    assert not [name for name in operators if "QUANTIZE" in name]
    # Another network's ranges are found out: one scale, one zero point, one weight's scale.
    first = ranges[len(ranges) // 2]
    with torch.no_grad():
        low, high = first.low.clone(), first.high.clone()
        first.set_range(low * 1.0001, high * 1.0001)
        assert any("INT8 ranges: 1 of" in failure for failure in check_int8(file_graph(network), target))
        first.set_range(low, high)
        assert check_int8(file_graph(network), target) == []
        kernel = next(p for name, p in network.named_parameters() if name.endswith("deeper.conv.weight"))
        kernel[0] *= 1.001
        assert any("INT8 scales" in failure for failure in check_int8(file_graph(network), target))


@pytest.mark.slow
def test_an_onnx_file_quantises_as_the_checkpoint_does(learnt: Path, tmp_path: Path) -> None:
    done = export(learnt, tmp_path / "a.onnx")
    assert done.returncode == 0, done.stderr
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "a.onnx").graph.node)
    network, _ = load_model(learnt)
    assert kinds["QuantizeLinear"] >= sum(isinstance(m, RangeFakeQuantize) for m in network.modules())
    assert kinds["DequantizeLinear"] > kinds["QuantizeLinear"]  # weights are int8 in the file
    quantised, file = (Detector.load(path, device="cpu") for path in (learnt, tmp_path / "a.onnx"))
    image = (random_images(1, SIZE, seed=5)[0].permute(1, 2, 0) * 255).byte().numpy()
    ours, theirs = (detector(image, confidence=0.1).scores for detector in (quantised, file))
    assert len(ours) == len(theirs) > 5
    assert abs(ours - theirs).max() < 1e-6  # in integers, both of them


def test_what_is_refused(learnt: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.tflite"
    done = export(learnt, target, "--quantization=fp32")
    assert_user_error(done, "--quantization is fp32", "for int8: give the checkpoint that it was trained from")
    done = export(learnt, target, "--quantization=int8", f"--calibration-images={tmp_path}")
    assert_user_error(done, "has learnt its ranges: nothing is calibrated")
    assert_user_error(export(learnt, target, "--size=96"), "64 x 64")
    assert_user_error(export(learnt.with_name("float.ckpt"), tmp_path / "a.onnx", "--quantization=int8"),
                      "--quantization int8 of ONNX files takes a checkpoint of yolo qat-finetune")  # fmt: skip
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--opset=17"], "--opset is 17, ONNX files of yolo qat-finetune have at least 18"),
        (["-f=saved_model"], "a.ckpt was trained by yolo qat-finetune, for int8, which --format saved_model does not"),
        (["-f=saved_model", "-q=fp32"], "--quantization is fp32, but .*a.ckpt was trained by yolo qat-finetune"),
        (["-f=rknn", "--no-float-edges"], "has learnt what is in 8 bits: leave --no-float-edges out"),
        (["-f=tflite", "--hardswish", "--data.root=yolo", "--data.format=yolo"], "leave --hardswish out"),
    ],
)
def test_options_that_contradict_what_was_learnt(
    learnt: Path, options: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal(learnt, options, monkeypatch, sentence)


def test_parts_in_float_on_a_chip_without_it(learnt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = torch.load(learnt, weights_only=True)
    content[CARD_KEY]["network"]["args"]["keep_float"] = ["head"]
    torch.save(content, tmp_path / "a.ckpt")
    options = ["-f=rknn", "--target-platform=rv1106"]
    sentence = r"has parts in float \(--keep-float\), but rv1106 has INT8 alone"
    refusal(tmp_path / "a.ckpt", options, monkeypatch, sentence)


def refusal(checkpoint: Path, options: list[str], monkeypatch: pytest.MonkeyPatch, sentence: str) -> None:
    """Where the packages of the format need not be there."""
    for kind in FORMATS.values():
        monkeypatch.setattr(kind.module, "require", lambda _: None)
    with pytest.raises(UserError, match=sentence):
        prepare_export(*parse(["-c", str(checkpoint), "--network", SMALL, *options]))


def test_another_size_of_image(learnt: Path) -> None:
    done = run_yolo("validate", "-c", learnt, "--size=96", "--network", SMALL)
    assert_user_error(done, "made for images of 64 x 64")
