"""YOLOv9 at half the widths of v9-t and a third of its depth: it has every kind of block and learns in a minute."""

from __future__ import annotations

from yolo.models.gelan import GELAN, GELANSpec

THIN = f"{__name__}.ThinGelan"


class ThinGelan(GELAN):
    def __init__(self, num_classes: int) -> None:
        spec = GELANSpec(
            stem=(8, 16),
            stage2=(16, 16),
            downs=(32, 48, 64),
            stages=((32, 32), (48, 48), (64, 64)),
            spp=64,
            top_down=((32, 32), (48, 48)),
            bottom_up_downs=(24, 32),
            bottom_up=((48, 48), (64, 64)),
            repeats=1,
            stage2_block="elan",
        )
        super().__init__(spec, num_classes)
