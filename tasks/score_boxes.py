"""The loop of a detection's evaluation: batches of key frames through a detector into a meter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from configs.schema import Detection
from tasks.detection import DetectionMeter


def score_key_frames(detector: Any, batches: Iterable, meter: DetectionMeter, section: Detection) -> list:
    """Score the boxes of all batches; returns the failures.

    detector: a `models.detector.Detector` in evaluation mode, or a backend that runs one. batches: of
    `datareader.key_frames.KeyFrameLoader`. The boxes are those of the batches, with DETECTION.proposals rpn the
    proposals of the network; the scores of actions are then multiplied by the proposal's: P(action | actor) P(actor).
    """
    failures = []
    for batch in batches:
        failures += batch.failures
        if not len(batch):
            continue
        boxes, box_clip = batch.boxes, batch.box_clip
        if section.proposals == "rpn":
            boxes, box_clip, objectness = detector.proposed_boxes(batch.clips, section.box_score_test)
        scores = detector.box_scores(batch.clips, boxes, box_clip)
        if section.proposals == "rpn":
            scores = scores * objectness[:, None]
        for place, (sample, used) in enumerate(zip(batch.samples, batch.transforms)):
            own = box_clip == place
            if section.proposals != "rpn":
                found = batch.stored_boxes[own]  # as their file has them, not clipped to the frame
            else:
                found = used.source_boxes(boxes[own])
                if meter.truth.unit == "relative":
                    found = found / ([used.source_width, used.source_height] * 2)
            meter.add(sample.target.frame, found, scores[own])
    return failures
