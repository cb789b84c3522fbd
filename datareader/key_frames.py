"""Key frames: a clip around an annotated moment of a video, and the boxes of that moment.

A `Sample` of a key frame c has a `KeyFrame` as its target. Its clip of L frames, r apart, has the frames
c - L r / 2 + i r for i = 0 .. L - 1, cut to the video: the edges repeat. For an even L, c is that of i = L / 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from datareader import decoding
from datareader.box_lists import BoxList, FrameIndex, read_detections, read_frame_list, read_label_map, read_truth
from datareader.decoding import Timeline, VideoError
from datareader.lists import Sample, read_named_videos
from datareader.loaders import Batch, TrainLoader, ValidLoader, clip_settings
from datareader.requests import ClipDetail, ClipSettings, ReaderSettings, Source, read_clip
from datareader.transforms import CentreTransform, RandomTransform, normalise
from utils.boxes import area, clip_boxes, iou
from utils.errors import UserError

if TYPE_CHECKING:
    from configs.schema import Config

MAX_PIXELS = 1.1  # of the video's size: where boxes in pixels end at most; some lists exceed it a little
MIN_VISIBLE = 0.1  # a box of which less is inside of the crop is left out


@dataclass(frozen=True)
class KeyFrame:
    """What is annotated, or proposed, on a frame.

    frame: its number in a FrameIndex. time: its second in the file, or where `counts_frames` its number, from 1.
    boxes: float64 [M, 4], in pixels of the video or, where `relative`, in fractions. labels: float32 [M, K].
    """

    frame: int
    time: float
    counts_frames: bool
    relative: bool
    boxes: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class KeyFrames:
    """The annotated key frames of a list. samples: one a frame; truth: the rows; classes: {id: name}; notes: what of
    the proposals was dropped; excluded: int64, frames without a sample, which are not judged."""

    samples: list[Sample]
    truth: BoxList
    index: FrameIndex
    classes: dict[int, str]
    notes: tuple[str, ...] = ()
    excluded: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.samples)


def read_key_frames(config: Config, section: str) -> KeyFrames:
    """The key frames of TRAIN, VALID or TEST, with the boxes that are learned from or classified there.

    These are the annotated ones. In TRAIN with DETECTION.train_proposals also boxes of that file with a score of at
    least DETECTION.box_score_train whose IoU with an annotated one is at least DETECTION.box_iou_train, with the labels
    of the one that they overlap most. In VALID and TEST with DETECTION.proposals file instead those of
    DETECTION.proposal_file with a score of at least DETECTION.box_score_test, or the best one of a frame that has none.
    Raises UserError for files that do not fit together.
    """
    detection, filelist = config.DETECTION, getattr(config, section).filelist
    for name in ("label_map", "train_boxes", "valid_boxes"):
        if not getattr(detection, name):
            raise UserError(f"MODEL.task detection needs DETECTION.{name}")
    classes = read_label_map(detection.label_map)
    if max(classes) > config.MODEL.num_classes:
        raise UserError(
            f"{detection.label_map} has id {max(classes)}, beyond MODEL.num_classes {config.MODEL.num_classes}"
        )
    index = FrameIndex()
    truth = read_truth(detection.train_boxes if section == "TRAIN" else detection.valid_boxes, index)
    boxes, predicted, notes = None, None, ()
    if detection.train_proposals and section == "TRAIN":
        predicted = read_detections(detection.train_proposals, index, needs_action=False)
        if predicted.unit != truth.unit:
            raise UserError(f"{truth.path} has boxes in {truth.unit} units, {predicted.path} in {predicted.unit} units")
        notes = predicted.notes
        predicted = replace(predicted, rows=predicted.rows[predicted.rows["score"] >= detection.box_score_train])
    if detection.proposals == "file" and section != "TRAIN":
        if not detection.proposal_file:
            raise UserError("DETECTION.proposals file needs DETECTION.proposal_file")
        boxes = read_detections(detection.proposal_file, index, needs_action=False)
        notes = boxes.notes
        boxes = replace(boxes, rows=_confident(boxes.rows, detection.box_score_test))
    excluded_list = detection.train_excluded if section == "TRAIN" else detection.valid_excluded
    excluded = read_frame_list(excluded_list, index) if excluded_list else np.zeros(0, np.int64)
    samples = _samples(filelist, truth, index, config.MODEL.num_classes, boxes, excluded, detection.start_second)
    if predicted is not None:
        num_annotated = sum(len(sample.target.boxes) for sample in samples)
        samples = _with_predicted(samples, predicted.rows, detection.box_iou_train)
        num_predicted = sum(len(sample.target.boxes) for sample in samples) - num_annotated
        notes = (*notes, f"{num_predicted} boxes of {predicted.path} are learned from beside {num_annotated} annotated")
    return KeyFrames(samples, truth, index, classes, notes, excluded)


def _confident(rows: np.ndarray, min_score: float) -> np.ndarray:
    """The rows with a score of at least `min_score`, and of a frame without one the row of the highest score."""
    order = np.lexsort((-rows["score"], rows["frame"]))
    is_best = np.zeros(len(rows), bool)
    is_best[order] = np.diff(rows["frame"][order], prepend=-1) > 0
    return rows[is_best | (rows["score"] >= min_score)]


def _with_predicted(samples: Sequence[Sample], rows: np.ndarray, min_iou: float) -> list[Sample]:
    """The samples with those of their frames' predicted boxes that overlap a box of theirs by `min_iou`, with the
    labels of the one that they overlap most. rows: BOX_ROW."""
    rows = rows[np.argsort(rows["frame"], kind="stable")]
    found = []
    for sample in samples:
        target = sample.target
        own = rows[slice(*np.searchsorted(rows["frame"], [target.frame, target.frame + 1]))]
        if len(own) and len(target.boxes):
            boxes = np.unique(own["box"], axis=0)
            overlap = iou(boxes[:, None], target.boxes[None])
            near = overlap.max(axis=1) >= min_iou
            labels = target.labels[overlap.argmax(axis=1)[near]]
            boxes, labels = np.concatenate([target.boxes, boxes[near]]), np.concatenate([target.labels, labels])
            sample = replace(sample, target=replace(target, boxes=boxes, labels=labels))
        found.append(sample)
    return found


def _samples(
    filelist: str, truth: BoxList, index: FrameIndex, num_classes: int, boxes: BoxList | None, excluded: np.ndarray,
    start_second: float,
) -> list[Sample]:  # fmt: skip
    """A sample for each frame that `truth` names and that is not excluded, by video, then by time.

    Rows with the same corners are one box of several labels. num_classes: K, labels are 1 to K. boxes: those of the
    samples, without labels; None: those of `truth`.
    """
    if truth.rows["label"].max() > num_classes:
        raise UserError(f"{truth.path}: action {truth.rows['label'].max()} is beyond MODEL.num_classes {num_classes}")
    paths, names = read_named_videos(filelist), index.videos
    missing = [names[video] for video in np.unique(index.video[truth.frames]) if names[video] not in paths]
    if missing:
        raise UserError(f"{truth.path}: the video {missing[0]} is not in {filelist} ({len(missing)} are missing)")
    used = boxes or truth
    rows = used.rows[np.argsort(used.rows["frame"], kind="stable")]
    videos, times = index.video, index.time
    samples = []
    frames = np.setdiff1d(truth.frames, excluded)
    if not len(frames):
        raise UserError(f"{truth.path}: all frames are excluded")
    for frame in frames[np.lexsort((times[frames], videos[frames]))].tolist():
        own = rows[slice(*np.searchsorted(rows["frame"], [frame, frame + 1]))]
        corners, which = np.unique(own["box"], axis=0, return_inverse=True)
        labels = np.zeros((len(corners), num_classes), np.float32)
        if boxes is None:
            labels[which.reshape(-1), own["label"] - 1] = 1
        name, time = names[videos[frame]], float(times[frame])
        own_time = time if index.counts_frames else time - start_second
        target = KeyFrame(frame, own_time, bool(index.counts_frames), used.unit == "relative", corners, labels)
        samples.append(Sample({"rgb": paths[name]}, target, f"{name},{time:g}"))
    return samples


def nearest_frame(times: np.ndarray, seconds: float | np.ndarray) -> np.ndarray:
    """The frame nearest to each of some seconds from the video's first frame, int64. times: float64 [F]."""
    return np.searchsorted((times[1:] + times[:-1]) / 2, times[0] + seconds)


def key_frame_indices(frame: int, clip_length: int, frame_stride: int, num_frames: int) -> np.ndarray:
    """The frames of the clip around `frame`, int64 [clip_length]; what leaves the video is its first or last frame."""
    first = frame - clip_length * frame_stride // 2
    return np.clip(first + frame_stride * np.arange(clip_length), 0, num_frames - 1)


@dataclass(frozen=True)
class KeyFrameClip:
    """The clip around a moment. time, counts_frames: as in `KeyFrame`. key: with it everything random about the crop
    follows from default_rng(key), None: the whole frame at short side scales[0]."""

    path: str
    time: float
    counts_frames: bool
    key: tuple[int, ...] | None
    clip: ClipSettings
    reader: ReaderSettings
    source: Source

    def read(self) -> tuple[np.ndarray, ClipDetail]:
        """[T, h, w, C], of the source's type."""
        clip = self.clip
        if self.key is None:
            transform = CentreTransform(clip.scales[0], None, clip.keep_aspect_ratio).draw()
        else:
            transform = RandomTransform(clip.scales, clip.crop_px, clip.mirror, clip.keep_aspect_ratio).draw(
                np.random.default_rng(self.key)
            )
        return read_clip(self, self._indices, transform)

    def _indices(self, num_frames: int) -> np.ndarray:
        frame = self._frame()
        if not 0 <= frame < num_frames:
            raise VideoError(self.path, f"frame {self.time:g} is annotated, the video has {num_frames}")
        return key_frame_indices(frame, self.clip.clip_length, self.clip.frame_stride, num_frames)

    def _frame(self) -> int:
        """The number of the key frame, from 0: the one nearest to a second. Raises VideoError for one outside."""
        if self.counts_frames:
            return int(self.time) - 1
        timeline = decoding.timeline(self.path, self.reader.limits, True, self.reader.folder_fps)
        assert isinstance(timeline, Timeline)  # frames may be decoded to be counted
        length = timeline.end_seconds - timeline.times[0]
        if not 0 <= self.time <= length:
            reason = f"second {self.time:g} of the file is annotated, it has {length:.1f}; see DETECTION.start_second"
            raise VideoError(self.path, reason)
        return int(nearest_frame(timeline.times, self.time))


class _KeyFrames:
    """What the loaders of key frames share: the request of a clip, and the boxes of a batch."""

    def _clip_request(self, video_id: int, key: tuple[int, ...] | None, clip: ClipSettings) -> KeyFrameClip:
        target = self.items[video_id].target
        path = self.path_of(video_id)
        return KeyFrameClip(path, target.time, target.counts_frames, key, clip, self.reader, self.source)

    def _finished(self, batch: Batch, futures: list[Future]) -> Batch:
        batch = super()._finished(batch, futures)
        found = [boxes_of_clip(sample, used) for sample, used in zip(batch.samples, batch.transforms)]
        counts = [len(boxes) for boxes, _, _ in found]
        if not found:
            return replace(batch, boxes=np.zeros((0, 4), np.float32), box_clip=np.zeros(0, np.int64))
        boxes, labels, stored = (np.concatenate(column) for column in zip(*found))
        box_clip = np.repeat(np.arange(len(counts)), counts)
        return replace(batch, boxes=boxes, box_clip=box_clip, box_labels=labels, stored_boxes=stored)


def boxes_of_clip(sample: Sample, used) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The boxes of a sample in pixels of its crop, float32 [M, 4], their labels [M, K], and the boxes as their file has
    them, float64 [M, 4].

    used: the `TransformParameters` of the clip. A box of which less than a tenth is inside of the crop is left out.
    Raises UserError for annotated boxes in pixels of another size than the video's.
    """
    target = sample.target
    size = [used.source_width, used.source_height] * 2
    annotated = target.boxes[target.labels.any(axis=1)]
    if not target.relative and (annotated > np.multiply(size, MAX_PIXELS)).any():
        raise UserError(
            f"{sample.id}: a box ends at {annotated[:, 2:].max(axis=0).round(1).tolist()} (x, y), the video has "
            f"{used.source_width}x{used.source_height} px; boxes in pixels are those of the video itself"
        )
    boxes = used.map_boxes(target.boxes * size if target.relative else target.boxes)
    inside = np.clip(boxes, 0, [used.crop_width, used.crop_height] * 2)
    is_visible = area(inside) >= MIN_VISIBLE * area(boxes)
    clipped = clip_boxes(boxes[is_visible], used.crop_height, used.crop_width)
    return clipped, target.labels[is_visible], target.boxes[is_visible]


class KeyFrameTrainLoader(_KeyFrames, TrainLoader):
    """As TrainLoader, of samples of key frames: the clip around each, a random crop of it, and its boxes."""


class KeyFrameLoader(_KeyFrames, ValidLoader):
    """As ValidLoader, of samples of key frames, with the clips of a section: whole frames and the boxes of each.

    A batch has clips of one size, [N, C, T, h, w]; where the videos' sizes differ, batches are smaller.
    """

    def __init__(
        self,
        config: Config,
        items: Sequence[Sample],
        section: str = "VALID",
        *,
        reverse_frames: bool = False,
        **options,
    ):
        super().__init__(config, items, **options)
        self.clip = clip_settings(config, section)
        self.batch_size = max(1, getattr(config, section).batch_size // options.get("world_size", 1))
        self.reverse_frames = reverse_frames

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            yield from self._of_one_size(batch)

    def _new_clips(self, size: int) -> np.ndarray:
        return np.empty(size, object)

    def _put_frames(self, batch: Batch, place: int, frames: np.ndarray) -> None:
        batch.clips[place] = frames.copy()  # their size is known now; the next video overwrites shared memory

    def _of_one_size(self, batch: Batch) -> Iterator[Batch]:
        """The clips of a batch, normalised, those of one size together. The first has the failures."""
        sizes = [frames.shape for frames in batch.clips]
        for number, size in enumerate(dict.fromkeys(sizes) or [(0, 0, 0, 0)]):
            places = np.array([k for k, own in enumerate(sizes) if own == size], np.int64)
            part = batch.take(places)
            clips = np.empty((len(places), len(self.mean), *size[:3]), np.float32)
            for clip, frames in zip(clips, part.clips):
                normalise(frames[::-1] if self.reverse_frames else frames, self.mean, self.std, clip)
            yield replace(part, clips=clips, failures=[] if number else batch.failures)
