"""The detector as a person uses it from Python: load a checkpoint, call it on images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolo.boxes.nms import NMSOptions
from yolo.data.encrypted_loader import EncryptedImageLoader
from yolo.data.loaders import ImageLoader, load_image, pil_to_rgb
from yolo.errors import UserError
from yolo.inference import detections, lay_out, letterboxed, to_network_input
from yolo.model_file import device_for, open_model, require_size
from yolo.models.checkpoint import ModelCard
from yolo.models.detection_model import DetectionModel, Maps
from yolo.size import as_size
from yolo.tiling import Tiling, detect_tiled

if TYPE_CHECKING:
    from PIL.Image import Image
    from supervision import Detections as SupervisionDetections

Source: TypeAlias = "str | Path | NDArray[np.uint8] | Image"


@dataclass(frozen=True, eq=False)
class Detections:
    """Detections of one image, best first.

    Example:
        >>> import numpy as np
        >>> found = Detections(np.array([[1.0, 2.0, 3.0, 4.0]]), np.array([0.9]), np.array([0]), ("cat",), (8, 8))
        >>> len(found), found.names
        (1, ['cat'])
    """

    boxes: NDArray[np.float32]
    """[N, 4] x1, y1, x2, y2 in pixels of the original image."""
    scores: NDArray[np.float32]
    """[N] in [0, 1]."""
    classes: NDArray[np.int64]
    """[N] class indices."""
    class_names: tuple[str, ...]
    """Names of all classes the detector knows."""
    size: tuple[int, int]
    """(height, width) of the original image."""
    image: NDArray[np.uint8] | None = None
    """[height, width, 3] RGB, what `plot` draws on."""
    path: Path | None = None
    """File the image came from."""

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def names(self) -> list[str]:
        """Class name of each detection."""
        return [self.class_names[c] for c in self.classes]

    def plot(self) -> NDArray[np.uint8]:
        """[height, width, 3] RGB copy of the image with boxes, names and scores drawn on it."""
        from yolo.evaluation.draw import draw_boxes

        if self.image is None:
            raise ValueError("these detections were made without keeping the image, there is nothing to draw on")
        labels = [f"{name} {score:.2f}" for name, score in zip(self.names, self.scores, strict=True)]
        return draw_boxes(self.image, self.boxes, self.classes, labels)

    def to_supervision(self) -> SupervisionDetections:
        """The same as `supervision.Detections`, names under `data["class_name"]`. UserError without that package."""
        try:
            import supervision
        except ImportError as error:
            raise UserError("to_supervision needs the package supervision: pip install supervision") from error
        return supervision.Detections(
            xyxy=self.boxes.astype(np.float32).reshape(-1, 4),
            confidence=self.scores.astype(np.float32),
            class_id=self.classes.astype(np.int64),
            data={"class_name": np.array(self.names, dtype=str)},
        )

    def to_dicts(self) -> list[dict[str, Any]]:
        """One plain dictionary per detection, ready for JSON."""
        return [
            {
                "class": int(c),
                "name": self.class_names[c],
                "score": round(float(score), 5),
                "box": [round(float(value), 2) for value in box],
            }
            for c, score, box in zip(self.classes, self.scores, self.boxes, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class Picture:
    """An image that is ready for the network."""

    image: NDArray[np.uint8]
    """[height, width, 3] RGB."""
    boxed: Tensor | None
    """uint8 [1, 3, H, W] on the CPU, letterboxed; None when the image is seen through windows."""
    path: Path | None
    """File the image came from."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What the network said of an image."""

    picture: Picture
    maps: Maps | None
    """Raw maps of the main branch."""
    rows: Tensor | None
    """[K, 6] detections in its place, of an image seen through windows."""


class Detector:
    """A trained detector: `Detector.load("best.ckpt")("image.jpg")`.

    Args:
        model: network; it is deployed (fused, without auxiliary branch) and put in eval mode.
        card: class names, input size, letterbox mode.
        device: where to run; a GPU when there is one if None.
        image_size: (height, width) of the network's input, the card's when None.
        loader: reads images given by path; usual images, and encrypted ones by YOLO_ENCRYPTION_KEY, when None.
        tiling: windows through which larger images are seen (`yolo.tiling.Tiling(640, 0.2)`); none when None.
    """

    def __init__(
        self,
        model: DetectionModel,
        card: ModelCard,
        *,
        device: str | torch.device | None = None,
        image_size: int | tuple[int, int] | None = None,
        loader: ImageLoader | None = None,
        tiling: Tiling | None = None,
    ) -> None:
        self.device = _pick_device(device)
        self.card = card
        self.image_size = as_size(image_size) if image_size is not None else card.image_size
        require_size(model, self.image_size)
        self.loader = loader or EncryptedImageLoader()
        self.tiling = tiling
        self.class_names = card.class_names
        """Names of the classes, in order of their index."""
        self.model = lay_out(model.deploy()).to(self.device)

    @classmethod
    def load(
        cls,
        checkpoint: str | Path,
        *,
        device: str | torch.device | None = None,
        image_size: int | tuple[int, int] | None = None,
        loader: ImageLoader | None = None,
        tiling: Tiling | None = None,
    ) -> Detector:
        """The detector of a checkpoint, or of a file exported from one. UserError when the file cannot be used."""
        device = device_for(checkpoint, str(device or "auto"))
        model, card = open_model(checkpoint)
        return cls(model, card, device=device, image_size=image_size, loader=loader, tiling=tiling)

    def __call__(
        self,
        source: Source,
        *,
        confidence: float | None = None,
        iou: float | None = None,
        max_detections: int | None = None,
    ) -> Detections:
        """Detect in one image: a path, an RGB uint8 array [H, W, 3] or a PIL image.

        Thresholds that are not given are those the checkpoint was trained with: 0.25, 0.65 and 300 unless changed.
        """
        return next(self.predict([source], confidence=confidence, iou=iou, max_detections=max_detections))

    def predict(
        self,
        sources: Sequence[Source],
        *,
        confidence: float | None = None,
        iou: float | None = None,
        max_detections: int | None = None,
    ) -> Iterator[Detections]:
        """Detect in many images, one after the other, yielding each result as it is ready."""
        options = self.thresholds(confidence, iou, max_detections)
        for source in sources:
            (seen,) = self.run([self.read(source)], options)
            yield self.finish(seen, options)

    def thresholds(
        self, confidence: float | None = None, iou: float | None = None, max_detections: int | None = None
    ) -> NMSOptions:
        """What counts as a detection: those given, else those of the checkpoint."""
        trained = self.card.config["model"]
        given = {"conf_threshold": confidence, "iou_threshold": iou, "max_detections": max_detections}
        chosen = {name: trained[f"nms_{name}"] if value is None else value for name, value in given.items()}
        return NMSOptions(chosen["conf_threshold"], chosen["iou_threshold"], int(chosen["max_detections"]))

    def read(self, source: Source) -> Picture:
        """The first step of detecting, for threads of its own: load and letterbox one image, on the CPU."""
        path = Path(source) if isinstance(source, str | Path) else None
        image = load_image(self.loader, path) if path is not None else _as_rgb(source)
        if self.tiling is not None and not self.tiling.covers(*image.shape[:2]):
            return Picture(image, None, path)
        return Picture(image, letterboxed([image], self.image_size, self.card.letterbox), path)

    @torch.inference_mode()
    def run(self, pictures: Sequence[Picture], options: NMSOptions) -> list[Seen]:
        """The second step: the network, on all images at once; on those seen through windows, all that is to do."""
        boxed = [picture.boxed for picture in pictures if picture.boxed is not None]
        maps: Maps = []
        if boxed:
            maps, *_ = self.model(to_network_input(torch.cat(boxed).to(self.device)))
        place = iter(range(len(boxed)))
        seen = []
        for picture in pictures:
            if picture.boxed is not None:
                index = next(place)
                seen.append(Seen(picture, [level[index : index + 1] for level in maps], None))
                continue
            assert self.tiling is not None
            mode, size = self.card.letterbox, self.image_size
            seen.append(Seen(picture, None, detect_tiled(self.model, picture.image, self.tiling, options, mode, size)))
        return seen

    @torch.inference_mode()
    def finish(self, seen: Seen, options: NMSOptions) -> Detections:
        """The last step, for threads too: detections from what the network said."""
        image = seen.picture.image
        size, rows = (image.shape[0], image.shape[1]), seen.rows
        if rows is None:
            assert seen.maps is not None
            (rows,) = detections(self.model, seen.maps, self.image_size, [size], options, self.card.letterbox)
        found = rows.cpu().numpy()
        classes = found[:, 5].astype(np.int64)
        return Detections(found[:, :4], found[:, 4], classes, self.class_names, size, image, seen.picture.path)


def _pick_device(device: str | torch.device | None) -> torch.device:
    if device in (None, "auto"):
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(str(device))
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device {str(device)!r} cannot be used: {str(error).splitlines()[0]}") from error
    return chosen


def _as_rgb(image: Any) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] from an array or a PIL image. UserError otherwise."""
    if hasattr(image, "convert"):
        from PIL import ImageOps

        image = pil_to_rgb(ImageOps.exif_transpose(image), "the image")  # as the loaders turn it
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise UserError(f"an image array must be uint8 [height, width, 3] RGB, got {array.dtype} {list(array.shape)}")
    return array
