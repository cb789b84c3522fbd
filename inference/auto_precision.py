"""The precision of `--precision=auto`: bfloat16 where the processor computes in it and this network keeps its answers.

On about NUM_CLIPS clips of the videos at hand the same backend computes class scores p in float32 and q in bfloat16.
bfloat16 is taken where argmax q = argmax p for every clip and no |p - q| is above TOLERANCE, else float32. The check is
made once a network, backend and kind of processor: its outcome is kept in the cache of exports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from configs.schema import Config
from datareader import Failure, VideoItem, build_view_loader
from inference import cache
from inference.backends import BFLOAT16_BACKENDS, Backend, ExportedBackend, processor_has_bfloat16, runtime_facts
from inference.export import NetworkSource
from utils.errors import RunError

NUM_CLIPS = 8
TOLERANCE = 0.02  # of a score, for every clip; the demo's videos differ by up to 0.01: docs/results.md


@dataclass(frozen=True)
class PrecisionChoice:
    """What `auto` took, "float32" or "bfloat16", and why. The rest is of the check where one was made: how many clips
    it saw, how many of them changed their best class, the largest difference of a score."""

    precision: str
    reason: str
    num_clips: int = 0
    top1_changed: int = 0
    largest_difference: float | None = None


def choose_precision(
    name: str, device: str, network: NetworkSource, items: Sequence[VideoItem], section: str
) -> PrecisionChoice:
    """The precision for a backend and a network.

    name: of the backend. device: "cpu" or "gpu". items: the videos whose clips the check reads, as `section` (TEST or
    INFER) of the network's configuration cuts them. Raises RunError where the backend cannot run the network.
    """
    if device == "gpu":
        return PrecisionChoice("float32", "bfloat16 is taken on CPUs only")
    if name not in BFLOAT16_BACKENDS:
        return PrecisionChoice("float32", f"{name} has no bfloat16 on CPUs")
    if not processor_has_bfloat16():
        return PrecisionChoice("float32", "this processor has no bfloat16 instructions")
    if network.config.MODEL.task == "detection":
        return PrecisionChoice("float32", "the scores of boxes are not checked")
    clip = getattr(network.config, section)

    def build(precision: str) -> ExportedBackend:
        return ExportedBackend(name, precision, network, clip.video_length, clip.crop_size)

    check = _PrecisionCheck(build, lambda: read_clips(network.config, items, section))
    facts = {"precision check": [clip.video_length, clip.crop_size], **network.origin(), **runtime_facts(name)}
    try:
        return PrecisionChoice(**cache.fetch(cache.key_of(facts), check)[1])
    except _NoClips:
        return PrecisionChoice("float32", "there was no readable video to check bfloat16 on")


def read_clips(config: Config, items: Sequence[VideoItem], section: str) -> Iterator[np.ndarray]:
    """About NUM_CLIPS clips float32 [1, C, T, S, S]: centre crops of videos spread over the list, or of times spread
    over few videos. Videos that cannot be read are left out."""
    if not items:
        return
    chosen = items[:: -(-len(items) // NUM_CLIPS)]
    per_video = -(-NUM_CLIPS // len(chosen))
    for video in build_view_loader(config, chosen, section=section, views=f"{per_video}x1", num_workers=0):
        if not isinstance(video, Failure):
            yield from (video.clips([clip]) for clip in range(per_video))


class _NoClips(Exception):
    """Nothing could be read; that is no property of the network and is not kept."""


@dataclass(frozen=True)
class _PrecisionCheck:
    """Makes a cache entry without files, whose facts are a PrecisionChoice."""

    build: Callable[[str], Backend]
    clips: Callable[[], Iterator[np.ndarray]]

    def write(self, folder: Path) -> dict[str, Any]:
        exact = self.build("float32")
        expected = [exact.scores(clips)[0] for clips in self.clips()]
        if not expected:
            raise _NoClips
        del exact  # its memory is needed
        try:
            narrow = self.build("bfloat16")
            found = [narrow.scores(clips)[0] for clips in self.clips()]
        except RunError as error:
            return asdict(PrecisionChoice("float32", str(error)))
        return asdict(judge(np.stack(expected), np.stack(found)))


def judge(expected: np.ndarray, found: np.ndarray) -> PrecisionChoice:
    """The choice that follows from the scores float32 [clips, K] in float32 and in bfloat16."""
    changed = int((expected.argmax(axis=1) != found.argmax(axis=1)).sum())
    largest = float(np.abs(expected - found).max())
    precision = "bfloat16" if changed == 0 and largest <= TOLERANCE else "float32"
    reason = (
        f"bfloat16 changes the best class of {changed} of {len(expected)} clips and scores by up to {largest:.4f}; "
        f"none and {TOLERANCE:g} are allowed"
    )
    return PrecisionChoice(precision, reason, len(expected), changed, largest)
