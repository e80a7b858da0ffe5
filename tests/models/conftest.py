from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from yolo.models.gelan import GELANSpec
from yolo.models.head import DetectHead


@pytest.fixture(autouse=True)
def _one_seed_one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tensors here are too small for more, which would wait for each other on a busy machine
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def small_spec() -> Callable[..., GELANSpec]:
    """A network of the same make as the named ones with all widths different and small."""

    def make(**changes: object) -> GELANSpec:
        sizes: dict[str, object] = {
            "stem": (8, 12),
            "stage2": (20, 8),
            "downs": (24, 28, 32),
            "stages": ((36, 8), (40, 12), (44, 16)),
            "spp": 48,
            "top_down": ((16, 8), (52, 12)),
            "bottom_up_downs": (20, 24),
            "bottom_up": ((56, 8), (60, 12)),
            "repeats": 1,
        }
        return GELANSpec(**(sizes | changes))  # type: ignore[arg-type]

    return make


@pytest.fixture
def images() -> Callable[..., torch.Tensor]:
    """Images [B, 3, H, W] in 0..1 with structure at several scales, so that deep layers see differing cells."""

    def make(*shape: int) -> torch.Tensor:
        batch, height, width = shape
        total = torch.zeros(batch, 3, height, width)
        for cells in (2, 5, 17):
            total += F.interpolate(torch.rand(batch, 3, cells, cells), (height, width), mode="bilinear") / 4
        return total + torch.rand(batch, 3, height, width) / 4

    return make


@pytest.fixture
def settle() -> Callable[..., nn.Module]:
    """Give a network the look of a trained one, in eval mode: spread scales, shifts and statistics, and telling heads.

    With `calibrate`, each norm takes the statistics of what reaches it, off by a random amount, while later ones see
    the consequence. All parts then matter to the output, and so much that rounding grows by up to 1e7 from image to
    map: compare in float64. Without, statistics are random, and the network is as tame as a trained one in float32.
    """

    def adopt(norm: nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        var, mean = torch.var_mean(inputs[0], (0, 2, 3))
        norm.running_mean.copy_(mean + 0.2 * var.sqrt() * torch.randn_like(mean))
        norm.running_var.copy_(var * torch.empty_like(var).uniform_(0.7, 1.5))

    def amplify(last: nn.Conv2d, inputs: tuple[torch.Tensor]) -> None:
        assert last.bias is not None
        std, mean = torch.std_mean(F.conv2d(inputs[0], last.weight, groups=last.groups), (0, 2, 3))
        gain = 2 / std.mean()  # logits differ by about 2 from cell to cell
        last.weight.mul_(gain)
        last.bias.copy_(torch.randn_like(mean) - gain * mean)

    @torch.no_grad()
    def apply(model: nn.Module, *inputs: torch.Tensor, calibrate: bool = True) -> nn.Module:
        model.train()  # to run the auxiliary branch too
        hooks = []
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
                assert part.running_mean is not None
                assert part.running_var is not None
                part.weight.uniform_(0.5, 1.5)
                part.bias.normal_(0, 0.3)
                part.running_mean.normal_(0, 0.1)
                part.running_var.uniform_(0.5, 1.5)
                if calibrate:
                    hooks.append(part.register_forward_pre_hook(adopt))
            if isinstance(part, DetectHead):
                branches = (*part.box, *part.cls)
                hooks += [list(branch.children())[-1].register_forward_pre_hook(amplify) for branch in branches]
        model(*inputs)
        for hook in hooks:
            hook.remove()
        return model.eval()

    return apply
