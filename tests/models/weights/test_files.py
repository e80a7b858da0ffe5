from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.models.test_checkpoint import CARD, Attack, write
from tests.models.weights.official import official, save_official
from yolo.errors import UserError
from yolo.models.checkpoint import CARD_KEY
from yolo.models.weights.files import read_tensors, write_tensors

NETWORK = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
OTHER = {name: tensor + 1 for name, tensor in NETWORK.state_dict().items()}


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "contents",
    [
        OTHER,
        {"state_dict": OTHER, "epoch": 3},
        {"model": OTHER, "optimizer": {"state": {}}},
        {"model": NETWORK.state_dict(), "ema": OTHER},
        {"model": OTHER, "ema": None},
        {"model": OTHER, "ema": {"decay": 0.5}},
        {f"module.{name}": tensor for name, tensor in OTHER.items()},
        {f"_orig_mod.module.{name}": tensor for name, tensor in OTHER.items()},
        {**OTHER, "names": ["a"], "strides": 3},
    ],
    ids=["bare", "state_dict", "model", "ema", "no ema", "ema without tensors", "module", "compiled", "other things"],
)  # fmt: skip
def test_state_dicts_in_every_wrapping(contents: dict, tmp_path: Path) -> None:
    torch.save(contents, tmp_path / "x.pt")
    assert_equal(read_tensors(tmp_path / "x.pt"), OTHER)


@pytest.mark.slow
def test_pickled_networks(tmp_path: Path) -> None:
    one, other = official("v9-t", 3).half(), official("v9-t", 3).half()
    names = {f"model.{n.removeprefix('model.')}": t for n, t in one.state_dict().items()}
    assert_equal(read_tensors(save_official(one, tmp_path / "x.pt")), names)
    assert_equal(read_tensors(save_official(other, tmp_path / "y.pt", ema=one)), names)


def test_checkpoint_of_ours_gives_the_network(tmp_path: Path) -> None:
    model = CARD.network.build(2)
    assert_equal(read_tensors(write(tmp_path / "x.ckpt", CARD, model)), dict(model.state_dict()))


def test_code_in_a_file_that_calls_itself_ours_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({CARD_KEY: CARD.to_dict(), "state_dict": {}, "x": Attack()}, "x.ckpt")
    with pytest.raises(UserError, match="more than tensors"):
        read_tensors("x.ckpt")
    assert not Path("PWNED").exists()


def test_safetensors_there_and_back(tmp_path: Path) -> None:
    shared = torch.arange(6.0).reshape(2, 3)
    tensors = {"a": shared.T, "b": shared, "c": torch.tensor(3), "d": torch.ones(2).half()}
    write_tensors(tmp_path / "new" / "x.safetensors", tensors, {"architecture": "v9-t"})
    found = read_tensors(tmp_path / "new" / "x.safetensors")
    assert all(torch.equal(found[name], tensors[name]) and found[name].dtype == tensors[name].dtype for name in tensors)
    assert set(found) == set(tensors)
    (tmp_path / "other").touch()
    assert (tmp_path / "new" / "x.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["x.safetensors"]


def test_names_that_are_the_same_without_their_wrapping_are_refused(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(1), "a": torch.zeros(1)}, tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"x\.pt: module\.a and a both stand for a"):
        read_tensors(tmp_path / "x.pt")


def test_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file of weights"):
        read_tensors(tmp_path / "none.pt")
    (tmp_path / "x.safetensors").write_bytes(b"garbage!" * 4)
    with pytest.raises(UserError, match="not a readable safetensors file"):
        read_tensors(tmp_path / "x.safetensors")
    torch.save({"epoch": 3}, tmp_path / "x.pt")
    with pytest.raises(UserError, match="holds no tensors"):
        read_tensors(tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"ends in \.safetensors"):
        write_tensors(tmp_path / "x.bin", {}, {})


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(UserError, match=r"folder\.safetensors: is a folder"):
        write_tensors(tmp_path / "folder.safetensors", {"a": torch.ones(1)}, {})
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"x\.safetensors: could not be written"):
        write_tensors(tmp_path / "file" / "x.safetensors", {"a": torch.ones(1)}, {})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder.safetensors"]


WRITE_BEYOND_LIMIT = """
import resource, signal, torch
from pathlib import Path
from yolo.errors import UserError
from yolo.models.weights.files import write_tensors
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_tensors(Path("x.safetensors"), {"a": torch.ones(100_000)}, {})
except UserError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="has no limit on the size of files")
def test_a_disk_that_is_full_is_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRITE_BEYOND_LIMIT], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout.startswith("x.safetensors: could not be written (")
    assert list(tmp_path.iterdir()) == []


PEAK = """
import resource, sys
from yolo.models.weights.files import read_tensors
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tensors = read_tensors(sys.argv[1])
copies = [tensor.clone() for tensor in tensors.values()]
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss counts kilobytes on Linux")
@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".ckpt"])
def test_reading_and_copying_holds_two_copies_of_the_weights_alone(suffix: str, tmp_path: Path) -> None:
    weights = {"0.weight": torch.randn(20_000_000)}
    size, path = 80_000_000, tmp_path / f"x{suffix}"
    if suffix == ".safetensors":
        write_tensors(path, weights, {})
    elif suffix == ".pt":  # an unfinished training: the optimiser is twice the size of the network
        rest = {"model": {"0.weight": torch.randn(20_000_000)}, "optimizer": torch.ones(2, 20_000_000)}
        torch.save({"ema": weights, **rest}, path)
    else:
        state = {f"model.{name}": tensor for name, tensor in weights.items()}
        torch.save(
            {CARD_KEY: CARD.to_dict(), "state_dict": state, "optimizer_states": [torch.ones(2, 20_000_000)]}, path
        )
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2.2 * size, int(done.stdout) / size
