"""Persons on a frame, by SSD-MobileNetV2 with the weights that tools/fetch_person_detector.py fetches."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from utils.boxes import clip_boxes, nms
from utils.errors import UserError
from utils.runtime import import_paddle
from weights.containers import read_stored
from weights.download import weights_folder

FILE_NAME = "person_detector.pdparams"
THRESHOLD = 0.3  # on three real clips 68 to 91 % of the frames had a person above it, above 0.5 at most 12 %
NMS_IOU = 0.5
FETCH = "python tools/fetch_person_detector.py"


def detector_file() -> Path:
    """Where the weights are kept."""
    return weights_folder() / FILE_NAME


class PersonDetector:
    """detector(frame) -> the persons on it. Raises UserError for weights that are missing or of another network."""

    def __init__(self, path: str | Path | None = None, threshold: float = THRESHOLD):
        paddle = import_paddle()
        from models.person_detector import SsdMobileNetV2

        path = Path(path) if path else detector_file()
        if not path.is_file():
            raise UserError(f"there is no person detector in {path}; fetch it once: {FETCH}")
        self.threshold, self.network = threshold, SsdMobileNetV2()
        arrays = {name: array.astype(np.float32) for name, array in read_stored(path).arrays.items()}
        expected = {name: tuple(tensor.shape) for name, tensor in self.network.state_dict().items()}
        if {name: array.shape for name, array in arrays.items()} != expected:
            raise UserError(f"{path} does not hold the person detector; fetch it again: {FETCH}")
        self.network.set_state_dict({name: paddle.to_tensor(array) for name, array in arrays.items()})
        self.network.eval()

    def outputs(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The network's box encodings [1917, 4] and class logits [1917, 24] for a frame uint8 RGB [H, W, 3]."""
        import cv2
        import paddle

        from models.person_detector import INPUT_PX

        picture = cv2.resize(frame, (INPUT_PX, INPUT_PX), interpolation=cv2.INTER_LINEAR).astype(np.float32)
        picture = (picture / 127.5 - 1).transpose(2, 0, 1)[None]
        with paddle.no_grad():
            encodings, logits = self.network(paddle.to_tensor(np.ascontiguousarray(picture)))
        return encodings.numpy()[0], logits.numpy()[0]

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Frame uint8 RGB [H, W, 3] -> persons float32 [M, 5], best first: x1, y1, x2, y2 as fractions of it, score.

        Scores are sigmoids of the class person, at least `threshold`; of boxes with an IoU above 0.5 the best stays.
        """
        from models.person_detector import PERSON, decode_boxes

        encodings, logits = self.outputs(frame)
        scores = 1 / (1 + np.exp(-logits[:, PERSON].astype(np.float64)))
        found = np.flatnonzero(scores >= self.threshold)
        found = found[np.argsort(-scores[found], kind="stable")]
        height, width = frame.shape[:2]
        boxes = clip_boxes(decode_boxes(encodings)[found] * [width, height, width, height], height, width)
        kept = nms(boxes, scores[found], NMS_IOU)
        fractions = boxes[kept] / np.array([width, height, width, height], np.float32)
        return np.concatenate([fractions, scores[found][kept, None]], axis=1).astype(np.float32)
