"""The networks that go by name: YOLOv9 t, s, m, c and e."""

from __future__ import annotations

from yolo.errors import UserError
from yolo.models.detection_model import DetectionModel
from yolo.models.gelan import GELAN, GELANSpec

MODELS: dict[str, GELANSpec] = {
    "v9-t": GELANSpec(
        stem=(16, 32),
        stage2=(32, 32),
        downs=(64, 96, 128),
        stages=((64, 64), (96, 96), (128, 128)),
        spp=128,
        top_down=((64, 64), (96, 96)),
        bottom_up_downs=(48, 64),
        bottom_up=((96, 96), (128, 128)),
        repeats=3,
        stage2_block="elan",
    ),
    "v9-s": GELANSpec(
        stem=(32, 64),
        stage2=(64, 64),
        downs=(128, 192, 256),
        stages=((128, 128), (192, 192), (256, 256)),
        spp=256,
        top_down=((128, 128), (192, 192)),
        bottom_up_downs=(96, 128),
        bottom_up=((192, 192), (256, 256)),
        repeats=3,
        stage2_block="elan",
    ),
    "v9-m": GELANSpec(
        stem=(32, 64),
        stage2=(128, 128),
        downs=(240, 360, 480),
        stages=((240, 240), (360, 360), (480, 480)),
        spp=480,
        top_down=((240, 240), (360, 360)),
        bottom_up_downs=(184, 240),  # 180 rounded up to a multiple of 8, as in the published network
        bottom_up=((360, 360), (480, 480)),
        repeats=1,
        composite="auxiliary",
    ),
    "v9-c": GELANSpec(
        stem=(64, 128),
        stage2=(256, 128),
        downs=(256, 512, 512),
        stages=((512, 256), (512, 512), (512, 512)),
        spp=512,
        top_down=((256, 256), (512, 512)),
        bottom_up_downs=(256, 512),
        bottom_up=((512, 512), (512, 512)),
        repeats=1,
        down="adown",
        composite="auxiliary",
    ),
    "v9-e": GELANSpec(
        stem=(64, 128),
        stage2=(256, 128),
        downs=(256, 512, 1024),
        stages=((512, 256), (1024, 512), (1024, 512)),
        spp=512,
        top_down=((256, 256), (512, 512)),
        bottom_up_downs=(256, 512),
        bottom_up=((512, 512), (512, 1024)),
        repeats=2,
        down="adown",
        composite="main",
    ),
}


def build_model(
    name: str, num_classes: int, *, class_width: int | None = None, auxiliary: bool = True
) -> DetectionModel:
    """A freshly initialised network in training mode.

    Args:
        name: a key of `MODELS`.
        num_classes: number of classes.
        class_width: channels inside the class branches; None takes the default of `head.default_class_width`.
        auxiliary: whether to build the auxiliary branch that exists for training.

    Raises:
        UserError: when no network goes by that name.
    """
    if name not in MODELS:
        raise UserError(f"unknown model {name!r}: expected one of {', '.join(MODELS)}")
    return GELAN(MODELS[name], num_classes, class_width=class_width, auxiliary=auxiliary)
