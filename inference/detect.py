"""Who does what, where and when: the actions of persons on key frames, as csv in AVA's form, JSON, an overlay video.

Around each key frame the network sees a clip of whole frames, and classifies the boxes that a `BoxSource`, or its own
region proposal network, has for that frame.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.schema import Config
from datareader import Failure, VideoItem
from datareader.box_lists import BOX_ROW, FrameIndex, read_label_map, write_boxes
from datareader.key_windows import KeyFrameWindowLoader, KeyFrameWindows
from datareader.video import VideoError, printable
from inference.backends import Backend, BackendSpec
from inference.box_sources import BoxSource, DetectorBoxes, choose_boxes
from inference.classify import PredictOptions, check_overlay, failure_record, output_names, progress_in_video
from utils.boxes import iou, nms
from utils.errors import UserError
from utils.files import write_json
from utils.log import Progress

STRIDE_SECONDS = 1.0
BOXES_WRITTEN = 1024  # at once
TRACK_IOU = 0.3
DRAWN_SCORE, DRAWN_ACTIONS = 0.3, 3
COLOURS = [tuple(int(255 * part) for part in colorsys.hsv_to_rgb(k * 0.618 % 1, 0.75, 1)) for k in range(12)]


@dataclass(frozen=True)
class Moment:
    """A key frame. boxes: float32 [M, 5], x1, y1, x2, y2 as fractions of the frame, score. scores: of actions, float32
    [M, K]. tracks: int64 [M], the same number for boxes of two key frames in a row that overlap."""

    frame: int
    seconds: float
    boxes: np.ndarray
    scores: np.ndarray
    tracks: np.ndarray


def predict_actions(
    config: Config,
    items: Sequence[VideoItem],
    backend: BackendSpec,
    names: list[str],
    options: PredictOptions,
    progress: Progress,
) -> Iterator[dict]:
    """A record per video: its path, how many key frames and boxes it has, its files; or the reason of its failure.

    The network is loaded after the other arguments have been checked.
    """
    check_detector(config)
    check_overlay(options, len(items))
    outputs = output_names([item.path for item in items])
    source = box_source(config, options)
    names = names or action_names(config)
    loader = KeyFrameWindowLoader(config, items, source.key_frames)
    built = backend.build()
    for line in (source.description, *source.notes):
        progress.say(line)
    for windows in loader:
        if isinstance(windows, Failure):
            yield failure_record(windows, progress)
            continue
        assert isinstance(windows, KeyFrameWindows)
        try:
            moments = detect_actions(config, windows, built, source, options.log_interval)
        except VideoError as error:
            yield failure_record(Failure(windows.path, windows.video_id, error.reason), progress)
            continue
        yield _record(windows, moments, names, options, outputs[windows.video_id], source, progress)


def check_detector(config: Config) -> None:
    """Raise UserError for a network that detects nothing, and for frames that it does not take."""
    if config.MODEL.task != "detection":
        raise UserError("--detect needs a network with MODEL.task: detection; this one classifies whole clips")
    if config.READER.modality != "rgb" or config.READER.frame_rate is not None:
        raise UserError(
            "--detect reads the frames of the video itself: leave READER.modality and READER.frame_rate out"
        )


class Proposals(DetectorBoxes):
    """Stands for the proposals of the network itself."""

    def __init__(self, stride_seconds: float, min_score: float):
        description = f"boxes of the network's own proposals, from a score of {min_score:g}"
        super().__init__(lambda frame: np.zeros((0, 5), np.float32), stride_seconds, description)


def box_source(config: Config, options: PredictOptions) -> BoxSource:
    """Where the options say that boxes come from. Raises UserError."""
    stride, min_score = options.stride_seconds or STRIDE_SECONDS, config.DETECTION.box_score_test
    if config.DETECTION.proposal_network and not options.boxes and options.detector == "auto":
        return Proposals(stride, min_score)
    return choose_boxes(options.boxes, options.detector, stride, min_score, config.DETECTION.start_second)


def action_names(config: Config) -> list[str]:
    """The classes' names, by column; their numbers where there is no label map."""
    found = read_label_map(config.DETECTION.label_map) if Path(config.DETECTION.label_map).is_file() else {}
    return [found.get(label, str(label)) for label in range(1, config.MODEL.num_classes + 1)]


def detect_actions(
    config: Config, windows: KeyFrameWindows, backend: Backend, source: BoxSource, log_interval: int = 0
) -> list[Moment]:
    """The actions on each key frame of a video. Raises VideoError."""
    moments: list[Moment] = []
    if not len(windows):
        return moments
    counter = progress_in_video(len(windows), log_interval, "key frame")
    tracker = _Tracker()
    for part, views in windows.batches(1):
        crop, (height, width) = views.crops[0], views.frames.shape[1:3]
        frame = views.frames[views.clip_positions[0, views.clip_indices.shape[1] // 2]]
        clips = views.clips([0])
        offset, size = np.array([crop.left, crop.top] * 2), np.array([width, height] * 2)
        if isinstance(source, Proposals):
            boxes = _proposals(backend, clips, config, offset, size)
        else:
            boxes = source.boxes(windows, part.start, frame)
        pixels = boxes[:, :4] * size - offset
        scores = backend.box_scores(clips, pixels, np.zeros(len(pixels), np.int64))
        if isinstance(source, Proposals):
            scores = scores * boxes[:, 4:]  # as `tasks.score_boxes`
        key = int(windows.key_frames[part.start])
        moments.append(Moment(key, float(windows.key_seconds[part.start]), boxes, scores, tracker.follow(boxes)))
        counter.advance(f"key frames, {len(boxes)} boxes")
    counter.close()
    return moments


def _proposals(backend: Backend, clips: np.ndarray, config: Config, offset: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The network's own boxes, float32 [M, 5], without doubles."""
    boxes, _, scores = backend.proposed_boxes(clips, config.DETECTION.box_score_test)
    kept = nms(boxes, scores, config.DETECTION.nms)
    return np.concatenate([(boxes[kept] + offset) / size, scores[kept, None]], axis=1).astype(np.float32)


class _Tracker:
    """Numbers boxes: one that overlaps a box of the key frame before has its number; the best pairs first."""

    def __init__(self) -> None:
        self.boxes, self.numbers, self.count = np.zeros((0, 5), np.float32), np.zeros(0, np.int64), 0

    def follow(self, boxes: np.ndarray) -> np.ndarray:
        """The numbers of the boxes float [M, 5] of the next key frame, int64 [M]."""
        numbers = np.full(len(boxes), -1, np.int64)
        if 0 < len(boxes) * len(self.boxes) <= 1_000_000:
            overlap = iou(boxes[:, None, :4], self.boxes[None, :, :4])
            for place in np.argsort(-overlap, axis=None, kind="stable"):
                i, j = divmod(int(place), len(self.boxes))
                if overlap[i, j] < TRACK_IOU:
                    break
                if numbers[i] < 0 and self.numbers[j] not in numbers:
                    numbers[i] = self.numbers[j]
        new = np.flatnonzero(numbers < 0)
        numbers[new] = self.count + np.arange(len(new))
        self.count += len(new)
        self.boxes, self.numbers = boxes, numbers
        return numbers


# ------------------------------------------------------------------------------------------- results


def _record(
    windows: KeyFrameWindows, moments: list[Moment], names: list[str], options: PredictOptions, output: Path,
    source: BoxSource, progress: Progress,
) -> dict:  # fmt: skip
    num_boxes = sum(len(moment.boxes) for moment in moments)
    path = printable(windows.path)
    warning = warning_of(windows, source)
    if warning:
        progress.say(f"{path}: {warning}")
    prefix = options.folder / "actions" / output
    files = write_actions(prefix, windows, moments, names, options.topk)
    record = {"path": windows.path, "num_frames": windows.timeline.num_frames, "num_key_frames": len(moments)}
    record.update(num_boxes=num_boxes, files=[str(file) for file in files])
    if warning:
        record["warning"] = warning
    progress.say(
        f"{path}: {num_boxes} boxes on {len(moments)} key frames ({source.description}): {printable(files[0])}"
    )
    if not num_boxes:
        progress.say(f"{path}: no person {'found' if moments else 'and no key frame'} ({source.description})")
    if options.overlay_video:
        from inference.overlay import draw_overlay

        def write(target: Path) -> str:
            return write_actions_video(target, windows, moments, names, options.log_interval)

        record.update(draw_overlay(windows, options, output, "boxes and actions", write, progress))
    return record


def warning_of(windows: KeyFrameWindows, source: BoxSource) -> str:
    """What is not whole of a video or of its boxes, "" for nothing."""
    return "; ".join(filter(None, (windows.warning, source.warnings.get(windows.path, ""))))


def write_actions(
    prefix: Path, windows: KeyFrameWindows, moments: Sequence[Moment], names: list[str], topk: int
) -> list[Path]:
    """Write prefix.json, the `topk` actions of each box, and in AVA's form prefix.csv, all of them; returns the paths.

    The video's name in the csv file is its file's, without the extension.
    """
    index = FrameIndex()
    frames = [index.number(Path(windows.path).stem, f"{moment.seconds:.3f}") for moment in moments]

    def rows_of_boxes() -> Iterator[np.ndarray]:
        """Those of some boxes at a time: a million boxes have 80 million rows."""
        for frame, moment in zip(frames, moments):
            for first in range(0, len(moment.boxes), BOXES_WRITTEN):
                part = slice(first, first + BOXES_WRITTEN)
                rows = np.zeros(moment.scores[part].shape, BOX_ROW)  # of each box, of each action
                rows["frame"], rows["box"] = frame, moment.boxes[part, None, :4]
                rows["label"], rows["score"], rows["person"] = np.arange(1, len(names) + 1), moment.scores[part], -1
                yield rows.reshape(-1)

    facts = {"path": windows.path, "num_frames": windows.timeline.num_frames, "warning": windows.warning}
    key_frames = [
        {
            "frame": moment.frame,
            "seconds": round(moment.seconds, 6),
            "boxes": [
                {
                    "box": [round(float(corner), 6) for corner in box[:4]],
                    "score": round(float(box[4]), 6),
                    "track": int(track),
                    "actions": [
                        {"class": names[k], "index": int(k), "probability": round(float(scores[k]), 6)}
                        for k in (-scores).argsort(kind="stable")[:topk]
                    ],
                }
                for box, scores, track in zip(moment.boxes, moment.scores, moment.tracks)
            ],
        }
        for moment in moments
    ]
    files = [prefix.with_name(prefix.name + suffix) for suffix in (".json", ".csv")]
    write_json(files[0], {**facts, "key_frames": key_frames})
    write_boxes(files[1], rows_of_boxes(), index, "relative", "score")
    return files


def write_actions_video(
    target: Path, windows: KeyFrameWindows, moments: Sequence[Moment], names: list[str], log_interval: int = 0
) -> str:
    """Write the video with the boxes of the nearest key frame and their best actions; see `overlay.write_annotated`."""
    from inference.overlay import drawable_names, missing_font_warning, write_annotated

    best = {moment.frame: [_best_actions(scores) for scores in moment.scores] for moment in moments}
    used = {k for rows in best.values() for row in rows for k in row}
    shown = drawable_names(names[k] for k in sorted(used))
    middles = np.array([(a.seconds + b.seconds) / 2 for a, b in zip(moments, moments[1:])])

    def annotate(frame: np.ndarray, time: float) -> np.ndarray:
        if moments:
            moment = moments[int(np.searchsorted(middles, time, "right"))]
            for k in range(len(moment.boxes))[::-1]:  # the best box on top
                actions = [f"{shown[names[a]]}  {100 * moment.scores[k, a]:.0f} %" for a in best[moment.frame][k]]
                draw_box(frame, moment.boxes[k, :4], COLOURS[moment.tracks[k] % len(COLOURS)], actions)
        return frame

    return missing_font_warning(shown) + write_annotated(target, windows, annotate, log_interval)


def _best_actions(scores: np.ndarray) -> list[int]:
    best = (-scores).argsort(kind="stable")[:DRAWN_ACTIONS]
    return [int(k) for k in best if scores[k] >= DRAWN_SCORE]


def draw_box(frame: np.ndarray, box: np.ndarray, colour: tuple[int, int, int], lines: Sequence[str]) -> None:
    """Draw a box and lines of text at its upper left corner on a frame, uint8 RGB [H, W, 3], in place.

    box: x1, y1, x2, y2 as fractions of the frame.
    """
    import cv2

    from inference.overlay import draw_label

    height, width = frame.shape[:2]
    x1, y1, x2, y2 = (int(round(float(c))) for c in np.clip(box, 0, 1) * [width - 1, height - 1, width - 1, height - 1])
    thickness = max(1, round(height / 180))
    cv2.rectangle(frame, (x1, y1), (x2, y2), colour, thickness, cv2.LINE_AA)
    y = y1 + thickness
    for line in lines:
        y += draw_label(frame, line, (x1 + thickness, y))
