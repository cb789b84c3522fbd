"""Calibration and temperature against scikit-learn, scipy and plain loops over the formulas."""

from __future__ import annotations

import json

import numpy as np
import pytest

from metrics.calibration import (
    bins_for,
    brier_scores,
    calibration,
    classwise_error,
    equal_mass_bins,
    log_loss,
    null_errors,
)
from metrics.probabilities import softmax, stratified_folds
from metrics.temperature import (
    apply_temperature,
    fit_temperature,
    held_out_temperature,
    parse_temperature,
    save_temperature,
)
from utils.errors import UserError


def calibrated(num_videos: int, num_classes: int = 6, seed: int = 0, sharpened: float = 1.0):
    """Scores and labels drawn from them; then the scores are sharpened, which makes them over-confident."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num_videos, num_classes)) * 2
    labels = (softmax(logits).cumsum(axis=1) > rng.random((num_videos, 1))).argmax(axis=1)
    return softmax(logits * sharpened), labels


def confidence_of(scores, labels):
    return scores.max(axis=1), scores.argmax(axis=1) == labels


def test_bins_are_those_of_array_split_and_of_scikit_learn():
    curve = pytest.importorskip("sklearn.calibration").calibration_curve
    confidence, right = confidence_of(*calibrated(150))
    bins = equal_mass_bins(confidence, right, 15)
    accuracy, mean = curve(right, confidence, n_bins=15, strategy="quantile")
    np.testing.assert_allclose(bins.accuracy, accuracy, rtol=1e-12)
    np.testing.assert_allclose(bins.confidence, mean, rtol=1e-12)
    bins = equal_mass_bins(confidence, right, 7)  # parts of 22 and 21
    parts = np.array_split(np.argsort(confidence, kind="stable"), 7)
    assert bins.sizes.tolist() == [len(part) for part in parts]
    assert bins.accuracy.tolist() == [right[part].mean() for part in parts]


def test_the_errors_are_their_formulas():
    confidence, right = confidence_of(*calibrated(200, sharpened=2))
    ece = mce = squares = 0.0
    for part in np.array_split(np.argsort(confidence, kind="stable"), 6):
        conf, acc = confidence[part].mean(), right[part].mean()
        ece += len(part) / 200 * abs(conf - acc)
        mce = max(mce, abs(conf - acc))
        squares += len(part) / 200 * ((conf - acc) ** 2 - acc * (1 - acc) / (len(part) - 1))
    bins = equal_mass_bins(confidence, right, 6)
    found = (bins.expected_error(), bins.largest_error(), bins.debiased_error())
    assert found == pytest.approx((ece, mce, squares**0.5), abs=1e-12)


def test_losses_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    scores, labels = calibrated(100)
    assert log_loss(scores, labels) == pytest.approx(metrics.log_loss(labels, scores, labels=range(6)), abs=1e-9)
    ones = np.eye(6)[labels]
    np.testing.assert_allclose(brier_scores(scores, labels), ((scores - ones) ** 2).sum(axis=1), atol=1e-12)
    two = np.stack([1 - scores[:, 0], scores[:, 0]], axis=1)  # scikit-learn counts one of the two classes
    is_first = (labels == 0).astype(int)
    expected = 2 * metrics.brier_score_loss(is_first, scores[:, 0])
    assert brier_scores(two, is_first).mean() == pytest.approx(expected, abs=1e-12)
    assert log_loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-np.log(1e-12))


def test_a_calibrated_network_is_within_its_null_95_times_of_100():
    within = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        confidence = rng.beta(5, 1.2, 300)
        right = rng.random(300) < confidence
        null = null_errors(confidence, 10, rng, 200)
        within.append(equal_mass_bins(confidence, right, 10).expected_error() <= np.percentile(null, 95))
    assert 0.92 < np.mean(within) < 0.98


def test_the_null_does_not_depend_on_how_many_are_drawn_at_once(monkeypatch):
    from metrics import calibration as module

    confidence = np.random.default_rng(0).random(100)
    whole = null_errors(confidence, 3, np.random.default_rng(1), 50)
    monkeypatch.setattr(module, "DRAWN_AT_ONCE", 700)
    np.testing.assert_array_equal(null_errors(confidence, 3, np.random.default_rng(1), 50), whole)


def test_an_overconfident_network_is_told_from_a_calibrated_one():
    found = calibration(*calibrated(3000), np.random.default_rng(0))
    assert found["calibrated"] and abs(found["overconfidence"]) < 0.03
    found = calibration(*calibrated(3000, sharpened=3), np.random.default_rng(0))
    assert not found["calibrated"] and found["overconfidence"] > 0.1 and found["ece"] > 2 * found["null_ece_95"]
    assert found["classwise_ece"] == classwise_error(*calibrated(3000, sharpened=3), 15)
    json.dumps(found, allow_nan=False)


def test_few_videos_have_no_bins():
    assert [bins_for(n) for n in (1, 89, 90, 120, 449, 450, 19761)] == [0, 0, 3, 4, 14, 15, 15]
    for n in (1, 89):
        found = calibration(*calibrated(n), np.random.default_rng(0))
        assert found["ece"] is found["bins"] is found["calibrated"] is None and found["log_loss"] > 0
    assert len(calibration(*calibrated(90), np.random.default_rng(0))["bins"]) == 3
    assert calibration(*calibrated(90, 51), np.random.default_rng(0))["classwise_ece"] is None


def test_the_temperature_of_sharpened_scores_is_found_again():
    scores, labels = calibrated(40_000, 4)
    natural = fit_temperature(scores, labels)
    assert natural == pytest.approx(1, abs=0.02)
    assert fit_temperature(apply_temperature(scores, 0.5), labels) == pytest.approx(2 * natural, rel=1e-3)
    assert fit_temperature(apply_temperature(scores, 3.0), labels) == pytest.approx(natural / 3, rel=1e-3)


def test_the_temperature_is_the_minimum_that_scipy_finds():
    optimize = pytest.importorskip("scipy.optimize")
    for seed, sharpened in enumerate((0.3, 1, 8)):
        scores, labels = calibrated(120, seed=seed, sharpened=sharpened)
        found = optimize.minimize_scalar(
            lambda t: log_loss(apply_temperature(scores, np.exp(t)), labels),  # noqa: B023 - called at once
            bounds=(-3, 3), method="bounded", options={"xatol": 1e-8},
        )  # fmt: skip
        assert np.log(fit_temperature(scores, labels)) == pytest.approx(found.x, abs=1e-4)


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([[0.9, 0.1]], [0], np.exp(-3)),  # all right: the sharper the better
        ([[0.9, 0.1]], [1], np.exp(3)),
        ([[1.0, 0.0], [0.0, 1.0]], [0, 0], np.exp(3)),  # half right: no confidence is low enough
        ([[1.0]], [0], 1.0),
    ],
)
def test_temperatures_of_extreme_scores_stay_within_their_bounds(scores, labels, expected):
    assert fit_temperature(np.array(scores), np.array(labels)) == pytest.approx(expected, rel=1e-4)


def test_held_out_temperatures_come_from_other_videos():
    scores, labels = calibrated(300, sharpened=2)
    folds = stratified_folds(labels, 5, seed=0)
    scaled, temperatures = held_out_temperature(scores, labels, folds)
    for fold in range(5):
        held_out = folds == fold
        expected = fit_temperature(scores[~held_out], labels[~held_out])
        assert temperatures[fold] == expected
        np.testing.assert_array_equal(scaled[held_out], apply_temperature(scores[held_out], expected))
    assert log_loss(scaled, labels) < log_loss(scores, labels)


def test_folds_spread_each_class_evenly():
    labels = np.random.default_rng(0).integers(0, 7, 203)
    folds = stratified_folds(labels, 5, seed=1)
    counts = np.array([np.bincount(folds[labels == c], minlength=5) for c in range(7)])
    assert (np.ptp(counts, axis=1) <= 1).all() and np.ptp(np.bincount(folds)) <= 1
    assert (folds == stratified_folds(labels, 5, seed=1)).all() and (folds != stratified_folds(labels, 5, seed=2)).any()


def test_a_temperature_changes_no_order_and_1_changes_nothing():
    scores, _ = calibrated(50)
    np.testing.assert_allclose(apply_temperature(scores, 1.0), scores, rtol=1e-9)
    for temperature in (0.1, 7.0):
        scaled = apply_temperature(scores, temperature)
        np.testing.assert_array_equal(scaled.argsort(axis=1), scores.argsort(axis=1))
        np.testing.assert_allclose(scaled.sum(axis=1), 1)


def test_a_temperature_is_a_number_or_a_file(tmp_path):
    save_temperature(tmp_path / "temperature.json", 1.5, 120, "ab")
    assert parse_temperature(str(tmp_path / "temperature.json")) == 1.5 and parse_temperature("0.5") == 0.5
    assert json.loads((tmp_path / "temperature.json").read_text()) == {
        "temperature": 1.5, "num_videos": 120, "list_sha256": "ab",
    }  # fmt: skip
    contents = {"text": "words", "list": "[1]", "other": "{}", "null": '{"temperature": null}', "bytes": "\x00"}
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    for text in ("0", "-1", "nan", "inf", str(tmp_path / "none"), *(str(tmp_path / name) for name in contents)):
        with pytest.raises(UserError, match="--temperature=") as caught:
            parse_temperature(text)
        assert "\n" not in str(caught.value)
