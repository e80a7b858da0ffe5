from __future__ import annotations

from dataclasses import fields

import pytest

from yolo.errors import UserError
from yolo.export.config import FormatConfig
from yolo.export.formats import FORMATS


def test_what_a_format_has_is_asked_of_it() -> None:
    for entry in FORMATS.values():
        config = entry.config()
        assert config.output_form == entry.config.FORMS[0]
        assert config.numbers == entry.config.QUANTIZATIONS[0]
        for form in ("full", "split", "raw", "boxes"):
            if form not in entry.config.FORMS:
                with pytest.raises(UserError, match=f"--form is {form}, .* files have {entry.config.FORMS[0]}"):
                    entry.config(form=form)  # type: ignore[arg-type]
        for numbers in ("fp32", "fp16", "int8", "dynamic", "int4"):
            if numbers not in entry.config.QUANTIZATIONS:
                with pytest.raises(UserError, match=f"--quantization is {numbers}, .* files are "):
                    entry.config(quantization=numbers)  # type: ignore[arg-type]


def test_formats_do_not_share_names_of_options() -> None:
    """The command puts them all in one class."""
    common = {item.name for item in fields(FormatConfig)}
    own = [item.name for entry in FORMATS.values() for item in fields(entry.config) if item.name not in common]
    assert len(own) == len(set(own))
