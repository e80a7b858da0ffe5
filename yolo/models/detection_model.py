"""The base of every detection network, ours and users': what training, evaluation and export rely on."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import Tensor, nn

from yolo.boxes.decode import decode_maps
from yolo.models.fuse import fuse
from yolo.models.head import DetectHead

Maps = list[Tensor]
"""Raw maps of one branch, finest level first, each [B, 4 * reg_max + num_classes, H / stride, W / stride]."""


class DetectionModel(nn.Module):
    """Images to raw maps. A network of your own subclasses this, assigns `head` and writes `forward`.

    Args:
        num_classes: number of classes.
        strides: pixels per cell of each level, finest first.

    Attributes:
        head: the main branch's head. A network without a `DetectHead` registers a `bins` parameter or buffer instead.
        auxiliary: what exists for training alone, or None; `deploy` drops it.
        fixed_size: (height, width) that images must have, of exported files; None for any multiple of the stride.
    """

    num_classes: int
    strides: tuple[int, ...]
    head: DetectHead
    auxiliary: nn.Module | None
    fixed_size: tuple[int, int] | None = None

    def __init__(self, num_classes: int, strides: Sequence[int] = (8, 16, 32)) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.strides = tuple(strides)
        self.auxiliary = None

    @property
    def bins(self) -> Tensor:
        """[reg_max] values 0, 1, ..., reg_max - 1 of the distance distributions, in units of the stride."""
        return self.head.bins

    def forward(self, images: Tensor) -> tuple[Maps, ...]:
        """Run the network.

        Args:
            images: float [B, 3, H, W] in 0..1, H and W multiples of the largest stride.

        Returns:
            The raw maps of each branch: the main one first, an auxiliary one after it only while `self.training`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def backbone_modules(self) -> list[nn.Module]:
        """The parts that a learning-rate scale or freezing of the backbone means: `backbone`, if there is one."""
        backbone = getattr(self, "backbone", None)
        return [backbone] if isinstance(backbone, nn.Module) else []

    def decode(self, maps: Maps) -> Tensor:
        """One branch's raw maps to [B, 4 + num_classes, A] float32: xywh in pixels, then sigmoid scores."""
        return decode_maps(maps, self.strides, self.bins)

    def averaged_state(self) -> dict[str, Tensor]:
        """What an average over training steps is taken of: floating-point parameters and buffers; counters are not.

        Looked up anew each time: moving a module to a device or a memory layout gives its parameters new storage.
        """
        return floating_state(self)

    @property
    def cost(self) -> tuple[int, int]:
        """Number of parameters, and bytes of parameters and buffers."""
        tensors = [*self.parameters(), *self.buffers()]
        count = sum(parameter.numel() for parameter in self.parameters())
        return count, sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def deploy(self) -> DetectionModel:
        """A copy for inference: eval mode, no auxiliary part, normalisation and parallel branches fused."""
        model = copy.deepcopy(self).eval()
        model.auxiliary = None
        fuse(model)
        return model

    def check_images(self, images: Tensor) -> None:
        """Raise a ValueError quoting the shape unless images are [B, 3, H, W] in whole cells of the coarsest level."""
        multiple = max(self.strides)
        if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] % multiple or images.shape[3] % multiple:
            raise ValueError(
                f"images must be [B, 3, H, W] with H and W multiples of {multiple}, found {tuple(images.shape)}"
            )


def floating_state(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of a network that are floating-point numbers."""
    return {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
