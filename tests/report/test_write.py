from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.evaluation.test_evaluator import record
from tests.report.small_report import EVIL, NAMES, content, metrics
from yolo.data.annotations import AnnotatedImage
from yolo.errors import UserError
from yolo.evaluation.evaluator import Evaluator
from yolo.evaluation.words import TIDE_WORDS
from yolo.report.write import render, slider, write_report

VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """Collects tags and texts; the tags must be nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style") and data.strip():
            self.texts.append(data.strip())


def test_the_file_holds_the_numbers(tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_report(path, content())
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    texts = Page(path.read_text(encoding="utf-8")).texts
    analysis = metrics().analysis
    for value in (analysis.summary["AP"], analysis.point.f1, analysis.best.f1, analysis.classes[1].ap50):
        assert f"{value:.3f}" in texts
    for count in (analysis.errors.true_positives, analysis.errors.false_negatives):
        assert str(count) in texts
    assert sum(name in texts for name in NAMES) == 5
    assert texts.count("–") >= 5  # the figures of the class that does not occur


def test_nothing_is_referred_to_outside_the_page() -> None:
    for tag, attributes in Page(render(content())).tags:
        for name in ("src", "href", "data", "action", "srcset", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, value)
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
    assert "url(" not in (files("yolo.report") / "page" / "report.css").read_text()


def test_the_policy_names_exactly_what_the_page_runs() -> None:
    text = render(content())
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src &#39;none&#39;; img-src data:;")
    assert "unsafe" not in policy
    scripts = [attributes for tag, attributes in Page(text).tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "curve-values"}, {}]


def test_names_cannot_break_out() -> None:
    text = render(content())
    assert EVIL not in text
    assert "<img src=x" not in text
    assert [a for t, a in Page(text).tags if t == "img" and not (a["src"] or "").startswith("data:")] == []


def test_confidential_images_leave_no_picture() -> None:
    page = Page(render(content(pixels=None)))
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert any("confidential" in text for text in page.texts)
    worst = metrics().analysis.worst_images()[0]
    assert f"image {metrics().records[worst].image_id}" in page.texts
    assert metrics().records[worst].path.name not in page.texts
    assert "no images at hand" in Page(render(content(pixels=None, without_pictures="no images at hand"))).texts


def test_300_classes_stay_small_and_are_all_in_the_table() -> None:
    text = render(content(metrics=metrics(400, [f"name {n}" for n in range(300)]), most_images=24))
    assert len(text) < 3_000_000
    page = Page(text)
    assert page.texts.count("name 217") >= 1
    assert "300 of 300 classes" in page.texts
    assert any("29 classes with most errors; 271 others" in entry for entry in page.texts)


@pytest.mark.parametrize("empty", ["objects", "detections", "both"])
def test_nothing_to_show_is_shown(empty: str) -> None:
    image = record(1, [], []) if empty != "detections" else record(1, [[0, 0, 50, 50]], [0])
    found = torch.tensor([[0.0, 0, 50, 50, 0.9, 0]]) if empty == "objects" else torch.zeros(0, 6)
    evaluator = Evaluator([1], ["cat"])
    evaluator.update([image], [found])
    page = Page(render(content(metrics=evaluator.compute(), training=None, facts={})))
    assert ("No ground truth, so no curves." in page.texts) == (empty != "detections")
    assert "1 image" in " ".join(page.texts)
    kinds = [page.texts[page.texts.index(f"{words} ({kind})") + 1] for kind, words in TIDE_WORDS.items()]
    assert kinds == ["–"] * 6


def test_an_unreadable_image_leaves_no_file(tmp_path: Path) -> None:
    def unreadable(image: AnnotatedImage) -> np.ndarray:
        raise UserError(f"{image.path}: not an image")

    with pytest.raises(UserError):
        write_report(tmp_path / "report.html", content(pixels=unreadable))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("confidence", "lowest", "expected"),
    [(0.25, 0.05, "0.050"), (0.255, 0.05, "0.050"), (0.004, 0.004, "0.004"), (0.2555, 0.05, "0.0505"), (0, 0, "0.000")],
)
def test_the_slider_meets_the_operating_confidence(confidence: float, lowest: float, expected: str) -> None:
    found = slider(confidence, lowest)
    assert found["least"] == expected
    assert float(found["start"]) == confidence
    assert float(found["least"]) >= lowest


def test_the_template_engine_waits_for_a_report() -> None:
    code = "import sys, yolo.report.write; print('jinja2' in sys.modules, 'matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_page_is_part_of_the_package() -> None:
    names = {entry.name for entry in (files("yolo.report") / "page").iterdir()}
    assert names >= {"report.html", "charts.html", "gallery.html", "report.css", "report.js"}
