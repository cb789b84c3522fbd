"""Features against what a plain walk over the network's layers gives, and the files they are kept in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import paddle
import pytest

from configs import load_config
from datareader import build_view_loader, read_list
from inference.classify import PredictOptions
from inference.features import pooled_features, predict_features
from models import build_model
from models.layers import MaxPool
from tests.script_runs import make_videos, tiny_config, write_list
from utils.log import Progress


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """I3D with non-local blocks inside res3 and at the very end of res4."""
    folder = tmp_path_factory.mktemp("features")
    videos = make_videos(folder / "videos", 2, 3)
    path = tiny_config(folder, write_list(folder / "list.txt", videos))
    return load_config(path, ["NONLOCAL.positions={res3: [0], res4: [1]}", "NONLOCAL.bn_init_gamma=1"])


@pytest.fixture(scope="module")
def model(config):
    paddle.seed(5)
    model = build_model(config)
    model.eval()
    return model


def stages_by_hand(model, clips):
    """{stage: [N, C]}, layer by layer."""
    num_clips, num_frames = clips.shape[0], clips.shape[2]
    x = paddle.to_tensor(clips).transpose([0, 2, 1, 3, 4]).flatten(0, 1)
    x = paddle.nn.functional.max_pool2d(paddle.nn.functional.relu(model.stem(x, num_frames)), 3, 2)
    found = {}
    for k in range(2, 6):
        for layer in getattr(model, f"stage{k}").children():
            x = layer(x, num_frames)
        maps = x.numpy().reshape(num_clips, num_frames, *x.shape[1:])
        found[f"res{k}"] = maps.mean((1, 3, 4))
        if k == 2:
            x, num_frames = MaxPool((2, 1, 1), (2, 1, 1), ((0, 0),) * 3)(x, num_frames), num_frames // 2
    return found


def test_features_are_the_mean_of_each_stage_s_output(model):
    clips = np.random.default_rng(0).normal(size=(3, 3, 4, 40, 48)).astype(np.float32)
    with paddle.no_grad():
        truth, before = stages_by_hand(model, clips), model(paddle.to_tensor(clips)).numpy()
    for stage, expected in truth.items():
        np.testing.assert_allclose(pooled_features(model, clips, stage), expected, rtol=1e-4, atol=1e-5)
        assert np.abs(expected[0] - expected[1]).max() > 1e-3
    with paddle.no_grad():
        np.testing.assert_array_equal(model(paddle.to_tensor(clips)).numpy(), before)  # nothing is left behind


def test_nothing_behind_the_wanted_stage_is_computed(model):
    clips, calls = paddle.zeros([1, 3, 4, 40, 40]), []
    hook = model.stage5.block0.register_forward_post_hook(lambda *_: calls.append(1))
    try:
        with paddle.no_grad():
            found = model.forward_features(clips, ["res3", "res4"])
            assert not calls and {name: x.shape[2] for name, x in found.items()} == {"res3": 2, "res4": 2}
            assert list(model.forward_features(clips)) == ["res2", "res3", "res4", "res5"] and calls
    finally:
        hook.remove()


@dataclass(frozen=True)
class Loaded:
    """In a BackendSpec's place: a network that is there already."""

    model: object

    def build_eager(self):
        return self


def run(config, model, folder, stage, pooling, **options):
    items = read_list(config.INFER.filelist)
    chosen = PredictOptions(folder, features=stage, feature_pooling=pooling, log_interval=0, **options)
    records = list(predict_features(config, items, Loaded(model), [], chosen, Progress(len(items), 0, "video")))
    return items, records, [np.load(record["file"]) for record in records]


def test_one_file_a_video_pooled_or_a_clip(config, model, tmp_path):
    items, records, clips = run(config, model, tmp_path / "clip", "res5", "clip", views="3x3")
    _, _, videos = run(config, model, tmp_path / "video", "res5", "video", views="3x3")
    views = list(build_view_loader(config, items, "INFER", views="3x3"))
    for item, record, clip, video, view in zip(items, records, clips, videos, views):
        truth = stages_by_hand(model, view.clips(range(9)))["res5"].reshape(3, 3, -1).mean(1)
        np.testing.assert_allclose(clip["features"], truth, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(video["features"], truth.mean(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(clip["clip_frames"], view.clip_indices)
        assert clip["features"].dtype == np.float32 and record["shape"] == [3, truth.shape[1]]
        assert [str(clip[name]) for name in ("path", "stage", "pooling")] == [item.path, "res5", "clip"]


def test_windows_slide_with_their_times(config, model, tmp_path):
    _, records, files = run(config, model, tmp_path, "res3", "window", stride_seconds=0.2)
    for record, file in zip(records, files):
        assert len(file["features"]) == len(file["start_seconds"]) == len(file["end_seconds"]) == record["shape"][0] > 1
        assert file["start_seconds"][:2].tolist() == pytest.approx([0, 0.2])
    _, _, again = run(config, model, tmp_path / "one", "res3", "video", views="1xwhole")
    np.testing.assert_allclose(files[0]["features"][0], again[0]["features"], rtol=1e-5, atol=1e-6)
