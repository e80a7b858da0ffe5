"""A network with fake quantisers: what it computes, when its ranges move, and what a checkpoint keeps of it."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

from tests.export.random_network import card_of, random_checkpoint, randomise
from tests.export.small_network import SmallNetwork
from yolo.errors import UserError
from yolo.export.parity import random_images
from yolo.models.checkpoint import CARD_KEY, NetworkSpec, load_model
from yolo.models.exportable import ExportableModel, RawOutputs
from yolo.quantization import inner_network, is_quantized
from yolo.quantization.fake_quantize import FakeQuantize, PerChannelFakeQuantize, RangeFakeQuantize
from yolo.quantization.network import QuantizedNetwork, shared_ranges
from yolo.quantization.post_training import exported_graph, quantized_graph
from yolo.quantization.tflite_rules import TFLiteQuantizer

SMALL = "tests.export.small_network.SmallNetwork"
SIZE = (64, 64)


@pytest.fixture(scope="module")
def base() -> SmallNetwork:
    network = randomise(SmallNetwork(3))
    assert isinstance(network, SmallNetwork)
    return network


@pytest.fixture(scope="module")
def prepared(base: SmallNetwork) -> QuantizedNetwork:
    network = QuantizedNetwork(3, SMALL, SIZE, base=copy.deepcopy(base))
    network.calibrate(random_images(4, SIZE).split(1))
    return network.eval()


@pytest.fixture
def network(prepared: QuantizedNetwork) -> QuantizedNetwork:
    """A copy to change."""
    return prepared.deploy()


def ranges(network: QuantizedNetwork) -> dict[str, Tensor]:
    """A copy of everything that says where the levels of activations are."""
    return {
        f"{name}.{part}": getattr(module, part).clone()
        for name, module in network.named_modules()
        if isinstance(module, RangeFakeQuantize)
        for part in ("low", "high", "scale", "zero_point")
    }


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def maps(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([level.flatten() for level in network(images)[0]])


def annotated(network: QuantizedNetwork) -> Iterator[str]:
    """What the prepared graph sends through a fake quantiser, a name each time."""
    for node in network.graph.graph.nodes:
        if node.op == "call_module" and isinstance(network.graph.get_submodule(node.target), FakeQuantize):
            yield str(node.args[0])


def annotations(base: SmallNetwork) -> int:
    """How many tensors the rules annotate, by the rules alone."""
    model = ExportableModel(base, SIZE, "raw")
    graph = exported_graph(RawOutputs(model), torch.zeros(2, 3, *SIZE), any_batch=True)
    TFLiteQuantizer(shared_ranges(2)).annotate(graph)
    notes = [node.meta[Q_ANNOTATION_KEY] for node in graph.graph.nodes if Q_ANNOTATION_KEY in node.meta]
    inputs = {source for note in notes for source, spec in note.input_qspec_map.items() if spec is not None}
    return len(inputs) + sum(note.output_qspec is not None for note in notes)


def convolutions(base: SmallNetwork) -> list[nn.Conv2d]:
    """Of the deployed network."""
    return [module for module in base.deploy().modules() if isinstance(module, nn.Conv2d)]


@pytest.mark.slow
def test_it_answers_otherwise_and_every_annotated_tensor_is_quantised(
    base: SmallNetwork, network: QuantizedNetwork
) -> None:
    images, calls = random_images(2, SIZE, seed=1), []
    network.train()  # in evaluation mode it computes in integers
    for module in network.modules():
        if isinstance(module, FakeQuantize):
            module.register_forward_hook(lambda *_: calls.append(1))
    quantised, in_float, wanted = maps(network, images), maps(base, images), annotations(base)
    print(f"{len(calls)} calls of fake quantisers in one forward pass, {wanted} annotated tensors")
    assert len(calls) == len(set(annotated(network))) == wanted > 60
    error = (quantised - in_float).std() / in_float.std()
    assert 1e-3 < error < 0.2
    torch.testing.assert_close(maps(network.in_float(), images), in_float, rtol=1e-3, atol=1e-4)


def test_every_annotated_tensor_is_on_one_of_256_levels(network: QuantizedNetwork) -> None:
    """Also weights, per channel: what is not rounded here would be a scale that the file has and training had not."""
    seen: list[tuple[Tensor, Tensor]] = []
    for module in network.modules():
        if isinstance(module, FakeQuantize):
            axis = isinstance(module, PerChannelFakeQuantize)
            module.register_forward_hook(
                lambda m, _, out, axis=axis: seen.append((m.scale, out if axis else out[None]))
            )
    maps(network.train(), random_images(1, SIZE, seed=2))
    for scale, values in seen:
        levels = values / scale.view(-1, *[1] * (values.ndim - 1))
        torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-3)
        assert levels.amax() - levels.amin() <= 255.01


def test_a_state_dict_loads_into_a_fresh_network(network: QuantizedNetwork) -> None:
    fresh = NetworkSpec(
        "yolo.quantization.network.QuantizedNetwork", args={"network": SMALL, "image_size": list(SIZE)}
    ).build(3)
    images = random_images(3, SIZE, seed=3)
    assert is_quantized(fresh)
    fresh.load_state_dict(network.state_dict(), strict=True)
    assert torch.equal(maps(fresh.eval(), images), maps(network, images))
    assert equal(ranges(fresh), ranges(network))


def test_a_checkpoint_names_it_and_the_network_inside(network: QuantizedNetwork, tmp_path: Path) -> None:
    spec = QuantizedNetwork.spec(NetworkSpec(SMALL), SIZE)
    contents = card_of(spec.name, 3, SIZE).to_dict() | {"network": vars(spec)}
    weights = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({CARD_KEY: contents, "state_dict": weights}, tmp_path / "a.ckpt")
    loaded, card = load_model(tmp_path / "a.ckpt")
    images = random_images(1, SIZE, seed=4)
    assert torch.equal(maps(loaded, images), maps(network, images))
    assert inner_network(card.network) == NetworkSpec(SMALL)
    assert inner_network(NetworkSpec("v9-t")) is None


def test_a_network_of_ones_own_inside_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stranger.py").write_text("raise SystemExit('imported on a checkpoint's word')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match="code of your own"):
        QuantizedNetwork(3, "stranger.Network", SIZE)
    assert "stranger" not in sys.modules


@pytest.mark.parametrize("size", [(64,), 64, ("64", "64"), (64, 70), (0, 64)])
def test_a_size_that_no_graph_can_have(size: Any) -> None:
    """As a checkpoint's card may say."""
    with pytest.raises(UserError, match=r"image_size is|cannot be built"):
        NetworkSpec("yolo.quantization.network.QuantizedNetwork", args={"network": SMALL, "image_size": size}).build(3)


def test_ranges_stay_but_for_calibration(network: QuantizedNetwork) -> None:
    before = ranges(network)
    for training in (True, False):
        network.train(training)
        maps(network, 3 * random_images(1, SIZE, seed=6))
        assert equal(ranges(network), before)
    network.calibrate([3 * random_images(1, SIZE, seed=6)])
    assert not equal(ranges(network), before)


def test_a_range_covers_all_that_calibration_showed(network: QuantizedNetwork) -> None:
    small, large = random_images(1, SIZE, seed=7), 4 * random_images(1, SIZE, seed=8)
    network.calibrate([large, small])
    wide = ranges(network)
    network.calibrate([small])  # anew: what was seen before is forgotten
    narrow = ranges(network)
    network.calibrate([small, large])  # the order is nothing to it
    assert equal(ranges(network), wide)
    lows, highs = ([name for name in wide if name.endswith(f".{end}")] for end in ("low", "high"))
    assert all(wide[name] <= narrow[name] <= 0 for name in lows)
    assert all(wide[name] >= narrow[name] >= 0 for name in highs)
    assert any(wide[name] > 2 * narrow[name] for name in highs)


def test_gradients_reach_every_weight_as_if_nothing_were_rounded(base: SmallNetwork, network: QuantizedNetwork) -> None:
    network.train()
    sum(level.square().mean() for level in network(random_images(2, SIZE, seed=9))[0]).backward()
    quantised = {name: parameter.grad for name, parameter in network.named_parameters()}
    reference = network.in_float().train()
    reference.zero_grad()
    sum(level.square().mean() for level in reference(random_images(2, SIZE, seed=9))[0]).backward()
    trained = [(name, parameter) for name, parameter in reference.named_parameters() if parameter.requires_grad]
    assert len(trained) == sum(conv.bias is not None for conv in convolutions(base)) + len(convolutions(base))
    for name, parameter in trained:
        assert parameter.grad is not None
        assert quantised[name] is not None, name
        cosine = torch.nn.functional.cosine_similarity(parameter.grad.flatten(), quantised[name].flatten(), 0)
        assert cosine > 0.8, name


def test_what_files_are_made_of_has_the_weights_of_now(network: QuantizedNetwork) -> None:
    """Scales of weights are those of a forward pass, and weights may have been loaded since the last one."""
    images = random_images(1, SIZE, seed=10)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter *= 1.5
    graph = quantized_graph(network.with_scales())
    with torch.no_grad():
        logits = graph(images)
    found = torch.cat([torch.cat(pair, 1).flatten() for pair in zip(logits[::2], logits[1::2], strict=True)])
    wanted = maps(network, images)
    # Every number is rounded at the same places; ties may go either way.
    assert (found - wanted).abs().mean() < 0.02 * wanted.std()
    before = ranges(network)
    network.train().with_scales()
    assert equal(ranges(network), before)


@pytest.mark.slow
def test_parts_that_stay_in_float(base: SmallNetwork, network: QuantizedNetwork) -> None:
    partly = QuantizedNetwork(3, SMALL, SIZE, keep_float=["head.box.*", "stem"], base=copy.deepcopy(base))
    partly.calibrate(random_images(4, SIZE).split(1))
    partly.eval()
    assert len(list(annotated(partly))) < len(list(annotated(network))) - 10
    images = random_images(2, SIZE, seed=11)
    in_float = maps(base, images)
    assert 0 < (maps(partly, images) - in_float).std() < (maps(network, images) - in_float).std()
    everything = QuantizedNetwork(3, SMALL, SIZE, keep_float=["*"], base=copy.deepcopy(base)).eval()
    everything.calibrate(random_images(1, SIZE).split(1))
    kept = set(annotated(everything))
    assert kept <= {"x", "images"}, kept  # the pixels are whole numbers before any part of the network
    with pytest.raises(UserError, match=r"--keep-float head\.nothing matches no part"):
        QuantizedNetwork(3, SMALL, SIZE, keep_float=["stem", "head.nothing"], base=copy.deepcopy(base))


@pytest.mark.slow
def test_the_backbone_is_that_of_the_network_in_float() -> None:
    base = NetworkSpec("v9-t").build(3)
    network = QuantizedNetwork(3, "v9-t", SIZE, base=base)
    (backbone,) = network.backbone_modules()
    kernels = sum(parameter.ndim == 4 for parameter in backbone.parameters())
    assert kernels == sum(parameter.ndim == 4 for parameter in base.deploy().backbone.parameters())
    small = QuantizedNetwork(3, SMALL, SIZE, base=SmallNetwork(3))
    assert small.backbone_modules() == []


def test_changing_the_mode_draws_no_random_numbers(network: QuantizedNetwork) -> None:
    """A resumed run would have others than the straight one."""
    state = torch.get_rng_state()
    network.train()
    assert all(module.training for module in network.modules())
    network.eval()
    assert not any(module.training for module in network.modules())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
def test_gradients_reach_every_weight_of_v9_t(tmp_path: Path) -> None:
    base, card = load_model(random_checkpoint(tmp_path / "a.ckpt", "v9-t"))
    network = QuantizedNetwork.started_from(base, QuantizedNetwork.spec(card.network, card.image_size).args)
    images = random_images(2, card.image_size)
    network.calibrate(images.split(1))
    network.train()
    sum(level.square().mean() for level in network(images)[0]).backward()
    weights = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert len(weights) > 300
    assert all(weight.grad is not None and weight.grad.isfinite().all() and weight.grad.any() for weight in weights)
