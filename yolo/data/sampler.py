"""The order in which training images are seen."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import Sampler

from yolo.data.randomness import ORDER, generator


class EpochSampler(Sampler[tuple[int, int]]):
    """Yields (epoch, index): a fresh permutation of `size` images each epoch, shared out among the processes.

    The epoch travels with each index, so that workers which live for the whole run still know it. Ranks get disjoint
    indices and equally many of them; when `size` does not divide, the few left over differ from epoch to epoch.
    """

    def __init__(self, size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} is not in a world of {world_size}")
        self.size = size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self._begun = (-1, 0)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration; Lightning calls this before each one."""
        self.epoch = epoch

    def start_at(self, epoch: int, images: int) -> None:
        """Leave out the first `images` of `epoch`: a run that is resumed in the middle of it has trained on them."""
        self._begun = (epoch, images)

    def __len__(self) -> int:
        return self.size // self.world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = generator(self.seed, ORDER, self.epoch).permutation(self.size)
        mine = order[self.rank : len(self) * self.world_size : self.world_size]
        epoch, images = self._begun
        rest = mine[images:] if self.epoch == epoch else mine
        return iter([(self.epoch, index) for index in rest.tolist()])
