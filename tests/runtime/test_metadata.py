from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from tests.export.random_network import CONFIG, card_of
from tests.runtime.records import RECORD, record
from yolo.data.options import DataOptions
from yolo.errors import UserError
from yolo.runtime.metadata import EVALUATED, ExportRecord, evaluation_config


def test_comes_back_as_it_was() -> None:
    for original in (RECORD, record(form="raw", batch=None, quantization="int8", calibration="ab" * 32)):
        assert ExportRecord.from_json(original.to_json(), "f") == original
        assert json.loads(json.dumps(original.to_dict())) == original.to_dict()


@pytest.mark.parametrize(
    ("form", "shapes"),
    [
        ("full", {"output0": (6, 30)}),
        ("split", {"boxes": (4, 30), "scores": (2, 30)}),
        (
            "raw",
            {
                "box_logits_0": (16, 4, 6),
                "class_logits_0": (2, 4, 6),
                "box_logits_1": (16, 2, 3),
                "class_logits_1": (2, 2, 3),
            },
        ),
    ],
)
def test_outputs(form: Any, shapes: dict[str, tuple[int, ...]]) -> None:
    assert record(form=form).outputs == shapes
    assert list(record(form=form).outputs) == list(shapes)


def test_card() -> None:
    card = RECORD.card
    assert (card.class_names, card.dataset_names, card.category_ids) == (("a", "b"), ("x", "y"), (3, 8))
    assert (card.image_size, card.letterbox, card.config) == ((64, 96), "corner", CONFIG)


def test_config_is_what_detecting_and_measuring_take() -> None:
    card = card_of("v9-t", 2, (64, 64))
    card.config["model"]["learning_rate"] = 0.1
    card.config["trainer"]["precision"] = "bf16-mixed"
    try:
        config = evaluation_config(card)
        assert set(config["model"]) == set(EVALUATED)
        assert config["trainer"]["precision"] == "32-true"
        assert config["data"] == {"format": "shapes"}  # the embedded dataset lies nowhere
    finally:
        del card.config["model"]["learning_rate"]
        card.config["trainer"]["precision"] = "32-true"


def test_no_place_of_the_data_gets_into_a_file() -> None:
    secret = dict.fromkeys(("root", "train_images", "val_ann", "val_split", "cache_dir"), "/home/me/client X")
    data = {**asdict(DataOptions()), **secret, "format": "yolo", "letterbox": "corner", "cache_encrypt": True}
    card = replace(card_of("v9-t", 2, (64, 64)), config={**CONFIG, "data": data})
    assert evaluation_config(card)["data"] == {"letterbox": "corner", "on_bad_label": "error", "cache_encrypt": True}
    embedded = replace(card, config={**CONFIG, "data": {**data, "format": "shapes"}})
    assert "client" not in json.dumps(evaluation_config(embedded))
    assert evaluation_config(embedded)["data"]["shapes_val"] == 160


def changed(**values: Any) -> str:
    return json.dumps({**RECORD.to_dict(), **values})


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "format None"),
        ("{}", "format None"),
        (changed(version=2), "format 2, this program reads format 1"),
        (changed(version=True), "format True"),
        (json.dumps({name: value for name, value in RECORD.to_dict().items() if name != "form"}), "lacks ['form']"),
        (changed(evil=1), "unknown ['evil']"),
        (changed(form="boxes"), "form in its record is 'boxes', expected full, split or raw"),
        (changed(form=["full"]), "form in its record"),
        (changed(class_names=[]), "class_names"),
        (changed(class_names=["a", 3]), "class_names"),
        (changed(class_names=["a"]), "has 1 class names, but 2 category_ids"),
        (changed(dataset_names=["a"]), "has 2 class names, but 1 dataset_names"),
        (changed(category_ids=[1, -1]), "category_ids"),
        (changed(image_size=[64]), "image_size"),
        (changed(image_size=[64, "96"]), "image_size"),
        (changed(image_size=[64, 0]), "image_size"),
        (changed(letterbox="left"), "letterbox"),
        (changed(strides=[8]), "2 levels and 1 strides"),
        (changed(strides=[8.5, 16]), "strides"),
        (changed(bins=[float("nan")]), "bins"),
        (changed(batch=0), "batch"),
        (changed(batch=True), "batch"),
        (changed(quantization="int4"), "quantization"),
        (changed(calibration=1), "calibration"),
        (changed(config={}), "config"),
        (changed(config={**CONFIG, "model": {**CONFIG["model"], "conf_prod": "0.5"}}), "config"),
        (changed(config={**CONFIG, "model": {**CONFIG["model"], "more": 1}}), "config"),
        (changed(config={**CONFIG, "trainer": {**CONFIG["trainer"], "precision": "64-true"}}), "config"),
    ],
)
def test_foreign_records_are_refused(text: str, fragment: str) -> None:
    with pytest.raises(UserError, match=r"^some\.onnx: ") as refusal:
        ExportRecord.from_json(text, "some.onnx")
    assert fragment in str(refusal.value)
    assert len(str(refusal.value)) < 500
