"""Every backend scores boxes as the network itself does, any number of them, and refuses what is no box."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from configs import load_config
from inference import backends, build_backend
from inference.backends import PACKAGES, missing_packages, open_session
from models import build_model
from tests.plain_network import randomized
from tests.script_runs import run_script, tiny_config
from utils.errors import UserError
from weights import save_weights

EXPORTED = [name for name in PACKAGES if name != "paddle"]
COUNTS = (0, 1, 5, 32)


def detector(folder, **detection):
    """The path and the configuration of a tiny detector of 3 actions, and its weights."""
    path = tiny_config(folder, folder / "list.txt")
    sections = yaml.safe_load(path.read_text(encoding="utf-8"))
    sections["MODEL"]["task"] = "detection"
    sections["RESNETS"]["blocks_per_stage"] = [1, 1, 1, 1]
    sections["NONLOCAL"] = {"positions": {"res4": [0]}}
    boxes = {"label_map": "map.pbtxt", "train_boxes": "t.csv", "valid_boxes": "v.csv"}
    sections["DETECTION"] = {**boxes, "proposal_network": True, "proposal_width": 4, "anchor_sizes": [16], **detection}
    path.write_text(yaml.safe_dump(sections, allow_unicode=True), encoding="utf-8")
    config = load_config(path)
    arrays = {name: t.numpy() for name, t in randomized(build_model(config)).state_dict().items()}
    arrays["head.weight"] = arrays["head.weight"] * 0.05  # no class takes it all
    save_weights(folder / "w.pdparams", arrays)
    return path, config, str(folder / "w.pdparams")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return detector(tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="module")
def eager(network):
    return build_backend(*network[1:], "", backend="paddle")


def clips_of(count, height=32, width=32, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 3, 4, height, width), np.float32)


def boxes_of(count, height=32, width=32, seed=0):
    return np.random.default_rng(seed).uniform(-0.2, 1.2, (count, 4)) * ([width, height] * 2)


@pytest.fixture(scope="module")
def exported(network):
    return build_backend(*network[1:], "", backend="paddle_inference")


@pytest.mark.parametrize("name", EXPORTED)
def test_a_backend_scores_boxes_as_the_network_itself(network, eager, name):
    if missing_packages(name):
        pytest.skip(f"{missing_packages(name)} are not installed")
    backend = build_backend(*network[1:], "", backend=name)
    place = np.repeat(np.arange(4), COUNTS)
    for height, width in ((32, 32), (64, 96)):
        clips, boxes = clips_of(4, height, width), boxes_of(38, height, width)
        expected = eager.box_scores(clips, boxes, place)
        found = backend.box_scores(clips, boxes, place)
        assert found.shape == (38, 3) and found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=2e-5)
        assert np.ptp(expected, axis=0).max() > 0.1  # boxes tell clips and places apart
        for count in (0, 1, 7):
            own = backend.box_scores(clips[3:], boxes[place == 3][:count], np.zeros(count, np.int64))
            assert own.shape == (count, 3)
            np.testing.assert_allclose(own, expected[place == 3][:count], atol=2e-5)
    for mine, its in zip(backend.proposed_boxes(clips, 0.5), eager.proposed_boxes(clips, 0.5)):
        np.testing.assert_array_equal(mine, its)


def test_adaptive_points_frozen_to_the_edges_of_pixels_are_exported_too(tmp_path):
    network = detector(tmp_path, roi_sampling_ratio=0, roi_aligned=False, roi_pool="mean", roi_size=2)
    clips, boxes, place = clips_of(2, 64, 96), boxes_of(9, 64, 96), np.repeat([0, 1], [4, 5])
    found, expected = (
        build_backend(*network[1:], "", backend=name).box_scores(clips, boxes, place)
        for name in ("paddle_inference", "paddle")
    )
    np.testing.assert_allclose(found, expected, atol=2e-5)
    wide = clips_of(1, 32, 544)
    with pytest.raises(UserError, match="frames of up to 512 pixels, these are 544 x 32"):
        build_backend(*network[1:], "", backend="paddle_inference").box_scores(wide, boxes[:1], place[:1])


def test_any_number_of_boxes_scores_as_one_by_one(eager, exported, monkeypatch):
    clips, boxes, place = clips_of(2), boxes_of(600), np.repeat([0, 1], [590, 10])
    sizes, session = [], exported._session(4, 32, 32)
    monkeypatch.setitem(exported._sessions, (4,), lambda *inputs: sizes.append(len(inputs[1])) or session(*inputs))
    monkeypatch.setattr(backends, "CPU_VALUES_PER_CALL", 4 * 32 * 32)
    for scorer in (eager, exported):
        together = scorer.box_scores(clips, boxes, place)
        assert together.shape == (600, 3) and np.isfinite(together).all()
        for k in (0, 255, 256, 599):
            alone = scorer.box_scores(clips[place[k]][None], boxes[k : k + 1], np.zeros(1, np.int64))
            np.testing.assert_allclose(alone[0], together[k], atol=1e-5)
    assert sizes == [256, 256, 78, 10, 1, 1, 1, 1]


def test_clips_without_boxes_are_not_computed(exported, monkeypatch):
    computed, session = [], exported._session(4, 32, 32)
    monkeypatch.setitem(
        exported._sessions, (4,), lambda *inputs: computed.append(len(inputs[0]) // 4) or session(*inputs)
    )
    monkeypatch.setattr(backends, "CPU_VALUES_PER_CALL", 4 * 32 * 32)
    exported.box_scores(clips_of(4), boxes_of(3), np.array([1, 1, 3]))
    exported.box_scores(clips_of(4), boxes_of(0), np.zeros(0, np.int64))
    assert computed == [1, 1]


def test_hostile_boxes_are_put_right_or_refused(eager, exported):
    clips = clips_of(1)
    odd = np.array([[30, 30, 2, 2], [5, 5, 5, 5], [1e6, 1e6, 2e6, 2e6], [-1e30, -1e30, 1e30, 1e30]])
    for scorer in (eager, exported):
        found = scorer.box_scores(clips, odd, np.zeros(4, np.int64))
        assert np.isfinite(found).all()
        whole = scorer.box_scores(clips, np.array([[2, 2, 30, 30], [0, 0, 32, 32]]), np.zeros(2, np.int64))
        np.testing.assert_allclose(found[[0, 3]], whole, atol=1e-5)
        for boxes, place, message in (
            ([[0, 0, np.nan, 9]], [0], "box 0 has a coordinate that is not finite"),
            ([[0, 0, 9, 9]], [1], "box 0 is of clip 1: boxes are in order of clips 0 to 0"),
            ([[0, 0, 9, 9]], [-1], "box 0 is of clip -1"),
        ):
            with pytest.raises(UserError, match=message):
                scorer.box_scores(clips, np.array(boxes), np.array(place))
        with pytest.raises(UserError, match="box 1 is of clip 0"):
            scorer.box_scores(clips_of(2), boxes_of(2), np.array([1, 0]))


def test_few_sessions_are_open_at_once(network, monkeypatch):
    monkeypatch.setattr(backends, "MAX_SESSIONS", 2)
    monkeypatch.setattr("models.nonlocal_model.options.MAX_FREE_VALUES", 0)  # each size has a session of its own
    opened = []
    monkeypatch.setattr(backends.ExportedBackend, "_open", lambda _, *sizes: opened.append(sizes[1:3]) or print)
    backend = build_backend(*network[1:], "", backend="paddle_inference")
    for side in (48, 64, 48, 64, 32):
        backend._session(4, side, side)
    assert opened == [(32, 32), (48, 48), (64, 64), (32, 32)] and len(backend._sessions) == 2


def test_export_writes_a_network_of_frames_and_boxes(monkeypatch, network, eager, tmp_path, capsys):
    flags = (f"--config={network[0]}", f"--weights={network[2]}", f"--save_dir={tmp_path}")
    assert run_script(monkeypatch, "export", *flags) == 0
    assert "largest difference" in capsys.readouterr().out
    facts = yaml.safe_load((tmp_path / "net.yaml").read_text(encoding="utf-8"))
    assert facts["boxes"]["name"] == "boxes" and facts["boxes"]["shape"] == "[boxes, 5], at least one"
    assert facts["boxes"]["max_frame_side_px"] == "free" and facts["class_names"] == ["1", "2", "3"]
    session, clips, boxes = open_session("paddle_inference", tmp_path, "float32", "cpu"), clips_of(2), boxes_of(7)
    boxes = np.sort(boxes.clip(0, 30).reshape(7, 2, 2), axis=1).reshape(7, 4) + [0, 0, 1, 1]
    place = np.array([0, 0, 0, 1, 1, 1, 1])
    frames = np.ascontiguousarray(clips.transpose(0, 2, 1, 3, 4)).reshape(8, 3, 32, 32)
    scores, logits = session(frames, np.concatenate([place[:, None], boxes], axis=1).astype(np.float32))
    np.testing.assert_allclose(scores, eager.box_scores(clips, boxes, place), atol=2e-5)
    odds = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(scores, (odds / odds.sum(1, keepdims=True))[:, :3], atol=1e-5)


def test_actions_of_proposals_are_scored_with_the_proposals():
    from types import SimpleNamespace

    from configs.schema import Detection
    from tasks.score_boxes import score_key_frames

    class Detector:
        def proposed_boxes(self, clips, min_score):
            return np.array([[0, 0, 8, 8], [2, 2, 9, 9]], np.float32), np.array([0, 0]), np.array([0.5, 0.25])

        def box_scores(self, clips, boxes, box_clip):
            return np.array([[0.8, 0.2], [0.4, 1.0]], np.float32)

    class Batch(SimpleNamespace):
        def __len__(self):
            return 1

    added = []
    meter = SimpleNamespace(truth=SimpleNamespace(unit="pixels"), add=lambda *row: added.append(row))
    used = SimpleNamespace(source_boxes=lambda boxes: boxes)
    sample = SimpleNamespace(target=SimpleNamespace(frame=7))
    batch = Batch(failures=[], clips=None, boxes=None, box_clip=None, samples=[sample], transforms=[used])
    assert score_key_frames(Detector(), [batch], meter, Detection(proposals="rpn")) == []
    ((frame, boxes, scores),) = added
    assert frame == 7 and len(boxes) == 2
    np.testing.assert_allclose(scores, [[0.4, 0.1], [0.1, 0.25]])
