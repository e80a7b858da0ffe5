"""A network and callbacks that runs of several processes are given by name, to write down what each process saw."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor, nn

from yolo.models.blocks import Conv
from yolo.models.detection_model import DetectionModel, Maps
from yolo.training.callbacks import BestCheckpoint

NORMS = nn.modules.batchnorm._BatchNorm


class SmallNetwork(DetectionModel):
    """Two levels, with batch normalisation; its boxes fit the embedded shapes before any training."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes, strides=(8, 16))
        self.register_buffer("bins", torch.arange(4.0))
        self.stem = Conv(3, 8, 8, 8)
        self.down = Conv(8, 16, 3, 2)
        self.heads = nn.ModuleList(nn.Conv2d(width, 4 * 4 + num_classes, 1) for width in (8, 16))

    def forward(self, images: Tensor) -> tuple[Maps, ...]:
        fine = self.stem(images)
        return ([self.heads[0](fine), self.heads[1](self.down(fine))],)


def fingerprint(state: dict[str, Tensor]) -> str:
    return sha256(b"".join(tensor.detach().contiguous().numpy().tobytes() for tensor in state.values())).hexdigest()


class Witness(Callback):
    """Writes down, for each process, what it measured and decided."""

    def __init__(self) -> None:
        self.seen: dict[str, list] = {"measured": [], "trained": [], "images": [], "batches": [], "numbers": []}

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_index, dataloader_index=0) -> None:
        if not trainer.sanity_checking:
            self.seen["measured"].append(fingerprint(pl_module.model.state_dict()))

    def on_validation_epoch_end(self, trainer, pl_module) -> None:
        if not trainer.sanity_checking:
            self.seen["batches"].append(len(trainer.val_dataloaders))

    def on_validation_end(self, trainer, pl_module) -> None:
        if not trainer.sanity_checking:
            evaluation = pl_module.metrics.evaluation
            self.seen["numbers"].append(evaluation.summary)
            self.seen["images"].append([image["id"] for image in evaluation.ground_truth.images])

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        self.seen["trained"].append(fingerprint(dict(pl_module.model.named_buffers())))
        self.seen["weights"] = fingerprint(dict(pl_module.model.named_parameters()))

    def on_train_end(self, trainer, pl_module) -> None:
        (best,) = (c for c in trainer.callbacks if isinstance(c, BestCheckpoint))
        (early,) = (c for c in trainer.callbacks if isinstance(c, EarlyStopping))
        self.seen["best"] = [best.best_epoch, best.kept, early.wait_count, float(early.best_score)]
        self.seen["folder"] = str(best.folder)
        self.seen["broadcast"] = getattr(trainer.strategy.model, "broadcast_buffers", None)
        Path(f"witness-{trainer.global_rank}.json").write_text(json.dumps(self.seen))


class FixedStatistics(Callback):
    """Keeps batch normalisation as it was at the start, and writes down the losses of each step."""

    def on_fit_start(self, trainer, pl_module) -> None:
        self.steps: list[dict[str, float]] = []
        loss = pl_module.loss

        def recorded(*args, reduce_sum, **kwargs):
            scores: list[float] = []

            def reduce(value: Tensor) -> Tensor:
                total = reduce_sum(value)
                scores.extend(total.tolist())
                return total

            result = loss(*args, reduce_sum=reduce, **kwargs)
            parts = {name: value.item() for name, value in result.parts.items()}
            self.steps.append({"total": result.total.item(), "scores": scores[0], **parts})
            return result

        pl_module.loss = recorded

    def on_train_batch_start(self, trainer, pl_module, *args) -> None:
        for module in pl_module.model.modules():
            if isinstance(module, NORMS):
                module.eval()

    def on_train_end(self, trainer, pl_module) -> None:
        name = f"losses-{trainer.global_rank}-of-{trainer.world_size}.json"
        Path(name).write_text(json.dumps(self.steps))
