from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import TINY_FIT, run_yolo
from tests.models.test_checkpoint import TinyNetwork
from tests.training.test_module import TINY
from yolo.models.checkpoint import load_model
from yolo.training import compiled as compiled_module
from yolo.training.compiled import CompiledForward

WARNING = "model.compile: torch.compile failed, training goes on without it"


class NormalisedNetwork(TinyNetwork):
    """With statistics and random numbers, which trying the compiler must not touch."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.norm, self.drop = nn.BatchNorm2d(3), nn.Dropout(0.5)

    def forward(self, images: Tensor):
        return super().forward(self.drop(self.norm(images)))


def broken(*_: object) -> Callable[..., object]:
    raise RuntimeError("no C++ compiler\non this machine")


def broken_backward() -> Callable[..., object]:
    """A compiler that fails only at the backward pass, as it is compiled later."""
    from functorch.compile import make_boxed_func
    from torch._dynamo.backends.common import aot_autograd

    return aot_autograd(fw_compiler=lambda graph, _: make_boxed_func(graph.forward), bw_compiler=broken)


def step(forward: Callable[[Tensor], tuple], network: nn.Module, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Maps of the main branch, and gradients."""
    maps = forward(images)[0]
    torch.stack([level.square().sum() for level in maps]).sum().backward()
    return [level.detach() for level in maps], [p.grad for p in network.parameters() if p.grad is not None]


@pytest.mark.parametrize("backend", [broken, broken_backward(), "no such backend"])
def test_a_failing_compiler_costs_one_warning_and_nothing_else(backend, caplog: pytest.LogCaptureFixture) -> None:
    images = torch.rand(2, 3, 64, 64)
    results = []
    for compiled in (None, CompiledForward(backend)):
        torch.manual_seed(0)
        network = NormalisedNetwork(3).train()
        for _ in range(2):
            network.zero_grad()
            maps, gradients = step((lambda x: compiled(network, x)) if compiled else network, network, images)  # noqa: B023
        results.append([*maps, *gradients, *network.state_dict().values()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    warnings = [record.getMessage() for record in caplog.records if record.name == compiled_module.__name__]
    assert len(warnings) == 1
    assert warnings[0].startswith(WARNING)
    assert "\n" not in warnings[0]


def test_errors_of_the_network_go_through() -> None:
    class Faulty(TinyNetwork):
        def forward(self, images: Tensor):
            raise ValueError("images of a wrong shape")

    with pytest.raises(ValueError, match="images of a wrong shape"):
        CompiledForward()(Faulty(3), torch.rand(2, 3, 64, 64))


HAS_COMPILER = shutil.which("c++") is not None


@pytest.mark.slow
@pytest.mark.skipif(not HAS_COMPILER, reason="no C++ compiler on this machine")
def test_compiled_is_the_same_network(caplog: pytest.LogCaptureFixture) -> None:
    images = torch.rand(2, 3, 64, 64)
    network = TinyNetwork(3).train()
    keys, compiled = list(network.state_dict()), CompiledForward()
    expected, gradients = step(network, network, images)
    network.zero_grad()
    found, found_gradients = step(lambda x: compiled(network, x), network, images)
    assert WARNING not in caplog.text
    for a, b in zip([*expected, *gradients], [*found, *found_gradients], strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-3)
    assert list(network.state_dict()) == keys
    deployed = network.deploy()
    assert torch.allclose(deployed(images)[0][0], network.eval()(images)[0][0])


@pytest.mark.slow
def test_fit_compiles_or_warns_and_checkpoints_are_as_ever(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = [f"--model.model_config={TINY}", "--model.compile=true", "--trainer.max_epochs=1"]
    done = run_yolo(*TINY_FIT, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert caplog.text.count(WARNING) == (0 if HAS_COMPILER else 1)
    model, card = load_model(tmp_path / "runs/quickstart/version_0/checkpoints/best.ckpt")
    assert list(model.state_dict()) == list(TinyNetwork(5).state_dict())
    assert card.config["model"]["compile"] is True


@pytest.mark.slow
def test_fit_goes_on_without_a_compiler(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", broken)
    options = [f"--model.model_config={TINY}", "--trainer.max_epochs=1"]
    for compile_it in ("false", "true"):
        done = run_yolo(*TINY_FIT, *options, f"--model.compile={compile_it}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert caplog.text.count(WARNING) == 1
    runs = [tmp_path / f"runs/quickstart/version_{i}/checkpoints/last.ckpt" for i in (0, 1)]
    a, b = (torch.load(path, weights_only=True)["state_dict"] for path in runs)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_trying_the_compiler_leaves_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    images, results = torch.rand(2, 3, 64, 64), []
    for compiled in (None, CompiledForward("eager")):  # traced, then run by the same kernels: equal to the last bit
        torch.manual_seed(0)
        network = NormalisedNetwork(3).train()
        maps = (compiled(network, images) if compiled else network(images))[0]
        results.append([*(level.detach() for level in maps), *network.state_dict().values()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert WARNING not in caplog.text
