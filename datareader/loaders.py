"""The loaders of single clips and of views: training, validation, and all views of each test video.

Items are samples, the videos of a list for one (datareader.lists.read_list); a video's id is its place among them.
`config` is the whole configuration; READER names the decoder and the limits, INPUT says how clips are normalised. A
loader keeps its reading processes until `close()`.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from datareader import transforms
from datareader.flow.source import configured_source
from datareader.lists import Sample, VideoItem
from datareader.mirroring import MirrorRule, mirror_rule
from datareader.requests import CentreClip, ClipSettings, ReaderSettings, Source, TrainingClip, ViewFrames
from datareader.transforms import TransformParameters
from datareader.video import Limits, Reading, VideoError
from datareader.views import VideoViews, ViewProtocol, find_crops
from datareader.workers import ReaderPool
from utils.errors import RunError, UserError
from utils.runtime import available_cores

if TYPE_CHECKING:
    from configs.schema import Config  # a reading process starts faster without

MAX_REPLACEMENTS = 100
T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """A video that could not be read: data, not an exception."""

    path: str
    video_id: int
    reason: str


@dataclass
class Batch:
    """N clips and what belongs to each.

    clips: float32 [N, C, T, S, S], normalised; label, video_id: int64 [N], video_id the sample's place in the list;
    labels: all of each clip's labels; samples: where each clip is from; transforms: what was done to each clip's
    frames, so that boxes can follow; failures: the videos that could not be read while the batch was made.

    Of key frames: boxes: float32 [M, 4], in pixels of the clips; box_clip: int64 [M], the place of each box's clip,
    ascending; box_labels: float32 [M, K]; stored_boxes: float64 [M, 4], the boxes as their file has them. Else None.
    """

    clips: np.ndarray
    label: np.ndarray
    video_id: np.ndarray
    labels: list[tuple[int, ...]] = field(default_factory=list)
    samples: list[Sample | VideoItem | None] = field(default_factory=list)
    transforms: list[TransformParameters | None] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    boxes: np.ndarray | None = None
    box_clip: np.ndarray | None = None
    box_labels: np.ndarray | None = None
    stored_boxes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.label)

    def take(self, places: np.ndarray) -> Batch:
        """The clips at some places, int64 [n], with all failures."""
        return Batch(
            clips=self.clips[places],
            label=self.label[places],
            video_id=self.video_id[places],
            labels=[self.labels[i] for i in places],
            samples=[self.samples[i] for i in places],
            transforms=[self.transforms[i] for i in places],
            failures=self.failures,
            **self._boxes_of(places),
        )

    def _boxes_of(self, places: np.ndarray) -> dict[str, np.ndarray]:
        """The boxes of the clips at some places."""
        if self.boxes is None or self.box_clip is None or self.box_labels is None or self.stored_boxes is None:
            return {}
        rows = [np.flatnonzero(self.box_clip == place) for place in places]
        taken = np.concatenate([*rows, np.zeros(0, np.int64)])
        return {
            "boxes": self.boxes[taken],
            "box_clip": np.repeat(np.arange(len(rows)), [len(own) for own in rows]),
            "box_labels": self.box_labels[taken],
            "stored_boxes": self.stored_boxes[taken],
        }


class Loader:
    """Samples, reading processes and the reader's settings; what all loaders share.

    num_workers: reading processes; 0 reads in this one; None: `section.num_reader_threads`, at most the cores of this
    process. source: the kind of input that is read of each sample, None: that of READER.modality. Raises UserError for
    an empty list, and for flow that cannot be computed here.
    """

    def __init__(
        self,
        config: Config,
        section,
        items: Sequence[Sample | VideoItem],
        num_workers: int | None,
        source: Source | None = None,
    ):
        if not items:
            raise UserError("the list holds no video")
        self.items = list(items)
        self.source = source or configured_source(config, computes_missing=section is config.INFER)
        self.mean, self.std = config.INPUT.mean, config.INPUT.std
        reader = config.READER
        limits = Limits(seconds=reader.seconds_per_video)
        self.reader = ReaderSettings(reader.decoder, limits, reader.folder_fps, reader.frame_rate)
        if num_workers is None:
            num_workers = min(section.num_reader_threads, available_cores())
        self.pool = ReaderPool(num_workers)

    def close(self) -> None:
        """End the reading processes. They start again when the loader is used again."""
        self.pool.close()

    def path_of(self, video_id: int) -> str:
        """Where the loader's source of a sample lies. Flow that has no place of its own is that of the video."""
        sources = self.items[video_id].sources
        return sources.get(self.source.name) or sources["rgb"]


def clip_settings(config: Config, name: str, mirror: bool = False) -> ClipSettings:
    """The clips of a section of the configuration. Raises UserError for a crop that does not fit."""
    section = getattr(config, name)
    scales = tuple(section.jitter_scales)
    if scales[0] < section.crop_size:
        raise UserError(f"{name}.crop_size {section.crop_size} is larger than {name}.jitter_scales {list(scales)}")
    keep = config.INPUT.keep_aspect_ratio
    return ClipSettings(section.video_length, section.sample_rate, scales, section.crop_size, mirror, keep)


@dataclass(frozen=True)
class _Slot:
    """One place of a batch, filled by whichever reading process is free."""

    loader: _BatchLoader
    batch: Batch
    place: int
    video_id: int
    epoch: int

    def fill(self, reader) -> list[Failure]:
        """Run in a thread of the pool; returns the videos that could not be read."""
        return self.loader._fill(reader, self)

    def put(self, frames: np.ndarray, transform: TransformParameters, video_id: int) -> None:
        """Write a clip, [T, h, w, C], and what belongs to it."""
        batch, place, item = self.batch, self.place, self.loader.items[video_id]
        self.loader._put_frames(batch, place, frames)
        rule, mirrored = self.loader.mirror_rule, transform.mirrored
        (batch.label[place],) = rule.seen_as((item.label,), mirrored)
        batch.labels[place], batch.video_id[place] = rule.seen_as(item.labels, mirrored), video_id
        batch.samples[place], batch.transforms[place] = item, transform


class _BatchLoader(Loader):
    """Batches of single clips: allocates them, lets the readers fill them in any order, hands them out in order."""

    clip: ClipSettings
    batch_size: int
    mirror_rule = MirrorRule()

    def _fill(self, reader, slot: _Slot) -> list[Failure]:
        """Read the slot's clip, or leave the slot empty; returns the videos that could not be read."""
        raise NotImplementedError

    def _new_clips(self, size: int) -> np.ndarray:
        """Room for the clips of a batch."""
        shape = (size, len(self.mean), self.clip.clip_length, self.clip.crop_px, self.clip.crop_px)
        return np.empty(shape, np.float32)

    def _put_frames(self, batch: Batch, place: int, frames: np.ndarray) -> None:
        """Write frames [T, h, w, C] to their place of `batch.clips`."""
        transforms.normalise(frames, self.mean, self.std, batch.clips[place])

    def _new_batch(self, size: int) -> Batch:
        return Batch(
            clips=self._new_clips(size),
            label=np.zeros(size, np.int64),
            video_id=np.zeros(size, np.int64),
            labels=[()] * size,
            samples=[None] * size,
            transforms=[None] * size,
        )

    def _batches(self, plan: Iterable[np.ndarray], epoch: int = 0) -> Iterator[Batch]:
        """For each array of video ids a batch; always one batch and two clips a worker ahead of the consumer."""
        waiting: deque[tuple[Batch, list[Future]]] = deque()
        ahead = 1 + -(-2 * self.pool.num_workers // self.batch_size) if self.pool.num_workers else 0
        try:
            for video_ids in plan:
                batch = self._new_batch(len(video_ids))
                slots = [_Slot(self, batch, place, int(i), epoch) for place, i in enumerate(video_ids)]
                waiting.append((batch, [self.pool.submit(slot.fill) for slot in slots]))
                if len(waiting) > ahead:
                    yield self._finished(*waiting.popleft())
            while waiting:
                yield self._finished(*waiting.popleft())
        finally:
            for _, futures in waiting:
                for future in futures:
                    future.cancel()

    def _finished(self, batch: Batch, futures: list[Future]) -> Batch:
        for future in futures:
            batch.failures += future.result()
        return batch


class TrainLoader(_BatchLoader):
    """Random clips of TRAIN, one pass over the shuffled videos at a time; `set_position` chooses the epoch and the
    first batch of it. Each of `world_size` processes gets TRAIN.batch_size / world_size clips a step.

    seed: with the epoch it fixes the order; with epoch and video, everything random about a clip. TRAIN.mirror swap or
    skip: what mirroring does to labels that say left or right (datareader.mirroring).
    num_workers, source: see Loader. Raises UserError for an empty list, a batch size that the processes do not divide,
    a crop that does not fit.
    """

    def __init__(
        self,
        config: Config,
        items: Sequence[Sample | VideoItem],
        *,
        seed: int,
        num_workers: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        source: Source | None = None,
    ):
        if config.TRAIN.batch_size % world_size:
            raise UserError(f"TRAIN.batch_size {config.TRAIN.batch_size} is no multiple of the {world_size} processes")
        super().__init__(config, config.TRAIN, items, num_workers, source)
        self.rank, self.world_size = rank, world_size
        self.clip = clip_settings(config, "TRAIN", bool(config.TRAIN.mirror))
        self.mirror_rule = mirror_rule(config)
        self.batch_size = config.TRAIN.batch_size // world_size
        self.seed, self.epoch, self.first_batch = seed, 0, 0

    def __len__(self) -> int:
        """Batches of an epoch, of each process; the last one may be smaller."""
        per_process = -(-len(self.items) // self.world_size)
        return -(-per_process // self.batch_size)

    def set_position(self, epoch: int, first_batch: int = 0) -> None:
        """The next iteration is over this epoch (from 0), from this batch on."""
        self.epoch, self.first_batch = epoch, first_batch

    def __iter__(self) -> Iterator[Batch]:
        order = self._order()
        starts = range(self.first_batch * self.batch_size, len(order), self.batch_size)
        return self._batches((order[start : start + self.batch_size] for start in starts), self.epoch)

    def _order(self) -> np.ndarray:
        """This process's video ids. With several processes the first few are repeated at the end, so that all have the
        same number of clips."""
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.items))
        total = -(-len(order) // self.world_size) * self.world_size
        return np.resize(order, total)[self.rank :: self.world_size]

    def _clip_request(self, video_id: int, key: tuple[int, ...], clip: ClipSettings):
        return TrainingClip(self.path_of(video_id), key, clip, self.reader, self.source)

    def _fill(self, reader, slot: _Slot) -> list[Failure]:
        """Read a clip into the batch. A broken video is replaced: by the one at a random distance in the list, then by
        those after it, all determined by (seed, epoch, video)."""
        failures: list[Failure] = []
        n = len(self.items)
        key = (self.seed, slot.epoch, slot.video_id)
        distance = 0
        candidate = slot.video_id
        for attempt in range(min(n, MAX_REPLACEMENTS)):
            if attempt:
                distance = distance or int(np.random.default_rng((*key, 1)).integers(1, n))
                candidate = (slot.video_id + 1 + (distance + attempt - 2) % (n - 1)) % n
            clip = self.clip
            if not self.mirror_rule.may_mirror((self.items[candidate].label, *self.items[candidate].labels)):
                clip = replace(clip, mirror=False)
            request = self._clip_request(candidate, key, clip)
            try:
                frames, detail = reader.run(request)
            except VideoError as error:
                failures.append(Failure(request.path, candidate, error.reason))
                continue
            slot.put(frames, detail.transform, candidate)
            return failures
        raise RunError(
            f"{len(failures)} training videos in a row cannot be read, the last: {failures[-1].path}: "
            f"{failures[-1].reason}; tools/check_videos.py names all of them"
        )


class ValidLoader(_BatchLoader):
    """Centre clip and centre crop of every video (VALID), in the list's order: the same numbers each time.

    A process takes items rank, rank + world_size, ... without repeats; a broken video is a failure of its batch, which
    is smaller by it (and may hold no clip at all). num_workers, source: see Loader.
    """

    def __init__(
        self,
        config: Config,
        items: Sequence[Sample | VideoItem],
        *,
        num_workers: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        source: Source | None = None,
    ):
        super().__init__(config, config.VALID, items, num_workers, source)
        self.clip = clip_settings(config, "VALID")
        self.batch_size = max(1, config.VALID.batch_size // world_size)
        self.ids = np.arange(rank, len(self.items), world_size)

    def __len__(self) -> int:
        return -(-len(self.ids) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        starts = range(0, len(self.ids), self.batch_size)
        return self._batches(self.ids[start : start + self.batch_size] for start in starts)

    def _clip_request(self, video_id: int, key: None, clip: ClipSettings):
        return CentreClip(self.path_of(video_id), clip, self.reader, self.source)

    def _fill(self, reader, slot: _Slot) -> list[Failure]:
        request = self._clip_request(slot.video_id, None, self.clip)
        try:
            frames, detail = reader.run(request)
        except VideoError as error:
            slot.batch.video_id[slot.place] = -1
            return [Failure(request.path, slot.video_id, error.reason)]
        slot.put(frames, detail.transform, slot.video_id)
        return []

    def _finished(self, batch: Batch, futures: list[Future]) -> Batch:
        batch = super()._finished(batch, futures)
        good = np.flatnonzero(batch.video_id >= 0)
        return batch if len(good) == len(batch) else batch.take(good)


class ViewLoader(Loader):
    """All views of each video of TEST or INFER, in the list's order, as VideoViews or Failure; the videos are decoded
    ahead by the reading processes.

    views: "clips x crops" as 10x3, 1x1, 10xwhole, or "whole" frames of num_test_clips / 3 clips; None: as many clips
    with three crops. use_multi_crop 2 adds the mirrored views. reverse_frames plays each clip backwards. A process has
    items rank, rank + world_size... num_workers, source: see Loader.
    """

    def __init__(
        self,
        config: Config,
        items: Sequence[Sample | VideoItem],
        section: str = "TEST",
        *,
        num_workers: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        views: str | None = None,
        reverse_frames: bool = False,
        source: Source | None = None,
    ):
        if section not in ("TEST", "INFER"):
            raise UserError(f"the views of section {section!r}: only TEST and INFER have views")
        settings = getattr(config, section)
        super().__init__(config, settings, items, num_workers, source)
        self.clip = clip_settings(config, section)
        if views in (None, "whole") and settings.num_test_clips % 3:
            raise UserError(f"{section}.num_test_clips {settings.num_test_clips} is no multiple of 3 (three crops)")
        num_clips = settings.num_test_clips // 3
        self.protocol = ViewProtocol.parse(views or f"{num_clips}x3", settings.use_multi_crop == 2, num_clips)
        self.reverse_frames = reverse_frames
        if reverse_frames:
            self.source = self.source.reversed()
        self.ids = np.arange(rank, len(self.items), world_size)

    def __len__(self) -> int:
        """Videos of this process."""
        return len(self.ids)

    def __iter__(self) -> Iterator[VideoViews | Failure]:
        return read_ahead(self.pool, self.ids, self.read)

    def request(self, video_id: int, clips: tuple[int, ...] | None = None) -> ViewFrames:
        """What a reading process does for a video. clips: the numbers of those that are wanted, None: all."""
        clip = self.clip
        return ViewFrames(
            self.path_of(video_id),
            self.protocol.num_clips,
            clip.clip_length,
            clip.frame_stride,
            clip.scales[0],
            self.reader,
            self.source,
            clip.keep_aspect_ratio,
            clips,
        )

    def views(self, video_id: int, frames: np.ndarray, reading: Reading) -> VideoViews:
        """The views of a video whose frames [U, h, w, C] were read. reading: the rest of it."""
        item = self.items[video_id]
        views = VideoViews(
            video_id=video_id,
            label=item.label,
            path=self.path_of(video_id),
            num_frames=reading.num_frames,
            frames=frames if frames.flags.owndata else frames.copy(),  # the next video overwrites shared memory
            frame_numbers=reading.numbers,
            clip_indices=reading.indices,
            crops=find_crops(frames.shape[1], frames.shape[2], self.clip.crop_px, self.protocol),
            mean=self.mean,
            std=self.std,
            labels=item.labels,
            warning=reading.warning,
            modality=self.source.name,
        )
        return views.reversed() if self.reverse_frames else views

    def read(self, video_id: int, reader, clips: tuple[int, ...] | None = None) -> VideoViews | Failure:
        """The views of a video, or of some of its clips, or why it cannot be read. reader: of `ReaderPool`."""
        try:
            return self.views(video_id, *reader.run(self.request(video_id, clips)))
        except VideoError as error:
            return Failure(self.path_of(video_id), video_id, error.reason)


def read_ahead(pool: ReaderPool, ids: Iterable[int], read: Callable[[int, Any], T]) -> Iterator[T]:
    """`read(id, reader)` of each id in their order; each reading process is one ahead, and begins at this call."""
    rest = iter(ids)
    waiting = deque(pool.submit(partial(read, int(video_id))) for video_id in itertools.islice(rest, pool.num_workers))
    return _in_order(pool, waiting, rest, read)


def _in_order(pool: ReaderPool, waiting: deque[Future], rest: Iterator[int], read: Callable) -> Iterator:
    try:
        for video_id in rest:
            waiting.append(pool.submit(partial(read, int(video_id))))
            yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


build_train_loader = TrainLoader
build_valid_loader = ValidLoader
build_view_loader = ViewLoader
