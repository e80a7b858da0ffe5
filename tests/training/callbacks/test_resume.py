"""The parts; that the whole is exact is tested in tests/commands/test_resume.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from tests.training.test_module import TINY, data, fit
from yolo.errors import UserError
from yolo.training.callbacks import ExactResume
from yolo.training.callbacks.resume import RESUME_KEY, card_to_resume
from yolo.training.module import YOLOModule

# Lightning cannot know that the sampler goes on where the checkpoint stands; the command line hides this warning.
pytestmark = pytest.mark.filterwarnings("ignore:.*your dataloader is not resumable.*")


class SaveAfter(Callback):
    """Saves after a number of batches, in training or at a batch of the validation."""

    def __init__(self, path: Path, batches: int, *, validation: bool = False) -> None:
        self.path, self.batches, self.validation = path, batches, validation

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if not self.validation and trainer.global_step == self.batches:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True

    def on_validation_batch_end(self, trainer, *args) -> None:
        if self.validation and trainer.global_step == self.batches:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


class Seen(Callback):
    """Notes the images of each batch and each validation, and a random number at each step."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.draws: list[float] = []
        self.validated: list[int] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.batches.append([record.image_id for record in batch.records])
        self.draws.append(torch.rand(()).item())

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0) -> None:
        self.validated.append(len(batch.records))


def run(*callbacks: Callback, checkpoint: Path | None = None, epochs: int = 2, **options: int) -> Trainer:
    torch.manual_seed(0)
    accumulate = options.pop("accumulate_grad_batches", 1)
    module = YOLOModule(TINY, image_size=64)
    return fit(
        module, data(shapes_train=20, **options), checkpoint, max_epochs=epochs, callbacks=[*callbacks, ExactResume()],
        accumulate_grad_batches=accumulate,
    )  # fmt: skip


@pytest.fixture(scope="module")
def third_batch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint after three of the five batches of the first of two epochs."""
    path = tmp_path_factory.mktemp("resume") / "third.ckpt"
    run(SaveAfter(path, 3), Seen())
    return path


@pytest.mark.slow
def test_images_and_random_numbers_go_on(third_batch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    straight, resumed = Seen(), Seen()
    run(straight)
    capsys.readouterr()
    run(resumed, checkpoint=third_batch)
    assert len(straight.batches) == 10
    assert resumed.batches == straight.batches[3:]
    assert resumed.draws == straight.draws[3:]
    assert capsys.readouterr().out == "resumed in epoch 1 after 3 of 5 batches, at step 3\n"


def test_a_validation_that_was_broken_off_is_done_again_in_full(tmp_path: Path) -> None:
    path = tmp_path / "validation.ckpt"
    run(SaveAfter(path, 5, validation=True), shapes_val=9)
    resumed = Seen()
    run(resumed, checkpoint=path, shapes_val=9)
    assert len(resumed.batches) == 5
    assert resumed.validated == [4, 4, 1, 4, 4, 1]


def test_what_more_epochs_do_to_the_schedule(third_batch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = run(checkpoint=third_batch, epochs=3)
    assert trainer.global_step == 15
    said = re.search(
        r"max_epochs was 2 and is 3: the cosine schedule is recomputed over 15 instead of 10 steps, the learning rate "
        r"of step 3 is (\S+) instead of (\S+)\n",
        capsys.readouterr().out,
    )
    assert said
    assert 0 < float(said[2]) < float(said[1])


def test_a_checkpoint_without_the_state(third_batch: Path, tmp_path: Path) -> None:
    stored = torch.load(third_batch, weights_only=True)
    del stored[RESUME_KEY]
    torch.save(stored, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="holds no state to resume from"):
        card_to_resume(tmp_path / "other.ckpt")


@pytest.mark.parametrize(("epochs", "fits"), [(1, False), (2, False), (3, True)])
def test_a_run_without_an_epoch_left_is_refused(epochs: int, fits: bool, tmp_path: Path) -> None:
    path = tmp_path / "done.ckpt"
    run().save_checkpoint(path)
    if fits:
        assert run(checkpoint=path, epochs=epochs).global_step == 15
        return
    with pytest.raises(UserError, match=f"has 2 epochs done and --trainer.max_epochs is {epochs}: no epoch is left"):
        run(checkpoint=path, epochs=epochs)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"batch_size": 2}, "data.batch_size was 4 and is 2, batches per epoch was 5 and is 10"),
        ({"seed": 7}, "seed_everything was 0 and is 7"),
        ({"accumulate_grad_batches": 2}, "trainer.accumulate_grad_batches was 1 and is 2"),
    ],
)
def test_a_begun_epoch_needs_the_same_batches(options: dict[str, int], expected: str, third_batch: Path) -> None:
    with pytest.raises(UserError, match=re.escape(f"middle of an epoch whose batches would change ({expected})")):
        run(checkpoint=third_batch, **options)


def test_between_epochs_the_batches_may_change(tmp_path: Path) -> None:
    path = tmp_path / "done.ckpt"
    run().save_checkpoint(path)
    seen = Seen()
    run(seen, checkpoint=path, epochs=3, batch_size=10)
    assert [len(batch) for batch in seen.batches] == [10, 10]
