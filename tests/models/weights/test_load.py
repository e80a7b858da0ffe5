"""Must-hold 3 and 4 of the training contract: weights of every official layout mean the same in our networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.models.test_checkpoint import CARD, TinyNetwork, write
from tests.models.weights.official import DetectionModel, official, rewrite_names, save_official
from yolo.errors import UserError
from yolo.models.checkpoint import NetworkSpec
from yolo.models.weights.load import LoadReport, fill, load_network
from yolo.models.weights.source import Source

BIG = ("v9-m", "v9-c", "v9-e")
NAMES = [pytest.param(name, marks=pytest.mark.slow if name in BIG else ()) for name in ("v9-t", "v9-s", *BIG)]
TINY = "tests.models.test_checkpoint.TinyNetwork"


def class_tensors(*heads: str) -> set[str]:
    return {f"{head}.cls.{level}.2.{kind}" for head in heads for level in range(3) for kind in ("weight", "bias")}


@torch.no_grad()
def assert_same_maps(theirs: DetectionModel, ours: nn.Module, branches: int) -> None:
    """Raw maps of every branch agree to 1e-6 of their magnitude, in float64, where rounding does not blur it."""
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    ours.double().train()  # for the auxiliary branch, with the statistics of the file
    for part in ours.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
    expected: Sequence[Sequence[Tensor]] = theirs.double()(images)
    found = ours(images)
    assert len(expected) == branches
    for branch, other in zip(expected, found, strict=False):
        for wanted, given in zip(branch, other, strict=True):
            assert torch.isfinite(wanted).all()
            assert wanted.std() > 0.01
            assert (given - wanted).abs().max() <= 1e-6 * wanted.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_gelan_file_means_the_same(name: str, tmp_path: Path) -> None:
    theirs = official(name).half()  # the published ones are half precision, whole networks
    _, ours, report = load_network(NetworkSpec(name), 80, save_official(theirs, tmp_path / "x-converted.pt"))
    assert set(report.loaded) == {n for n in ours.state_dict() if not n.startswith("auxiliary.")}
    assert len(report.loaded) == len(theirs.state_dict())
    assert report.skipped == {}
    assert set(report.missing) == {n for n in ours.state_dict() if n.startswith("auxiliary.")}
    assert_same_maps(theirs, ours, branches=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_dual_file_means_the_same_in_both_branches(name: str, tmp_path: Path) -> None:
    theirs = official(name, dual=True)
    torch.save(theirs.state_dict(), tmp_path / "x.pt")
    _, ours, report = load_network(NetworkSpec(name), 80, tmp_path / "x.pt")
    assert set(report.loaded) == set(ours.state_dict())
    assert report.skipped == {}
    assert report.missing == ()
    assert_same_maps(theirs, ours, branches=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES[:-1])
def test_file_of_the_rewrite_means_the_same_in_both_branches(name: str, tmp_path: Path) -> None:
    theirs = official(name, dual=True)
    torch.save(rewrite_names(theirs, name), tmp_path / "x.pt")
    _, ours, report = load_network(NetworkSpec(name), 80, tmp_path / "x.pt")
    assert "naming rewrite" in report.title
    assert set(report.loaded) == set(ours.state_dict())
    assert report.skipped == {}
    assert_same_maps(theirs, ours, branches=2)


@pytest.mark.slow
@pytest.mark.parametrize("dual", [False, True])
def test_other_class_count_leaves_exactly_the_class_tensors_fresh(dual: bool, tmp_path: Path) -> None:
    theirs = official("v9-t", 80, dual=dual, class_width=80)  # the width of the published file
    path = save_official(theirs, tmp_path / "x.pt")
    torch.manual_seed(1)
    spec, ours, report = load_network(NetworkSpec("v9-t"), 3, path)
    fresh = class_tensors("head", "auxiliary.head") if dual else class_tensors("head")
    assert set(report.skipped) == fresh
    assert all("80" in why and "3" in why for why in report.skipped.values())
    assert set(report.missing) == (set() if dual else {n for n in ours.state_dict() if n.startswith("auxiliary.")})
    tensors = ours.state_dict()
    assert set(report.loaded) == set(tensors) - fresh - set(report.missing)
    assert spec.class_width == 80  # with 3 classes it would be 64
    torch.manual_seed(1)
    untouched = spec.build(3).state_dict()
    assert all(torch.equal(tensors[n], untouched[n]) for n in (*fresh, *report.missing))


def test_same_class_count_changes_no_tensor(tmp_path: Path) -> None:
    model = NetworkSpec("v9-t").build(80)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape) * 10)
    written = model.state_dict()
    save_file(dict(written), tmp_path / "x.safetensors")
    spec, ours, report = load_network(NetworkSpec("v9-t"), 80, tmp_path / "x.safetensors")
    assert spec == NetworkSpec("v9-t")
    assert (report.skipped, report.missing) == ({}, ())
    loaded = ours.state_dict()
    assert set(report.loaded) == set(written) == set(loaded)
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in written.items())


def test_class_width_asked_for_wins_over_the_file(tmp_path: Path) -> None:
    path = save_official(official("v9-t", class_width=128), tmp_path / "x.pt")
    spec, ours, report = load_network(NetworkSpec("v9-t", class_width=72), 80, path)
    assert spec.class_width == 72
    assert ours.head.cls[0][0].conv.out_channels == 72  # type: ignore[index, union-attr]
    assert report.skipped["head.cls.0.0.conv.weight"] == "[128, 64, 3, 3] in the file, [72, 64, 3, 3] in the network"
    assert all(name.startswith("head.cls.") for name in report.skipped)


@pytest.mark.slow
def test_width_of_the_code_and_of_the_published_file_both_load(tmp_path: Path) -> None:
    for width in (80, 128):
        path = save_official(official("v9-t", class_width=width), tmp_path / f"{width}.pt")
        spec, _, report = load_network(NetworkSpec("v9-t"), 80, path)
        assert spec.class_width == (None if width == 80 else width)
        assert report.skipped == {}


def test_checkpoint_of_ours(tmp_path: Path) -> None:
    model = CARD.network.build(2)
    path = write(tmp_path / "best.ckpt", CARD, model)
    spec, ours, report = load_network(NetworkSpec("v9-t"), 5, path)
    assert spec.class_width is None  # 64, the default of a few classes
    assert set(report.skipped) == class_tensors("head", "auxiliary.head")
    assert torch.equal(ours.get_parameter("head.cls.0.1.conv.weight"), model.get_parameter("head.cls.0.1.conv.weight"))


def test_network_of_ones_own(tmp_path: Path) -> None:
    model = TinyNetwork(2)
    torch.save(model.state_dict(), tmp_path / "x.pt")
    _, _, report = load_network(NetworkSpec(TINY), 3, tmp_path / "x.pt")
    assert report.loaded == ("bins",)
    assert set(report.skipped) == {f"levels.{i}.{kind}" for i in range(2) for kind in ("weight", "bias")}
    torch.save({"else": torch.ones(1)}, tmp_path / "y.pt")
    with pytest.raises(UserError, match=r"none of its tensors fits the network: found else, expected bins, levels"):
        load_network(NetworkSpec(TINY), 3, tmp_path / "y.pt")


def test_other_shapes_are_skipped_with_both_and_nothing_else_is_touched() -> None:
    model = TinyNetwork(2)
    source = Source(Path("f"), None, "ours", {"bins": torch.full((4,), 2.0), "levels.0.bias": torch.ones(1)}, ("odd",))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = fill(model, source)
    assert report.skipped == {
        "odd": "the network has no place for it",
        "levels.0.bias": "[1] in the file, [18] in the network",
    }
    assert set(report.missing) == {"levels.0.weight", "levels.1.weight", "levels.1.bias"}
    changed = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed == ["bins"]


def test_integers_are_no_weights() -> None:
    source = Source(Path("f"), None, "ours", {"bins": torch.ones(4), "levels.0.bias": torch.ones(18).long()})
    report = fill(TinyNetwork(2), source)
    assert report.loaded == ("bins",)
    assert report.skipped == {"levels.0.bias": "torch.int64 in the file, torch.float32 in the network"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused_by_name(value: float) -> None:
    source = Source(Path("f"), None, "ours", {"bins": torch.ones(4), "levels.0.bias": torch.full((18,), value)})
    with pytest.raises(UserError, match=r"f: levels\.0\.bias holds values that are not finite"):
        fill(TinyNetwork(2), source)


def test_report_is_cut_on_the_screen_and_whole_in_its_lines() -> None:
    report = LoadReport("file", ("a",), {}, tuple(f"name{i}" for i in range(10)))
    assert str(report).splitlines() == [
        "weights: file",
        "  loaded      1 tensors",
        "  skipped     0 tensors",
        "  missing    10 tensors",
        *(f"    name{i}" for i in range(6)),
        "    and 4 more",
    ]
    assert sum("name" in line for line in report.lines()) == 10
