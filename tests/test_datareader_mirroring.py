"""Squares in place of the aspect ratio, and labels that change in a mirror, through the loaders and the scripts."""

import dataclasses

import cv2
import numpy as np
import pytest
from script_runs import run_script, tiny_config, write_list
from video_factory import draw_video, ffmpeg_frames

from configs.loading import load_config, save_config
from configs.schema import Config
from datareader import VideoItem, build_train_loader, build_valid_loader, build_view_loader
from datareader.mirroring import SIDED_TEXTS, MirrorRule, mirror_pairs
from datareader.windows import build_window_loader
from tasks import build_task
from training.augmentation import augment
from utils.errors import UserError

# In this order mirror images are neighbours, in another order than in either version of the data set.
NAMES = [
    "Holding something upright",
    "Turning the camera left while filming something",
    "Turning the camera right while filming something",
    "Pushing something from left to right",
    "Plugging something into something but pulling it right out as you remove your hand",
    "Pushing something from right to left",
    "Pulling something from right to left",
    "Moving something down",
    "Pulling something from left to right",
    "Letting something roll along a flat surface",
]
PARTNER = {1: 2, 2: 1, 3: 5, 5: 3, 6: 8, 8: 6}


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    """Two videos of each class; the bar code of square frames has white left and black right."""
    folder = tmp_path_factory.mktemp("sided")
    draw_video(folder / "square.mp4", num_frames=10, width=64)
    return [VideoItem(str(folder / "square.mp4"), i % 10, i + 1, (i % 10,)) for i in range(20)]


@pytest.fixture
def config(tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    config = Config()
    config.MODEL.num_classes, config.MODEL.class_names = 10, str(tmp_path / "names.txt")
    for section in (config.TRAIN, config.VALID, config.TEST, config.INFER):
        section.crop_size, section.jitter_scales, section.video_length, section.sample_rate = 64, [64, 64], 2, 1
    config.TRAIN.batch_size = 20
    return config


def epochs(config, items, count=3, num_workers=0):
    loader = build_train_loader(config, items, seed=3, num_workers=num_workers)
    found = []
    for epoch in range(count):
        loader.set_position(epoch)
        found += list(loader)
    loader.close()
    return found


def is_mirrored(batch):
    """Told by the pixels, not by what the loader says."""
    return batch.clips[:, 0, 0, 10, 2] < batch.clips[:, 0, 0, 10, 61]


def test_a_mirrored_clip_changes_its_label_like_a_plain_loop(config, items):
    config.TRAIN.mirror = True
    plain = epochs(config, items)
    config.TRAIN.mirror = "swap"
    swapped = epochs(config, items, num_workers=2)
    changed = 0
    for before, after in zip(plain, swapped):
        np.testing.assert_array_equal(before.clips, after.clips)
        for i, mirrored in enumerate(is_mirrored(after)):
            label = int(before.label[i])
            assert label == items[before.video_id[i]].label
            expected = PARTNER.get(label, label) if mirrored else label
            assert after.label[i] == expected and after.labels[i] == (expected,)
            changed += expected != label
    assert 8 < changed < 28  # of 36 clips of such classes


def test_skipped_classes_are_never_mirrored_and_the_others_as_before(config, items):
    config.TRAIN.mirror = True
    plain = epochs(config, items)
    config.TRAIN.mirror = "skip"
    for before, after in zip(plain, epochs(config, items)):
        sided = np.isin(after.label, list(PARTNER))
        np.testing.assert_array_equal(before.label, after.label)
        np.testing.assert_array_equal(is_mirrored(after), is_mirrored(before) & ~sided)
        upright = np.where(is_mirrored(before)[:, None, None, None, None], before.clips[..., ::-1], before.clips)
        np.testing.assert_array_equal(after.clips[sided], upright[sided])


def test_a_replacement_of_a_broken_video_follows_the_rule_of_its_own_label(config, items):
    items = [dataclasses.replace(item, path="/nowhere/a.mp4") if item.label == 7 else item for item in items]
    for mirror in ("swap", "skip"):
        config.TRAIN.mirror = mirror
        for batch in epochs(config, items):
            for i, mirrored in enumerate(is_mirrored(batch)):
                own = items[batch.video_id[i]].label
                partner = PARTNER.get(own, own) if mirror == "swap" else own
                assert batch.label[i] == (partner if mirrored else own)
                assert not (mirror == "skip" and mirrored and own in PARTNER)


def test_swapped_labels_stay_through_a_later_start_and_mixup(config, items):
    config.TRAIN.mirror, config.TRAIN.batch_size, config.TRAIN.mixup_alpha = "swap", 5, 0.4
    whole = epochs(config, items, 1)
    loader = build_train_loader(config, items, seed=3, num_workers=0)
    loader.set_position(0, 2)
    for first, again in zip(whole[2:], loader):
        np.testing.assert_array_equal(first.label, again.label)
    task = build_task(config)
    targets = task.targets(whole[0])
    np.testing.assert_array_equal(targets.argmax(1), whole[0].label)
    _, mixed = augment(whole[0].clips, targets, config.TRAIN, np.random.default_rng(0))
    assert set(np.flatnonzero(mixed.sum(0))) <= set(whole[0].label)


def test_pairs_are_found_by_text_in_any_order_and_spelling():
    assert mirror_pairs(NAMES) == PARTNER
    names = [name.replace("something", "[something]").upper() for name in reversed(NAMES)]
    assert mirror_pairs(names) == {9 - a: 9 - b for a, b in PARTNER.items()}
    rule = MirrorRule(PARTNER)
    assert rule.seen_as((1, 4, 6), True) == (2, 4, 8) and rule.seen_as((1, 4, 6), False) == (1, 4, 6)
    assert MirrorRule(PARTNER, skips=True).may_mirror((0, 4, 7, 9))
    assert not MirrorRule(PARTNER, skips=True).may_mirror((0, 5))


@pytest.mark.parametrize("text", SIDED_TEXTS)
def test_a_label_file_without_one_of_the_six_texts_is_refused(config, items, tmp_path, text):
    names = [name if name != text else "Something else" for name in NAMES]
    (tmp_path / "names.txt").write_text("\n".join(names))
    for mirror in ("swap", "skip"):
        config.TRAIN.mirror = mirror
        with pytest.raises(UserError, match=text):
            build_train_loader(config, items, seed=0, num_workers=0)
    config.TRAIN.mirror = True
    build_train_loader(config, items, seed=0, num_workers=0)


def test_training_refuses_such_a_label_file_in_one_line(tmp_path, items, monkeypatch, capsys):
    filelist = write_list(tmp_path / "list.txt", [(item.path, item.label % 3) for item in items[:4]])
    config = tiny_config(tmp_path, filelist, mirror="swap")
    assert run_script(monkeypatch, "train", f"--config={config}", f"--save_dir={tmp_path / 'run'}") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith(("warning", "note"))]
    assert "Pulling something from left to right" in line and "MODEL.class_names" in line


def test_the_values_of_the_key(tmp_path):
    for value in (True, False, "swap", "skip"):
        config = load_config("configs/s3d.yaml", [f"TRAIN.mirror={value}"])
        assert config.TRAIN.mirror == value and type(config.TRAIN.mirror) is type(value)
        (tmp_path / "saved.yaml").write_text(save_config(config))
        assert load_config(tmp_path / "saved.yaml") == config
    for value in ("1", "flip", "null", "'True'"):
        with pytest.raises(UserError, match="TRAIN.mirror.*none of True, False, swap, skip"):
            load_config("configs/s3d.yaml", [f"TRAIN.mirror={value}"])
    with pytest.raises(UserError, match="TEST.use_multi_crop 2 adds mirrored views"):
        load_config("configs/s3d.yaml", ["TRAIN.mirror=swap", "TEST.use_multi_crop=2"])


def test_squares_in_validation_views_and_windows(config, tmp_path):
    """Frames without their aspect ratio, against OpenCV on ffmpeg's frames: centre crops and places of views."""
    path = draw_video(tmp_path / "wide.mp4", num_frames=12)  # 64 x 84
    truth = np.stack([cv2.resize(f, (48, 48), interpolation=cv2.INTER_LINEAR) for f in ffmpeg_frames(path)])
    config.INPUT.keep_aspect_ratio = False
    for section in (config.VALID, config.INFER):
        section.crop_size, section.jitter_scales, section.video_length, section.sample_rate = 32, [48, 48], 4, 2
    items = [VideoItem(str(path), 0, 1, (0,))]

    def pixels(clip):
        return np.rint(clip.transpose(1, 2, 3, 0) * 57.375 + 114.75)

    (batch,) = build_valid_loader(config, items, num_workers=0)
    np.testing.assert_array_equal(pixels(batch.clips[0]), truth[2:10:2, 8:40, 8:40])
    (views,) = build_view_loader(config, items, "INFER", num_workers=0, views="1x3")
    for view, left in enumerate((0, 8, 16)):
        np.testing.assert_array_equal(pixels(views.clips([view])[0]), truth[0:8:2, 8:40, left : left + 32])
    (whole,) = build_view_loader(config, items, "INFER", num_workers=0, views="1xwhole")
    assert whole.frames.shape[1:3] == (48, 48)
    (windows,) = build_window_loader(config, items, views="1x1")
    for part, views in windows.batches(2):
        for k, window in enumerate(range(part.start, part.stop)):
            start = windows.starts[window]
            np.testing.assert_array_equal(pixels(views.clips([k])[0]), truth[start : start + 8 : 2, 8:40, 8:40])
    extreme = draw_video(tmp_path / "flat.mp4", num_frames=4, height=2, width=1000)
    (views,) = build_view_loader(config, [VideoItem(str(extreme), 0, 1)], "INFER", num_workers=0, views="1x1")
    assert views.frames.shape[1:3] == (48, 48)


def test_the_paper_s_input_is_in_the_family_s_configuration():
    config = load_config("configs/s3d.yaml")
    assert config.INPUT.keep_aspect_ratio is False and Config().INPUT.keep_aspect_ratio is True
    assert load_config("configs/nonlocal.yaml").INPUT.keep_aspect_ratio is True
    with pytest.raises(UserError, match="keep_aspect_ratio"):
        load_config("configs/s3d.yaml", ["INPUT.keep_aspect_ratio=256"])


def test_the_data_sets_configurations_have_the_paper_s_recipe():
    for name, num_classes, mirror in (
        ("something_v1", 174, "swap"),
        ("something_v2", 174, "swap"),
        ("mini_kinetics", 200, True),
    ):
        config = load_config(f"configs/{name}.yaml")
        train, folder = config.TRAIN, config.TRAIN.filelist.rpartition("/")[0]
        assert config.MODEL.name == "S3D" and config.MODEL.num_classes == num_classes and train.mirror == mirror
        assert not config.INPUT.keep_aspect_ratio and config.MODEL.class_names.startswith(folder + "/")
        for section in (train, config.VALID, config.TEST):
            assert (section.jitter_scales, section.crop_size) == ([256, 256], 224)
            assert (section.video_length, section.sample_rate) == (64, 1) and section.filelist.startswith(folder + "/")
        assert (train.momentum, train.weight_decay, train.learning_rate, train.learning_rate_decay) == (
            0.9,
            1e-7,
            0.1,
            0.1,
        )
        assert np.cumsum(train.step_sizes).tolist() == [60000, 70000, 80000] and train.max_iter == 80000
        videos = {"something_v1": 86017, "something_v2": 168913, "mini_kinetics": 80000}[name]
        assert train.epoch * (-(-videos // train.batch_size)) >= train.max_iter  # else training ends early
