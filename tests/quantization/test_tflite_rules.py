from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

pytest.importorskip("torchao")
from yolo.errors import UserError
from yolo.quantization.post_training import exported_graph, quantized_graph, with_fake_quantizers
from yolo.quantization.tflite_rules import part_name

PER_TENSOR = "quantized_decomposed.quantize_per_tensor.default"
PER_CHANNEL = "quantized_decomposed.quantize_per_channel.default"


def ranges(network: nn.Module, shared: list[list[int]] | None = None, **options) -> dict[str, tuple[float, int]]:
    """Scale and zero point of every tensor that is quantised, by the name of what gives it."""
    torch.manual_seed(0)
    prepared, _ = with_fake_quantizers(exported_graph(network, torch.zeros(1, 3, 8, 8)), shared or [], **options)
    for _ in range(3):
        prepared(torch.rand(1, 3, 8, 8))
    nodes = [node for node in quantized_graph(prepared).graph.nodes if str(node.target) == PER_TENSOR]
    return {node.args[0].name: (float(node.args[1]), int(node.args[2])) for node in nodes}


class Moving(nn.Module):
    """Two convolutions whose outputs meet, and all that moves values."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        a, b = torch.cat((self.one(x), 9 * self.other(x)), 1).chunk(2, 1)
        a = F.max_pool2d(F.avg_pool2d(a, 2, 1), 2)
        a = F.interpolate(a, scale_factor=2.0, mode="nearest")
        b = b.permute(0, 2, 3, 1).reshape(1, 64, 4)[:, :36]
        return a.transpose(1, 2).contiguous(), torch.cat((b, b + b), 1)


def test_what_moves_values_shares_their_range() -> None:
    found = ranges(Moving())
    own = {"x", "conv2d", "conv2d_1", "mul", "add"} & set(found)
    assert own == {"x", "conv2d", "conv2d_1", "mul", "add"}
    assert found["x"] == (pytest.approx(1 / 255), -128)
    together = {name: found[name] for name in found if name not in ("x", "conv2d_1")}
    names = set(together)
    for kind in ("conv2d", "mul", "cat", "getitem", "avg_pool2d", "max_pool2d", "upsample_nearest2d", "permute",
                 "reshape", "slice", "transpose", "cat_1", "add"):  # fmt: skip
        assert any(name.startswith(kind) for name in names), (kind, names)
    assert len(set(together.values())) == 1
    assert found["conv2d_1"] != found["mul"]  # it computes


class Activations(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 3, 1) for _ in range(4))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        a, b, c, d = (conv(x) for conv in self.convs)
        return F.relu(a), b * torch.sigmoid(b), F.relu6(c) + c, F.hardswish(d)


def test_activations() -> None:
    found = ranges(Activations())
    assert "conv2d" not in found  # TFLite computes relu inside the convolution
    assert found["relu"][1] == -128
    assert found["sigmoid"] == (1 / 256, -128)
    assert found["mul"] != found["conv2d_1"]
    assert {"conv2d_2", "relu6", "add"} <= set(found)  # what others take too is not fused
    assert found["hardswish"] != found["conv2d_3"]


def test_outputs_that_meet_behind_the_graph() -> None:
    apart, together = ranges(Activations()), ranges(Activations(), [[1, 3], [0]])
    assert apart["mul"] != apart["hardswish"]
    assert together["mul"] == together["hardswish"]
    assert together["relu"] == apart["relu"]


def test_weights_are_quantised_by_channel() -> None:
    graph, _ = with_fake_quantizers(exported_graph(nn.Conv2d(3, 5, 1), torch.zeros(1, 3, 8, 8)), [])
    graph(torch.rand(1, 3, 8, 8))
    weights = graph.get_parameter("weight").detach().clone()
    (node,) = (node for node in quantized_graph(graph).graph.nodes if str(node.target) == PER_CHANNEL)
    _, scale, zero_point, axis, low, high, dtype = node.args
    holder = node.graph.owning_module
    assert torch.allclose(getattr(holder, scale.target), weights.abs().amax((1, 2, 3)) / 127)
    assert getattr(holder, zero_point.target).tolist() == [0] * 5
    assert (axis, low, high, dtype) == (0, -127, 127, torch.int8)


class Unknown(nn.Module):
    """Operators without a rule, between others and one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(3, 4, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.elu(self.before(x)).exp()
        return self.after(torch.cat((y, F.max_pool2d(y, 3, 1, 1)), 1))


def test_operators_without_a_rule_stay_in_float_and_are_named() -> None:
    graph = exported_graph(Unknown(), torch.zeros(1, 3, 8, 8))
    assert with_fake_quantizers(graph, [])[1] == ("aten.elu.default", "aten.exp.default")
    found = ranges(Unknown())
    assert "elu" not in found
    assert found["exp"] == found["max_pool2d"] == found["cat"]  # what comes out of them is quantised where it goes in
    assert {"x", "conv2d", "conv2d_1"} < set(found)


def test_parts_kept_in_float() -> None:
    prepared, left = with_fake_quantizers(exported_graph(Moving(), torch.zeros(1, 3, 8, 8)), [], keep_float=["on*"])
    prepared(torch.rand(1, 3, 8, 8))
    weights = [node.args[0].name for node in quantized_graph(prepared).graph.nodes if str(node.target) == PER_CHANNEL]
    assert weights == ["other_weight"]
    assert left == ()
    with pytest.raises(UserError, match=r"--keep-float head\.\* matches no part of the network"):
        ranges(Moving(), keep_float=["one", "head.*"])


def test_names_of_parts_are_those_in_the_network() -> None:
    assert part_name("model.network.head.box.0") == "head.box.0"
    assert part_name("stem") == "stem"
