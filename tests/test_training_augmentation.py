from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from configs.schema import Train
from training.augmentation import augment, cutmix, mixup, smooth

EYE = np.eye(4, dtype=np.float32)


def clips_of(values) -> np.ndarray:
    """Clips [N, 3, 2, 8, 10], each of one value."""
    return np.asarray(values, np.float32).reshape(-1, 1, 1, 1, 1) * np.ones((1, 3, 2, 8, 10), np.float32)


def test_smoothing_keeps_the_sum_and_spreads_a_share_evenly():
    np.testing.assert_allclose(smooth(EYE[[2]], 0.2), [[0.05, 0.05, 0.85, 0.05]], rtol=1e-6)


def test_mixup_blends_clips_and_targets_by_the_same_share_of_the_same_partner():
    values = np.array([1.0, 10.0, 100.0, 1000.0])
    ratios = set()
    for seed in range(20):
        clips, targets = mixup(clips_of(values), EYE, 0.5, np.random.default_rng(seed))
        np.testing.assert_allclose(clips[:, 0, 0, 0, 0], targets @ values, rtol=1e-5)
        np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
        assert np.ptp(clips, axis=(1, 2, 3, 4)).max() == 0
        ratios.add(round(float(targets.max()), 3))
    assert len(ratios) > 10


def test_cutmix_shares_the_target_by_the_area_that_was_pasted_into_all_frames():
    values = np.array([1.0, 2.0, 4.0, 8.0])
    for seed in range(20):
        clips, targets = cutmix(clips_of(values), EYE, 1.0, np.random.default_rng(seed))
        for n in range(4):
            areas = [(clips[n, 0, 0] == value).mean() for value in values]
            np.testing.assert_allclose(targets[n], areas, atol=1e-6)
            np.testing.assert_array_equal(clips[n], np.broadcast_to(clips[n, 0, 0], clips[n].shape))
            own = clips[n, 0, 0] != values[n]  # what was pasted is a box
            ys, xs = np.nonzero(own)
            assert not own.any() or own[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].all()


def test_nothing_is_changed_without_a_key_and_the_same_seed_gives_the_same():
    clips = clips_of([1, 2, 3, 4])
    same, targets = augment(clips, EYE, Train(), np.random.default_rng(0))
    assert same is clips and targets is EYE
    recipe = dataclasses.replace(Train(), mixup_alpha=0.4, cutmix_alpha=1.0, label_smoothing=0.1)
    kinds = set()
    for seed in range(12):
        (one, soft), (two, _) = (augment(clips, EYE, recipe, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(one, two)
        assert soft.min() == pytest.approx(0.025) and soft.sum() == pytest.approx(4)
        kinds.add(bool(np.ptp(one, axis=(1, 2, 3, 4)).max() == 0))
    assert kinds == {True, False}  # both mixes come
