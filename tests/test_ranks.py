from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from yolo.ranks import from_all_ranks, gather_objects, sum_over_ranks, world_size


def test_a_process_alone_is_the_whole_world() -> None:
    value = torch.tensor([3.0])
    assert world_size() == 1
    assert sum_over_ranks(value) is value
    assert from_all_ranks(value).tolist() == [[3.0]]
    assert gather_objects({"a": 1}) == [{"a": 1}]


def together(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    mine = torch.tensor([rank + 1.0])
    assert world_size() == 2
    assert sum_over_ranks(mine).item() == 3
    assert mine.item() == rank + 1
    assert from_all_ranks(mine).tolist() == [[1.0], [2.0]]
    assert gather_objects(f"rank {rank}") == ["rank 0", "rank 1"]
    dist.destroy_process_group()


def test_two_processes(tmp_path: Path) -> None:
    mp.spawn(together, (str(tmp_path),), nprocs=2)
