"""The three loaders: training clips, centre clips for validation, and all views of each test video.

Items are the videos of a list (datareader.lists.read_list); a video's id is its place among them. `config` is the whole
configuration; READER names the decoder and the limits. Each loader keeps its reading processes until `close()`.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

import numpy as np

from datareader import transforms
from datareader.batches import Batch, Failure
from datareader.clips import CentreClip, ClipSettings, ReaderSettings, TrainingClip, ViewFrames
from datareader.lists import VideoItem
from datareader.video import Limits, VideoError
from datareader.views import VideoViews, ViewProtocol, find_crops
from datareader.workers import ReaderPool
from utils.errors import RunError, UserError

MAX_REPLACEMENTS = 100


def build_train_loader(
    config, items: Sequence[VideoItem], *, seed: int, num_workers: int | None = None, rank: int = 0, world_size: int = 1
) -> TrainLoader:
    """Random clips of TRAIN, shuffled. Each of `world_size` processes gets TRAIN.batch_size / world_size clips a step.

    seed: with the epoch it fixes the order; with epoch and video, everything random about a clip.
    num_workers: reading processes; 0 reads in this one; None: TRAIN.num_reader_threads, at most the machine's cores.
    Raises UserError for an empty list, a batch size that the processes do not divide, a crop that does not fit.
    """
    if config.TRAIN.batch_size % world_size:
        raise UserError(f"TRAIN.batch_size {config.TRAIN.batch_size} is no multiple of the {world_size} processes")
    return TrainLoader(config, items, seed, num_workers, rank, world_size)


def build_valid_loader(
    config, items: Sequence[VideoItem], *, num_workers: int | None = None, rank: int = 0, world_size: int = 1
) -> ValidLoader:
    """Centre clip and centre crop of every video (VALID), in the list's order: the same numbers each time.

    A process takes items rank, rank + world_size, ... without repeats; a broken video is a failure of its batch, which
    is smaller by it (and may hold no clip at all).
    """
    return ValidLoader(config, items, num_workers, rank, world_size)


def build_view_loader(
    config,
    items: Sequence[VideoItem],
    section: str = "TEST",
    *,
    num_workers: int | None = None,
    rank: int = 0,
    world_size: int = 1,
    views: str | None = None,
    reverse_frames: bool = False,
) -> ViewLoader:
    """All views of each video of TEST or INFER, in the list's order, as VideoViews or Failure.

    views: "clips x crops" as 10x3, 1x1, 10xwhole, or "whole" frames of num_test_clips / 3 clips; None: as many clips
    with three crops. use_multi_crop 2 adds the mirrored views. reverse_frames plays each clip backwards. A process has
    items rank, rank + world_size...
    """
    return ViewLoader(config, items, section, num_workers, rank, world_size, views, reverse_frames)


class Loader:
    """Items, reading processes and the reader's settings; what the three loaders share."""

    def __init__(self, config, section, items: Sequence[VideoItem], num_workers: int | None, rank: int, world: int):
        if not items:
            raise UserError("the list holds no video")
        self.items, self.rank, self.world_size = list(items), rank, world
        self.mean, self.std = config.INPUT.mean, config.INPUT.std
        self.reader = ReaderSettings(config.READER.decoder, Limits(seconds=config.READER.seconds_per_video))
        if num_workers is None:
            num_workers = min(section.num_reader_threads, _available_cores())
        self.pool = ReaderPool(num_workers)

    def close(self) -> None:
        """End the reading processes. They start again when the loader is used again."""
        self.pool.close()

    def _clip_settings(self, section, name: str, mirror: bool = False) -> ClipSettings:
        scales = tuple(section.jitter_scales)
        if len(scales) != 2 or scales[0] > scales[1]:
            raise UserError(f"{name}.jitter_scales {list(scales)}: write [smallest, largest] short side")
        if scales[0] < section.crop_size:
            raise UserError(f"{name}.crop_size {section.crop_size} is larger than {name}.jitter_scales {list(scales)}")
        return ClipSettings(section.video_length, section.sample_rate, scales, section.crop_size, mirror)


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _BatchLoader(Loader):
    """Batches of single clips: allocates them, lets the readers fill them in any order, hands them out in order."""

    clip: ClipSettings
    batch_size: int

    def _new_batch(self, size: int) -> Batch:
        shape = (size, 3, self.clip.clip_length, self.clip.crop_px, self.clip.crop_px)
        numbers = [np.zeros(size, np.int64) for _ in range(3)]
        return Batch(np.empty(shape, np.float32), *numbers, labels=[()] * size)

    def _put(self, batch: Batch, slot: int, video_id: int, frames: np.ndarray) -> None:
        item = self.items[video_id]
        transforms.normalise(frames, self.mean, self.std, batch.clips[slot])
        batch.label[slot], batch.video_id[slot], batch.labels[slot] = item.label, video_id, item.labels

    def _batches(self, plan: Iterator[np.ndarray], fill) -> Iterator[Batch]:
        """For each array of video ids a batch, with `fill(reader, batch, slot, video_id) -> failures` for each clip;
        always one batch and two clips a worker ahead of the consumer."""
        waiting: deque[tuple[Batch, list[Future]]] = deque()
        ahead = 1 + -(-2 * self.pool.num_workers // self.batch_size) if self.pool.num_workers else 0
        try:
            for video_ids in plan:
                batch = self._new_batch(len(video_ids))
                futures = [
                    self.pool.submit(lambda reader, slot=slot, i=int(i), batch=batch: fill(reader, batch, slot, i))
                    for slot, i in enumerate(video_ids)
                ]
                waiting.append((batch, futures))
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
    """One pass over the shuffled videos at a time; `set_position` chooses the epoch and the first batch of it."""

    def __init__(self, config, items, seed: int, num_workers: int | None, rank: int, world_size: int):
        super().__init__(config, config.TRAIN, items, num_workers, rank, world_size)
        self.clip = self._clip_settings(config.TRAIN, "TRAIN", getattr(config.TRAIN, "mirror", True))
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
        epoch = self.epoch
        plan = (order[start : start + self.batch_size] for start in starts)
        return self._batches(plan, lambda reader, batch, slot, i: self._fill(reader, batch, slot, i, epoch))

    def _order(self) -> np.ndarray:
        """This process's video ids. With several processes the first few are repeated at the end, so that all have the
        same number of clips."""
        order = np.random.default_rng((self.seed, self.epoch)).permutation(len(self.items))
        total = -(-len(order) // self.world_size) * self.world_size
        return np.resize(order, total)[self.rank :: self.world_size]

    def _fill(self, reader, batch: Batch, slot: int, video_id: int, epoch: int) -> list[Failure]:
        """Read a clip into the batch. A broken video is replaced: by the one at a random distance in the list, then by
        those after it, all determined by (seed, epoch, video)."""
        failures: list[Failure] = []
        n = len(self.items)
        key = (self.seed, epoch, video_id)
        distance = 0
        candidate = video_id
        for attempt in range(min(n, MAX_REPLACEMENTS)):
            if attempt:
                distance = distance or int(np.random.default_rng((*key, 1)).integers(1, n))
                candidate = (video_id + 1 + (distance + attempt - 2) % (n - 1)) % n
            request = TrainingClip(self.items[candidate].path, key, self.clip, self.reader)
            try:
                frames, _ = reader.run(request)
            except VideoError as error:
                failures.append(Failure(request.path, candidate, error.cause))
                continue
            self._put(batch, slot, candidate, frames)
            return failures
        last = failures[-1]
        raise RunError(f"{len(failures)} training videos in a row cannot be read, the last: {last.path}: {last.cause}; "
                       "tools/check_videos.py names all of them")  # fmt: skip


class ValidLoader(_BatchLoader):
    """Centre clips in the list's order."""

    def __init__(self, config, items, num_workers: int | None, rank: int, world_size: int):
        super().__init__(config, config.VALID, items, num_workers, rank, world_size)
        self.clip = self._clip_settings(config.VALID, "VALID")
        self.batch_size = max(1, config.VALID.batch_size // world_size)
        self.ids = np.arange(rank, len(self.items), world_size)

    def __len__(self) -> int:
        return -(-len(self.ids) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        plan = (self.ids[start : start + self.batch_size] for start in range(0, len(self.ids), self.batch_size))
        return self._batches(plan, self._fill)

    def _fill(self, reader, batch: Batch, slot: int, video_id: int) -> list[Failure]:
        request = CentreClip(self.items[video_id].path, self.clip, self.reader)
        try:
            frames, _ = reader.run(request)
        except VideoError as error:
            batch.video_id[slot] = -1
            return [Failure(request.path, video_id, error.cause)]
        self._put(batch, slot, video_id, frames)
        return []

    def _finished(self, batch: Batch, futures: list[Future]) -> Batch:
        batch = super()._finished(batch, futures)
        good = np.flatnonzero(batch.video_id >= 0)
        if len(good) == len(batch):
            return batch
        labels = [batch.labels[i] for i in good]
        arrays = (batch.clips[good], batch.label[good], batch.video_id[good], batch.view_id[good])
        return Batch(*arrays, labels, batch.failures)


class ViewLoader(Loader):
    """All views of each video, the videos decoded ahead by the reading processes."""

    def __init__(self, config, items, section, num_workers, rank, world_size, views, reverse_frames):
        if section not in ("TEST", "INFER"):
            raise UserError(f"the views of section {section!r}: only TEST and INFER have views")
        settings = getattr(config, section)
        super().__init__(config, settings, items, num_workers, rank, world_size)
        self.clip = self._clip_settings(settings, section)
        if views in (None, "whole") and settings.num_test_clips % 3:
            raise UserError(f"{section}.num_test_clips {settings.num_test_clips} is no multiple of 3 (three crops)")
        num_clips = settings.num_test_clips // 3
        self.protocol = ViewProtocol.parse(views or f"{num_clips}x3", settings.use_multi_crop == 2, num_clips)
        self.reverse_frames = reverse_frames
        self.ids = np.arange(rank, len(self.items), world_size)

    def __len__(self) -> int:
        """Videos of this process."""
        return len(self.ids)

    def __iter__(self) -> Iterator[VideoViews | Failure]:
        waiting: deque[Future] = deque()
        try:
            for video_id in self.ids:
                waiting.append(self.pool.submit(lambda reader, i=int(video_id): self._read(reader, i)))
                if len(waiting) > self.pool.num_workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _read(self, reader, video_id: int) -> VideoViews | Failure:
        item, clip = self.items[video_id], self.clip
        request = ViewFrames(
            item.path, self.protocol.num_clips, clip.clip_length, clip.frame_stride, clip.scales[0], self.reader
        )
        try:
            frames, reading = reader.run(request)
        except VideoError as error:
            return Failure(item.path, video_id, error.cause)
        indices = reading.indices[:, ::-1] if self.reverse_frames else reading.indices
        return VideoViews(
            video_id=video_id,
            label=item.label,
            path=item.path,
            num_frames=reading.num_frames,
            frames=frames if frames.flags.owndata else frames.copy(),  # the next video overwrites shared memory
            frame_numbers=reading.numbers,
            clip_indices=indices,
            crops=find_crops(*frames.shape[1:3], clip.crop_px, self.protocol),
            mean=self.mean,
            std=self.std,
            labels=item.labels,
            complaint=reading.complaint,
        )
