"""Two processes on the CPU (gloo), started as a user starts them, against one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn

from tests.conftest import TINY_FIT, assert_user_error, run_yolo
from tests.processes import Done, launch_yolo
from tests.tiny_dataset import write_dataset
from tests.training.witness import SmallNetwork, fingerprint
from yolo.commands.measure_options import MeasureOptions
from yolo.commands.measurement import measure
from yolo.data.options import DataOptions
from yolo.data.sampler import EpochSampler
from yolo.errors import UserError
from yolo.memory import MemorySettings
from yolo.models.checkpoint import load_model
from yolo.models.fuse import fuse
from yolo.training.callbacks.ema import TRAINING_WEIGHTS_KEY
from yolo.training.distributed import ending_together, share_buffers
from yolo.training.module import ModuleOptions, YOLOModule
from yolo.training.optim import parameter_groups

HERE = "tests.training.witness"


TWO = ["--trainer.devices=2", "--trainer.strategy=ddp"]
SMALL_FIT = [
    *TINY_FIT, f"--model.model_config={HERE}.SmallNetwork", "--model.nms_max_detections=100",
    "--data.batch_size=4", f"--trainer.callbacks={HERE}.Witness", "--checkpoint.save_top_k=9",
    "--ema.tau=3", "--model.lr_scheduler=step",
]  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """What a run of two processes left and printed, and what each process saw."""

    folder: Path
    done: Done
    seen: tuple[dict, dict]

    @property
    def last(self) -> dict:
        return torch.load(self.folder / "checkpoints" / "last.ckpt", weights_only=True)


def fit_pair(cwd: Path, *options: str, version: int = 0) -> Pair:
    done = launch_yolo(*SMALL_FIT, *TWO, *options, cwd=cwd)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((cwd / f"witness-{rank}.json").read_text()) for rank in (0, 1))
    return Pair(cwd / "runs" / "quickstart" / f"version_{version}", done, (first, second))


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Two epochs by two processes, which have 5 and 4 validation images: two batches and one."""
    return fit_pair(tmp_path_factory.mktemp("pair"))


@pytest.mark.slow
def test_validation_of_unequal_shares_ends_and_counts_each_image_once(pair: Pair) -> None:
    first, second = pair.seen
    assert (first["batches"], second["batches"]) == ([2, 2], [1, 1])
    assert first["broadcast"] is second["broadcast"] is False
    for images in first["images"] + second["images"]:
        assert len(images) == len(set(images)) == 9


@pytest.mark.slow
def test_processes_measure_the_network_that_the_checkpoint_holds(pair: Pair) -> None:
    first, second = pair.seen
    assert first["weights"] == second["weights"]
    assert all(a != b for a, b in zip(first["trained"], second["trained"], strict=True))  # each had its own statistics
    assert set(first["measured"]) == set(second["measured"])
    stored = {n.removeprefix("model."): tensor for n, tensor in pair.last["state_dict"].items()}
    assert fingerprint(stored) == first["measured"][-1] == second["measured"][-1]


@pytest.mark.slow
def test_processes_agree_on_metrics_and_decisions(pair: Pair) -> None:
    first, second = pair.seen
    assert first["numbers"] == second["numbers"]
    assert first["best"] == second["best"]
    assert first["folder"] == second["folder"]


@pytest.mark.slow
def test_one_process_measures_the_same(pair: Pair) -> None:
    by_two = pair.seen[0]["numbers"][-1]
    assert sum(value > 0 for value in by_two.values()) >= 6, by_two
    options = MeasureOptions(pair.folder / "checkpoints" / "last.ckpt", device="cpu")
    _, card = load_model(options.checkpoint)
    evaluated = []
    ended = YOLOModule.on_validation_epoch_end
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(YOLOModule, "on_validation_epoch_end", lambda m: (ended(m), evaluated.append(m.metrics)))
        measure(options, DataOptions(**card.config["data"]))
    (metrics,) = evaluated
    assert len(metrics.evaluation.ground_truth.images) == 9
    assert metrics.evaluation.summary == pytest.approx(by_two, rel=1e-3, abs=1e-9)  # few true positives: small numbers


@pytest.mark.slow
def test_validate_by_two_processes_prints_what_one_prints(pair: Pair) -> None:
    arguments = ["validate", "--checkpoint", "last.ckpt", "--device", "cpu", "--network", f"{HERE}.SmallNetwork"]
    alone = run_yolo(*arguments, cwd=pair.folder / "checkpoints")
    together = launch_yolo(*arguments, "--devices", "2", cwd=pair.folder / "checkpoints")
    assert together.returncode == alone.returncode == 0, together.stderr
    assert together.stdout == alone.stdout
    assert "AP50-95" in together.stdout


@pytest.mark.slow
def test_only_the_first_process_prints_and_writes(pair: Pair) -> None:
    output = pair.done.stdout
    for once in ("5 classes, 24 training", "epoch 1/2", "epoch 2/2", "best epoch", "checkpoint:"):
        assert output.count(once) == 1, output
    assert "Warning" not in pair.done.stderr
    assert "sync_dist" not in pair.done.stderr
    assert [path.name for path in pair.folder.parent.iterdir()] == ["version_0"]
    assert {"metrics.csv", "config.yaml", "predictions.jpg"} <= {path.name for path in pair.folder.iterdir()}


@pytest.mark.slow
def test_a_resumed_pair_ends_where_the_straight_one_ends(pair: Pair, tmp_path: Path) -> None:
    (halfway,) = (pair.folder / "checkpoints").glob("epoch001-*.ckpt")
    resumed = fit_pair(tmp_path, f"--ckpt_path={halfway}")
    for key in ("state_dict", TRAINING_WEIGHTS_KEY):
        for name, tensor in pair.last[key].items():
            assert torch.equal(tensor, resumed.last[key][name]), (key, name)
    state, other = (p.last["optimizer_states"][0]["state"] for p in (pair, resumed))
    assert all(torch.equal(state[i]["exp_avg_sq"], other[i]["exp_avg_sq"]) for i in state)
    assert resumed.seen[0]["numbers"] == pair.seen[0]["numbers"][1:]


def write_sparse_dataset(root: Path) -> None:
    """16 training images. In the order of epoch 0, four at a time: one object and none for the second of two
    processes, no object at all, one object in each image, one object in each image."""
    write_dataset(root)
    order = [item.index for item in EpochSampler(16, seed=0)]
    labelled = {order[0], *order[8:]}
    for index in range(16):
        image = np.random.default_rng(index).integers(0, 255, (64, 64, 3), np.uint8)
        cv2.imwrite(str(root / "images/train" / f"{index:02d}.jpg"), image)
        boxes = f"{index % 2} 0.5 0.5 0.6 0.5\n" if index in labelled else ""
        (root / "labels/train" / f"{index:02d}.txt").write_text(boxes)
    for folder in ("images", "labels"):
        for path in (root / folder / "train").glob("?.*"):
            path.unlink()


@pytest.mark.slow
def test_two_processes_have_the_losses_and_weights_of_one(tmp_path: Path) -> None:
    write_sparse_dataset(tmp_path / "dataset")
    options = [
        *TINY_FIT, "--data.format=yolo", "--data.root=dataset", "--data.mosaic_prob=0", "--trainer.max_epochs=1",
        "--model.optimizer=sgd", "--model.learning_rate=0.01", "--model.warmup_epochs=0",
        f"--trainer.callbacks={HERE}.FixedStatistics",
    ]  # fmt: skip
    together = launch_yolo(*options, "--data.batch_size=2", "--trainer.devices=2", cwd=tmp_path)
    assert together.returncode == 0, together.stderr
    alone = run_yolo(*options, "--data.batch_size=4", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    one = json.loads((tmp_path / "losses-0-of-1.json").read_text())
    two = [json.loads((tmp_path / f"losses-{rank}-of-2.json").read_text()) for rank in (0, 1)]
    assert len(one) == 4
    assert 0 < one[0]["scores"] < 1  # the divisor is raised to 1 although there is an object
    assert one[1]["scores"] == 0
    assert two[1][0]["box"] == 0  # no object at all for this process
    for expected, first, second in zip(one, *two, strict=True):
        for part in ("box", "cls", "dfl"):
            assert (first[part] + second[part]) / 2 == pytest.approx(expected[part], rel=1e-5, abs=1e-6)
        assert first["total"] + second["total"] == pytest.approx(expected["total"], rel=1e-5)
        assert first["scores"] == second["scores"] == pytest.approx(expected["scores"], rel=1e-5)
    states = [
        torch.load(tmp_path / f"runs/quickstart/version_{i}/checkpoints/last.ckpt", weights_only=True) for i in (0, 1)
    ]
    for name, tensor in states[0][TRAINING_WEIGHTS_KEY].items():
        torch.testing.assert_close(tensor, states[1][TRAINING_WEIGHTS_KEY][name], rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_one_failing_process_ends_all_with_its_sentence(tmp_path: Path) -> None:
    write_dataset(tmp_path / "dataset")
    image = tmp_path / "dataset/images/val/1.jpg"  # the second process's
    image.write_bytes(image.read_bytes()[:-300])
    started = time.monotonic()
    options = ["--data.format=yolo", "--data.root=dataset", "--data.batch_size=2"]
    done = launch_yolo(*SMALL_FIT, *options, *TWO, cwd=tmp_path)
    assert time.monotonic() - started < 90
    assert_user_error(done, "1.jpg", "not a complete image")


@pytest.mark.parametrize(
    ("options", "fragments"),
    [
        (["--trainer.sync_batchnorm=true"], ["sync_batchnorm=true needs GPUs"]),
        (["--trainer.use_distributed_sampler=true"], ["use_distributed_sampler=true", "shared out"]),
    ],
)
def test_options_that_cannot_work_are_refused_before_other_processes_start(
    options: list[str], fragments: list[str], tmp_path: Path
) -> None:
    assert_user_error(run_yolo(*TINY_FIT, *TWO, *options, cwd=tmp_path), *fragments)


@pytest.mark.slow
def test_too_few_images_are_one_sentence(tmp_path: Path) -> None:
    done = launch_yolo(*SMALL_FIT, *TWO, "--data.shapes_val=1", cwd=tmp_path)
    assert_user_error(done, "1 validation images are too few for 2 processes")


def test_a_process_alone_shares_with_nobody() -> None:
    network = SmallNetwork(2)
    before = fingerprint(network.state_dict())
    share_buffers(network)
    assert fingerprint(network.state_dict()) == before


def trainer_of(*processes: subprocess.Popen) -> SimpleNamespace:
    strategy = SimpleNamespace(launcher=SimpleNamespace(procs=list(processes)))
    state = SimpleNamespace(fn=TrainerFn.FITTING)
    return SimpleNamespace(strategy=strategy, world_size=len(processes) + 1, is_global_zero=True, state=state)


MEMORY = MemorySettings(step=[], workers=["--data.num_workers (2)"])


def test_a_failing_first_process_ends_the_others() -> None:
    other = subprocess.Popen(["sleep", "60"])
    with pytest.raises(UserError, match="a sentence"), ending_together(trainer_of(other), MEMORY):
        raise UserError("a sentence")
    assert other.wait(timeout=10) == -signal.SIGKILL


def test_a_process_that_failed_gives_its_status_to_the_first() -> None:
    waiting, failed = subprocess.Popen(["sleep", "60"]), subprocess.Popen(["sh", "-c", "exit 2"])
    with pytest.raises(SystemExit) as stop, ending_together(trainer_of(waiting, failed), MEMORY):
        raise RuntimeError("connection closed by peer")
    assert stop.value.code == 2
    assert waiting.wait(timeout=10) == -signal.SIGKILL


def test_a_process_that_the_memory_killer_took_is_spoken_for() -> None:
    killed = subprocess.Popen(["sh", "-c", "kill -9 $$"])
    sentence = r"process 1 was ended by SIGKILL, as happens when .* memory runs out: .* --data.num_workers \(2\)"
    with pytest.raises(UserError, match=sentence), ending_together(trainer_of(killed), MEMORY):
        raise RuntimeError("connection closed by peer")


WAITING = """
import subprocess, time
from types import SimpleNamespace
from yolo.memory import MemorySettings
from yolo.training import distributed
distributed.LAST_WORDS = 0.1
launcher = SimpleNamespace(procs=[subprocess.Popen(["sh", "-c", "{}"]), subprocess.Popen(["sleep", "60"])])
with distributed.ending_together(SimpleNamespace(strategy=SimpleNamespace(launcher=launcher)), MemorySettings([])):
    time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "status", "said"), [("kill -9 $$", 2, "error: process 1 was ended by SIGKILL"), ("exit 3", 3, "")]
)
def test_a_first_process_that_waits_forever_ends_too(end: str, status: int, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", WAITING.format(end)], capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    assert done.stderr.startswith(said)


@pytest.mark.parametrize("given", [KeyboardInterrupt, SIGTERMException])
def test_what_lightning_makes_of_a_signal_has_its_status(given: type[BaseException], capsys) -> None:
    status, name = (130, "SIGINT") if given is KeyboardInterrupt else (143, "SIGTERM")

    def fit() -> None:
        try:
            raise given
        except KeyboardInterrupt:
            sys.exit(1)

    trainer = trainer_of()
    for task, said in (
        (TrainerFn.FITTING, "at once, without another checkpoint"),
        (TrainerFn.VALIDATING, "at once"),
    ):
        trainer.state.fn = task
        with pytest.raises(SystemExit) as stop, ending_together(trainer, MEMORY):
            fit()
        assert stop.value.code == status
        assert capsys.readouterr().out.endswith(f"stopped by {name} {said}\n")


@pytest.mark.slow
def test_the_step_that_is_not_finite_is_named_by_the_process_whose_it_is(tmp_path: Path) -> None:
    poison = "tests.training.callbacks.poison.PoisonedTarget"
    options = [f"--trainer.callbacks={poison}", "--trainer.callbacks.step=1", "--trainer.callbacks.rank=1"]
    for version, more in enumerate([[], ["--trainer.accumulate_grad_batches=2", "--trainer.callbacks.step=0"]]):
        done = launch_yolo(*SMALL_FIT[:-1], *TWO, *options, *more, cwd=tmp_path)
        folder = Path(f"runs/quickstart/version_{version}/non_finite")
        kept = folder / f"epoch001-step00000{1 - version}-rank1.pt"
        assert_user_error(done, "the loss is not finite", "process 1 of 2", f"yolo replay {kept}")
        assert {path.name[-8:] for path in (tmp_path / folder).iterdir()} == {"rank0.pt", "rank1.pt"}


def test_synchronised_statistics_leave_network_optimiser_and_checkpoint_as_they_are() -> None:
    network = SmallNetwork(2)
    keys, roles = list(network.state_dict()), [g["name"] for g in parameter_groups(network, ModuleOptions())]
    sync = TorchSyncBatchNorm()
    converted = sync.apply(network)
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in converted.modules()) == 2
    assert list(converted.state_dict()) == keys
    assert [g["name"] for g in parameter_groups(converted, ModuleOptions())] == roles
    converted.train()(torch.rand(2, 3, 64, 64))
    plain = SmallNetwork(2)
    plain.load_state_dict(converted.state_dict())
    images = torch.rand(1, 3, 64, 64)
    expected = plain.eval()(images)[0]
    reverted = sync.revert(converted).eval()
    fuse(reverted)
    assert isinstance(reverted.stem.bn, nn.Identity)
    for actual, wanted in zip(reverted(images)[0], expected, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=1e-4, atol=1e-5)
