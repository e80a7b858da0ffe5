from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np

from yolo.data.annotations import AnnotatedImage
from yolo.evaluation.audit_files import COLUMNS, DETECTION, LABEL, NEIGHBOUR, picture, write_csv, write_sheets
from yolo.evaluation.draw import Style
from yolo.evaluation.label_audit import LabelFinding

BOX = np.array([40.0, 40, 60, 60])
SEEN = BOX + np.array([60, 0, 60, 0])
RECORD = AnnotatedImage(
    path=Path("a.jpg"),
    image_id=1,
    size=(100, 200),
    boxes=np.array([BOX, [5, 5, 25, 25]], np.float32),
    classes=np.array([0, 1]),
    crowd=np.zeros(2, bool),
    areas=np.full(2, 400.0),
)
MOVED = LabelFinding("misplaced", 0.9, 0, 0, None, 0, 0, 0.9, 0.2, BOX, SEEN)
MISSING = LabelFinding("missing", 0.7, 0, None, None, None, 1, 0.7, 0.0, SEEN, SEEN)
DUPLICATE = LabelFinding("duplicate", 0.6, 0, 0, 1, 0, None, None, 0.9, BOX, None, 1, SEEN)
NAMES = ("cat", "dog")


def pixels(record: AnnotatedImage) -> np.ndarray:
    return np.full((*record.size, 3), 128, np.uint8)


def where(drawn: np.ndarray, style: Style) -> list[int]:
    """Bounds [x1, x2, y2] of what is drawn in a colour."""
    y, x = np.nonzero((drawn == style.colour).all(axis=2))
    return [int(x.min()), int(x.max()), int(y.max())]


def test_picture_shows_label_and_detection() -> None:
    drawn = picture(MOVED, 1, RECORD, NAMES, pixels)
    assert drawn.shape == (200, 400, 3)  # the surroundings are the whole image, twice as large
    # Texts stand above the boxes and may be wider, so that only the lower edge bounds both sides.
    assert abs(where(drawn, LABEL)[0] - 80) <= 3
    assert abs(where(drawn, LABEL)[2] - 120) <= 3
    assert abs(where(drawn, DETECTION)[0] - 200) <= 3
    assert abs(where(drawn, DETECTION)[2] - 120) <= 3


def test_neighbours_have_a_blue_line_and_no_text() -> None:
    drawn = picture(MOVED, 1, RECORD, NAMES, pixels)  # the neighbour's box is 10 to 50 there
    blue = (drawn == NEIGHBOUR.colour).all(axis=2)
    assert 2 <= blue[30, :30].sum() <= 3  # the left edge
    inside = drawn[14:47, 14:47]
    assert (inside == 128).all()
    assert blue.sum() < 4 * 42 * 3


def test_csv(tmp_path: Path) -> None:
    table = tmp_path / "audit.csv"
    write_csv([MOVED, MISSING, DUPLICATE], [RECORD], NAMES, lambda record, label: (Path("a.txt"), label + 7), table)
    with table.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert tuple(header) == COLUMNS
    box, seen = ["40.00", "40.00", "60.00", "60.00"], ["100.00", "40.00", "120.00", "60.00"]
    words = COLUMNS.index("x1")
    expected = [
        ["1", "misplaced", "0.9000", "a.jpg", "a.txt", "7", "", "cat", "cat", "0.9000", "0.2000"],
        ["2", "missing", "0.7000", "a.jpg", "", "", "", "", "dog", "0.7000", "0.0000"],
        ["3", "duplicate", "0.6000", "a.jpg", "a.txt", "7", "8", "cat", "", "", "0.9000"],
    ]
    assert [row[:words] for row in rows] == expected
    blank = [""] * 4
    boxes = [[*box, *seen, "", *blank], [*blank, *seen, "", *blank], [*box, *blank, "dog", *seen]]
    assert [row[words:] for row in rows] == boxes


def test_a_sheet_per_kind_with_the_surest(tmp_path: Path) -> None:
    written = write_sheets([MOVED] * 6 + [MISSING, DUPLICATE], [RECORD], NAMES, pixels, tmp_path, top=5)
    assert [path.name for path in written] == ["missing.jpg", "duplicate.jpg", "misplaced.jpg"]
    shapes = [cv2.imread(str(path)).shape for path in written]
    assert shapes == [(400, 400, 3), (400, 400, 3), (800, 1600, 3)]
    assert write_sheets([MOVED], [RECORD], NAMES, pixels, tmp_path, top=0) == []
