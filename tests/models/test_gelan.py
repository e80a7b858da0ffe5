from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from yolo.models.gelan import GELAN, Backbone, CompositeBackbone, GELANSpec, TopDown
from yolo.models.registry import build_model

COMPOSITES = [None, "auxiliary", "main"]
Spec = Callable[..., GELANSpec]


def output_shapes(model: nn.Module, images: Tensor) -> dict[str, tuple[int, ...]]:
    """Run the model; shape (H, W, C) of what each submodule puts out, by name."""
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Callable:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                shapes[name] = (*output.shape[2:], output.shape[1])

        return hook

    for name, part in model.named_modules():
        part.register_forward_hook(note(name))
    model(images)
    return shapes


@pytest.mark.slow
def test_shapes_of_v9_s_at_640() -> None:
    with torch.device("meta"):
        model = build_model("v9-s", 80, auxiliary=False)
        images = torch.empty(1, 3, 640, 640)
    shapes = output_shapes(model, images)
    assert {name: shapes[name] for name in shapes if name.count(".") == 1 and not name.startswith("head")} == {
        "backbone.stem1": (320, 320, 32),
        "backbone.stem2": (160, 160, 64),
        "backbone.stage2": (160, 160, 64),
        "backbone.down3": (80, 80, 128),
        "backbone.stage3": (80, 80, 128),
        "backbone.down4": (40, 40, 192),
        "backbone.stage4": (40, 40, 192),
        "backbone.down5": (20, 20, 256),
        "backbone.stage5": (20, 20, 256),
        "top_down.spp": (20, 20, 256),
        "top_down.stage4": (40, 40, 192),
        "top_down.stage3": (80, 80, 128),
        "bottom_up.down4": (40, 40, 96),
        "bottom_up.stage4": (40, 40, 192),
        "bottom_up.down5": (20, 20, 128),
        "bottom_up.stage5": (20, 20, 256),
    }
    entries = [model.get_submodule(f"{name}.enter.conv") for name in ("top_down.stage4", "top_down.stage3")]
    entries += [model.get_submodule(f"{name}.enter.conv") for name in ("bottom_up.stage4", "bottom_up.stage5")]
    assert [entry.in_channels for entry in entries] == [448, 320, 288, 384]
    assert [tuple(m.shape) for m in model(images)[0]] == [(1, 144, 80, 80), (1, 144, 40, 40), (1, 144, 20, 20)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v9-t", "v9-s", "v9-m", "v9-c", "v9-e"])
def test_branches_at_a_size_that_is_not_square(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name, 5)
        images = torch.empty(2, 3, 64, 96)
    expected = [(2, 69, 8, 12), (2, 69, 4, 6), (2, 69, 2, 3)]
    assert model.strides == (8, 16, 32)
    assert [[tuple(m.shape) for m in branch] for branch in model(images)] == [expected, expected]
    branches = model.eval()(images)
    assert [[tuple(m.shape) for m in branch] for branch in branches] == [expected]
    assert model.decode(branches[0]).shape == (2, 9, 8 * 12 + 4 * 6 + 2 * 3)


def test_without_auxiliary_training_has_one_branch(small_spec: Spec) -> None:
    model = GELAN(small_spec(), 3, auxiliary=False).train()
    assert len(model(torch.rand(2, 3, 64, 64))) == 1
    assert not any(name.startswith("auxiliary") for name in model.state_dict())


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("down", ["aconv", "adown"])
def test_gradients_reach_every_parameter(composite: str | None, down: str, small_spec: Spec) -> None:
    check_gradients(GELAN(small_spec(composite=composite, down=down), 3))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v9-t", "v9-s", "v9-m", "v9-c", "v9-e"])
def test_gradients_reach_every_parameter_of_named_models(name: str) -> None:
    check_gradients(build_model(name, 3))


def check_gradients(model: nn.Module) -> None:
    loss = sum((m * torch.randn_like(m)).sum() for branch in model(torch.rand(2, 3, 64, 64)) for m in branch)
    loss.backward()
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"head.bins", "auxiliary.head.bins"}
    for name, parameter in model.named_parameters():
        if name not in frozen:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("composite", COMPOSITES)
def test_auxiliary_branch_trains_the_first_backbone_alone(composite: str | None, small_spec: Spec) -> None:
    model = GELAN(small_spec(composite=composite), 3)
    _, auxiliary = model(torch.rand(2, 3, 64, 64))
    sum((m * torch.randn_like(m)).sum() for m in auxiliary).backward()
    reached = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert reached == {"backbone", "auxiliary"}
    assert all(p.grad is not None for p in model.backbone.parameters())


@pytest.mark.parametrize("levels", [3, 5])
@torch.no_grad()
def test_composite_backbone_adds_what_the_first_one_sends(levels: int, small_spec: Spec, settle: Callable) -> None:
    spec = small_spec()
    images = torch.rand(2, 3, 64, 96, dtype=torch.float64)
    first = settle(Backbone(spec).double(), images)
    composite = CompositeBackbone(spec, levels).double()
    taps = first(images)
    settle(composite, images, taps)
    sent = [link(x) for link, x in zip(composite.links, taps[5 - levels :], strict=True)]

    def fused(x: Tensor, level: int) -> Tensor:
        """Element `level` of every list that has one, resized to x and added."""
        if level < 0:
            return x
        parts: Sequence[Tensor] = [maps[level] for maps in sent if len(maps) > level]
        assert len(parts) == levels - level
        return x + sum(F.interpolate(part, size=x.shape[2:], mode="nearest") for part in parts)

    skipped = 5 - levels
    second = composite.backbone
    p1 = fused(second.stem1(images), 0 - skipped)
    p2 = second.stage2(fused(second.stem2(p1), 1 - skipped))
    p3 = second.stage3(fused(second.down3(p2), 2 - skipped))
    p4 = second.stage4(fused(second.down4(p3), 3 - skipped))
    p5 = second.stage5(fused(second.down5(p4), 4 - skipped))
    for found, expected in zip(composite(images, taps), (p1, p2, p3, p4, p5), strict=True):
        torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_paths_of_the_main_and_auxiliary_branches(small_spec: Spec, settle: Callable) -> None:
    """With a composite main path, the neck reads the second backbone and the auxiliary branch the first."""
    images = torch.rand(2, 3, 64, 64)
    model = GELAN(small_spec(composite="main"), 3)
    assert model.composite is not None
    settle(model, images)
    taps = model.backbone(images)
    p3, p4, p5 = model.composite(images, taps)[2:]
    up = nn.Upsample(scale_factor=2)

    def top_down(path: TopDown, p3: Tensor, p4: Tensor, p5: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        n5 = path.spp(p5)
        n4 = path.stage4(torch.cat([up(n5), p4], 1))
        return path.stage3(torch.cat([up(n4), p3], 1)), n4, n5

    n3, n4, n5 = top_down(model.top_down, p3, p4, p5)
    m4 = model.bottom_up.stage4(torch.cat([model.bottom_up.down4(n3), n4], 1))
    m5 = model.bottom_up.stage5(torch.cat([model.bottom_up.down5(m4), n5], 1))
    for found, expected in zip(model(images)[0], model.head([n3, m4, m5]), strict=True):
        assert torch.equal(found, expected)

    auxiliary = model.auxiliary
    assert auxiliary is not None
    expected_maps = auxiliary.head(top_down(auxiliary.path, *taps[2:]))  # type: ignore[operator, arg-type]
    for found, expected in zip(auxiliary(images, taps), expected_maps, strict=True):
        assert torch.equal(found, expected)


@torch.no_grad()
def test_channels_last_gives_the_same_maps(small_spec: Spec, settle: Callable) -> None:
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    model = settle(GELAN(small_spec(composite="main", down="adown"), 3).double(), images)
    expected = model(images)[0]
    found = model.to(memory_format=torch.channels_last)(images.contiguous(memory_format=torch.channels_last))[0]
    for a, b in zip(found, expected, strict=True):
        assert a.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("composite", COMPOSITES)
@torch.no_grad()
def test_export_captures_the_deployed_graph(composite: str | None, small_spec: Spec, settle: Callable) -> None:
    images = torch.rand(1, 3, 64, 96, dtype=torch.float64)
    deployed = settle(GELAN(small_spec(composite=composite), 3).double(), torch.rand(2, 3, 64, 96).double()).deploy()
    exported = torch.export.export(deployed, (images,), strict=True).module()
    for found, expected in zip(exported(images)[0], deployed(images)[0], strict=True):
        torch.testing.assert_close(found, expected)
