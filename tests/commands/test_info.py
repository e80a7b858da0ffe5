from __future__ import annotations

import json

import pytest

from yolo.cli import main


@pytest.mark.slow
def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    main(["info", "v9-t", "--json"])
    profile = json.loads(capsys.readouterr().out)
    assert profile["deploy_params"] == 2_001_840
    assert round(profile["deploy_gflops"], 2) == 7.71
    assert profile["strides"] == [8, 16, 32]


@pytest.mark.slow
def test_options_change_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    main(["info", "v9-t", "--json", "--classes", "80", "--class-width", "128"])
    assert json.loads(capsys.readouterr().out)["train_params"] == 3_717_680
    main(["info", "v9-t", "--json", "--classes", "3", "--size", "320"])
    assert json.loads(capsys.readouterr().out)["output_shape"] == [1, 7, 2100]
    main(["info", "v9-t", "--json", "--size", "320", "640"])
    assert json.loads(capsys.readouterr().out)["image_size"] == [320, 640]


@pytest.mark.slow
def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    main(["info", "v9-s"])
    assert "7,105,888" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["info", "v9-z"], ["info", "v9-t", "--size", "100"], ["info"]])
def test_wrong_input(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")
