from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from yolo.data.annotations import AnnotatedImage
from yolo.evaluation.evaluator import Evaluator


def record(
    image_id: int, boxes: list[list[float]], classes: list[int], crowd: list[bool] | None = None
) -> AnnotatedImage:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    areas = ((array[:, 2] - array[:, 0]) * (array[:, 3] - array[:, 1])).astype(np.float64)
    flags = np.array(crowd or [False] * len(array), bool)
    return AnnotatedImage(
        Path(f"{image_id}.jpg"), image_id, (100, 100), array, np.array(classes, np.int64), flags, areas
    )


def perfect(image: AnnotatedImage) -> torch.Tensor:
    boxes = torch.from_numpy(image.boxes)
    return torch.cat([boxes, torch.full((len(boxes), 1), 0.9), torch.from_numpy(image.classes)[:, None].float()], 1)


RECORDS = [
    record(1, [[0, 0, 50, 50], [10, 10, 90, 90]], [0, 1]),
    record(2, [], []),
    record(3, [[5, 5, 40, 60]], [1]),
]


def test_perfect_detections_score_one() -> None:
    evaluator = Evaluator([1, 7, 9])  # the third class is absent
    evaluator.update(RECORDS[:2], [perfect(r) for r in RECORDS[:2]])
    evaluator.update(RECORDS[2:], [perfect(RECORDS[2])])
    metrics = evaluator.compute().as_dict()
    assert metrics == pytest.approx(dict.fromkeys(metrics, 1.0))
    assert set(metrics) == {"mAP", "mAP50", "mAP75", "AR100", "precision", "recall", "f1"}


def test_order_and_batches_change_nothing() -> None:
    rng = np.random.default_rng(0)
    found = [
        perfect(r) + torch.from_numpy(rng.normal(0, 3, (len(r.classes), 6))) * torch.tensor([1, 1, 1, 1, 0, 0])
        for r in RECORDS
    ]
    results = []
    for order in ([0, 1, 2], [2, 0, 1]):
        evaluator = Evaluator([1, 7])
        for i in order:
            evaluator.update([RECORDS[i]], [found[i]])
        results.append(evaluator.compute().as_dict())
    assert results[0] == results[1]
    assert 0 < results[0]["mAP"] < 1


def test_nothing_collected_raises() -> None:
    with pytest.raises(ValueError, match="nothing to evaluate"):
        Evaluator([1]).compute()


def test_an_image_seen_twice_raises() -> None:
    evaluator = Evaluator([1, 7])
    evaluator.update(RECORDS[:1] * 2, [perfect(RECORDS[0])] * 2)
    with pytest.raises(ValueError, match="image id 1 was evaluated 2 times"):
        evaluator.compute()


def test_one_tensor_per_image() -> None:
    with pytest.raises(ValueError, match="got 1 for 3"):
        Evaluator([1]).update(RECORDS, [torch.zeros(0, 6)])


def _rank(rank: int, folder: str) -> None:
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    evaluator = Evaluator([1, 7])
    mine = RECORDS[rank::2]  # two images on one rank, one on the other
    evaluator.update(mine, [perfect(r) for r in mine])
    metrics = evaluator.compute()
    torch.save((metrics.as_dict(), len(metrics.evaluation.ground_truth.images)), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_see_the_whole_set(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_rank, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        metrics, images = torch.load(tmp_path / f"{rank}.pt")
        assert images == 3
        assert metrics == pytest.approx(dict.fromkeys(metrics, 1.0))
