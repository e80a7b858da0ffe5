from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from yolo.commands.fit import make_cli
from yolo.shipped_configs import config_folder

CONFIGS = sorted(config_folder().glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_config_fits_the_signatures(path: Path) -> None:
    cli = make_cli(["--config", str(path)], run=False)
    given = yaml.safe_load(path.read_text())
    assert cli.config.model.model_config == given["model"]["model_config"]
    assert cli.config.data.format == given["data"]["format"]
    assert cli.config.data.seed == given["seed_everything"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_option_has_a_comment(path: Path) -> None:
    previous = ""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        indent = len(line) - len(line.lstrip())
        is_section = indent == 0 and line.endswith(":")
        if line.strip() and not line.lstrip().startswith("#") and indent <= 2 and not is_section:
            assert previous.startswith("#"), f"{path.name}:{number}: {line}"
        previous = line.strip()
