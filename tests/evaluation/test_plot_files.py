from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from yolo.evaluation.plot_files import PlottedFile, draw_files, save_files_plot

FILES = [PlottedFile("a_best.ckpt", 0.6152, 20.0, 24.0), PlottedFile("b $x$.onnx", 0.59, 12.5, 15.0)]


def test_every_file_is_where_its_figures_are() -> None:
    figure = draw_files(FILES, 2)
    (axes,) = figure.axes
    points = [tuple(np.ravel(line.get_data()).tolist()) for line in axes.lines if line.get_marker() != "None"]
    assert points == [(20.0, 0.6152), (12.5, 0.59)]
    tails = [line.get_xdata() for line in axes.lines if len(line.get_xdata()) == 2 and line.get_linestyle() == "-"]
    assert [list(tail) for tail in tails] == [[20.0, 24.0], [12.5, 15.0]]
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    assert left == 0
    assert right > 24
    assert low < 0.59 < 0.6152 < high
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["a_best.ckpt: AP50-95 0.6152, 20.0 ms", r"b \$x\$.onnx: AP50-95 0.5900, 12.5 ms"]
    assert "2 CPU threads" in axes.get_xlabel()


def test_one_file_is_a_picture_too(tmp_path: Path) -> None:
    save_files_plot(FILES[:1], 1, tmp_path / "a.png")
    assert cv2.imread(str(tmp_path / "a.png")).shape == (550, 700, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
