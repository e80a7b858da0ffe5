from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from yolo.commands.data_config import DataModuleArguments, parse_data_command
from yolo.data.loaders import DefaultImageLoader
from yolo.errors import UserError

RECIPE = """
seed_everything: 7
trainer: {max_epochs: 3}
model: {model_config: v9-t, image_size: [64, 96]}
ema: {nonsense: 1}
data:
  format: shapes
  batch_size: 4
  hsv_h: 1e-2
  bbox_mosaic: {prob: 0.5, degrees: 30}
"""


class PickyLoader(DefaultImageLoader):
    """A user's own loader with an argument."""

    def __init__(self, shade: int) -> None:
        self.shade = shade


@dataclass(frozen=True)
class ProbeOptions:
    """A command for the test."""

    resize: bool = True
    """Whether."""


def parse(*arguments: str | Path) -> DataModuleArguments:
    return parse_data_command("probe", ProbeOptions, [str(a) for a in arguments])[1]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def test_a_config_of_fit(recipe: Path) -> None:
    data = parse("--config", recipe)
    assert (data.image_size, data.seed, data.image_loader) == ((64, 96), 7, None)
    assert (data.options.format, data.options.batch_size, data.options.hsv_h) == ("shapes", 4, 0.01)
    assert (data.options.bbox_mosaic.prob, data.options.bbox_mosaic.degrees) == (0.5, 30.0)


def test_flags_win_over_configs_and_later_configs_over_earlier(recipe: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.yaml"
    second.write_text("model: {image_size: 160}\ndata: {batch_size: 5, bbox_mosaic: {shear: 3}}\n")
    data = parse("--data.bbox_mosaic.degrees=45", "-c", recipe, f"--config={second}", "--data.shapes_val", "9")
    mosaic = data.options.bbox_mosaic
    assert (data.options.batch_size, data.options.shapes_val, data.image_size) == (5, 9, (160, 160))
    assert (mosaic.prob, mosaic.degrees, mosaic.shear) == (0.5, 45.0, 3.0)
    data = parse("-c", second, "-c", recipe, "--size", "320", "640", "--seed=1")
    assert (data.options.batch_size, data.image_size, data.seed) == (4, (320, 640), 1)


def test_without_a_config() -> None:
    options, data = parse_data_command("probe", ProbeOptions, ["--data.root=x", "--no-resize", "--size=320"])
    assert not options.resize
    assert (data.options.root, data.image_size, data.seed) == ("x", (320, 320), 0)
    assert parse().image_size == (640, 640)


def test_shipped_config_by_name() -> None:
    data = parse("--config=quickstart")
    assert (data.options.format, data.image_size) == ("shapes", (160, 160))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--data.image_loader=tests.commands.test_data_config.PickyLoader", "--data.image_loader.shade=3"],
        ["--data.image_loader.class_path=tests.commands.test_data_config.PickyLoader",
         "--data.image_loader.init_args.shade=3"],
        ["--config={config}"],
    ],
)  # fmt: skip
def test_image_loader(arguments: list[str], tmp_path: Path) -> None:
    config = tmp_path / "loader.yaml"
    loader = "{class_path: tests.commands.test_data_config.PickyLoader, init_args: {shade: 3}}"
    config.write_text(f"data: {{image_loader: {loader}}}\n")
    loader = parse(*(argument.format(config=config) for argument in arguments)).image_loader
    assert isinstance(loader, PickyLoader)
    assert loader.shade == 3


def test_the_key_stays_secret(tmp_path: Path) -> None:
    config = tmp_path / "secret.yaml"
    key = "ab" * 32
    config.write_text(f"data: {{encryption_key: '{key}'}}\n")
    data = parse("--config", config)
    assert key not in repr(data)
    assert data.options.encryption_key.get_secret_value() == key
    config.write_text(f"data: {{encryption_key: '{key}', batch_size: many}}\n")
    with pytest.raises(UserError) as caught:
        parse("--config", config)
    assert key not in str(caught.value)


def test_the_data_module_is_that_of_fit(recipe: Path) -> None:
    from yolo.commands.fit import make_cli

    ours = parse("--config", recipe).datamodule()
    recipe.write_text(RECIPE.replace("ema: {nonsense: 1}\n", ""))
    theirs = make_cli(["--config", str(recipe)], run=False).datamodule
    assert ours.options == theirs.options
    assert (ours.image_size, ours.seed, ours.max_epochs) == (theirs.image_size, theirs.seed, 3)


@pytest.mark.slow
def test_a_saved_config_of_a_run(tiny_run) -> None:
    data = parse("--config", tiny_run.folder / "config.yaml")
    assert (data.options.shapes_val, data.image_size) == (9, (64, 64))


@pytest.mark.parametrize(
    ("config", "fragments"),
    [
        ("data: {nonsense: 1}", ["recipe.yaml: unknown option data.nonsense"]),
        ("data: {bbox_mosaic: {nonsense: 1}}", ["recipe.yaml: unknown option data.bbox_mosaic.nonsense"]),
        ("data: {batch_size: many}", ["recipe.yaml", "data.batch_size", "int", "many"]),
        ("data: 3", ["recipe.yaml: `data` is 3, expected a mapping"]),
        ("- a", ["recipe.yaml: expected a mapping", "found list"]),
        ("data: [", ["recipe.yaml: not valid YAML"]),
        ("model: {image_size: 100}", ["recipe.yaml: model.image_size", "multiples of 32"]),
        ("model: {image_size: large}", ["recipe.yaml: model.image_size is 'large'"]),
        ("seed_everything: never", ["recipe.yaml: seed_everything is 'never'"]),
        ("seed_everything: true", ["recipe.yaml: seed_everything is True, expected a whole number"]),
        ("seed_everything: false", ["recipe.yaml: seed_everything is False, expected a whole number"]),
    ],
)
def test_wrong_configs(config: str, fragments: list[str], recipe: Path) -> None:
    recipe.write_text(config)
    with pytest.raises(UserError) as caught:
        parse("--config", recipe)
    for fragment in fragments:
        assert fragment in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--config", "none.yaml"], "no config file 'none.yaml'"),
        (["--config"], "expected one argument"),
        (["--data.nonsense=1"], "--data.nonsense"),
        (["--size", "1", "2", "3"], "--size has 3 numbers"),
        (["--size", "100"], "multiples of 32"),
        (["--data.batch_size=0"], "data.batch_size is 0"),
    ],
)
def test_wrong_arguments(arguments: list[str], fragment: str) -> None:
    with pytest.raises(UserError, match=fragment):
        parse(*arguments)


def test_parsing_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "from tests.commands.test_data_config import ProbeOptions\n"
        "from yolo.commands.data_config import parse_data_command\n"
        "parse_data_command('probe', ProbeOptions, ['--config=quickstart', '--data.bbox_mosaic.prob=0.5'])\n"
        "print(*sorted({'torch', 'lightning'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
