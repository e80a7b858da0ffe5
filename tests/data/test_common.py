from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from yolo.data.formats.common import BadLabels, read_text, select
from yolo.errors import UserError

PATHS = [Path("images/a.jpg"), Path("images/b.jpg"), Path("images/deep/c.png")]


def test_bad_labels_stop_at_the_first_and_say_how_to_go_on() -> None:
    with pytest.raises(UserError, match=re.escape("x.txt:3: is wrong (data.on_bad_label=skip leaves such labels out)")):
        BadLabels("error").add("wrong lines", "x.txt:3: is wrong")


def test_skipped_labels_are_counted_and_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    bad = BadLabels("skip")
    for reason in ("wrong lines", "empty boxes", "wrong lines"):
        bad.add(reason, f"x.txt: {reason}")
    with caplog.at_level(logging.WARNING):
        assert bad.report(Path("labels")) == {"wrong lines": 2, "empty boxes": 1}
    expected = "labels: skipped bad labels: 2 wrong lines, 1 empty boxes; the first: x.txt: wrong lines"
    assert caplog.messages == [expected]


def test_nothing_is_reported_when_nothing_is_bad(caplog: pytest.LogCaptureFixture) -> None:
    assert BadLabels("skip").report(Path("labels")) == {}
    assert not caplog.messages


def test_read_text_names_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file, expected a list of cats"):
        read_text(tmp_path / "no.txt", "a list of cats")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(UserError, match=r"latin\.txt: cannot be read as a list of cats"):
        read_text(tmp_path / "latin.txt", "a list of cats")
    (tmp_path / "bom.txt").write_bytes("\ufeffcat".encode())
    assert read_text(tmp_path / "bom.txt", "a list of cats") == "cat"


def test_select_by_stem_or_name_keeps_the_order_of_the_dataset(tmp_path: Path) -> None:
    split = tmp_path / "split.txt"
    split.write_text("c.png\n\na\n")
    assert select(PATHS, split) == [0, 2]
    assert select(PATHS, None) == [0, 1, 2]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a\nzebra\nyak\n", "'yak' names no image of the dataset (2 such lines)"),
        ("\n", "names no image, expected one image name per line"),
    ],
)
def test_a_split_file_that_does_not_fit(tmp_path: Path, content: str, expected: str) -> None:
    split = tmp_path / "split.txt"
    split.write_text(content)
    with pytest.raises(UserError, match=re.escape(f"{split}: {expected}")):
        select(PATHS, split)


def test_a_missing_split_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file, expected a list of image names"):
        select(PATHS, tmp_path / "no.txt")


def test_select_knows_encrypted_images_by_their_plain_names(tmp_path: Path) -> None:
    paths = [Path("images/a.jpg.enc"), Path("images/b.enc"), Path("images/c.png")]
    split = tmp_path / "split.txt"
    for content, expected in (("a\nb", [0, 1]), ("a.jpg\nb.png", [0, 1]), ("a.jpg.enc\nb.enc", [0, 1]), ("c", [2])):
        split.write_text(content)
        assert select(paths, split) == expected
    split.write_text("a.png")
    with pytest.raises(UserError, match=r"'a\.png' names no image"):
        select(paths, split)
