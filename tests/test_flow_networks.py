"""Networks of optical flow: begun from RGB weights, trained, and used by every script; what says how flow was made."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import yaml

from configs import load_config
from models import build_model
from models.s3d_model.trunk import S3DModel
from tests.plain_network import randomized
from tests.script_runs import make_videos, run_script, tiny_config, write_list
from utils.errors import UserError
from weights import ORIGIN_KEY, input_warning, load_weights, save_weights
from weights.naming import Origin
from weights.nonlocal_names import NAMES, network_shapes
from weights.safe_pickle import load_pickle

FLOW = ("READER.modality=flow", "READER.flow_method=dis_fast", "READER.flow_short_side=40")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A configuration and a list of videos."""
    folder = tmp_path_factory.mktemp("networks")
    tiny_config(folder, write_list(folder / "list.txt", make_videos(folder / "videos", 4, 3)))
    return folder


def nonlocal_network(folder, *overrides):
    return build_model(load_config(folder / "tiny.yaml", overrides))


def inception(channels: int, arch: str = "s3d"):
    return S3DModel(arch, 3, width=0.05, in_channels=channels)


def arrays_of(model) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def flags(folder, target, *overrides: str) -> list[str]:
    keys = [flag for key in (*FLOW, *overrides) for flag in ("-o", key)]
    return [f"--config={folder / 'tiny.yaml'}", f"--save_dir={target}", *keys]


@pytest.fixture(scope="module")
def trained(folder):
    """The folder of a run of train.py."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        options = ["--epoch=1", "--fix_random_seed=True"]
        assert run_script(monkeypatch, "train", *flags(folder, folder / "run"), *options) == 0
    return folder / "run"


@pytest.mark.parametrize("kind", ["nonlocal", "s3d", "i3d_inception"])
def test_a_training_of_flow_begins_with_the_mean_of_the_rgb_kernel(tmp_path, folder, kind):
    if kind == "nonlocal":
        name, rgb, flow = "stem.conv.weight", nonlocal_network(folder), nonlocal_network(folder, *FLOW)
    else:
        name = "conv_1a.spatial.weight" if kind == "s3d" else "conv_1a.conv.weight"
        rgb, flow = inception(3, kind), inception(2, kind)
    arrays = arrays_of(randomized(rgb))
    save_weights(tmp_path / "rgb.pdparams", arrays)
    report = load_weights(flow, tmp_path / "rgb.pdparams", partial=True)
    loaded, kernel = arrays_of(flow), arrays.pop(name)
    assert loaded[name].shape == (kernel.shape[0], 2, *kernel.shape[2:])
    for channel in range(2):
        expected = (kernel[:, 0].astype(np.float64) + kernel[:, 1] + kernel[:, 2]) / 3
        np.testing.assert_allclose(loaded[name][:, channel], expected, rtol=1e-6)
    assert all(np.array_equal(loaded[other], array) for other, array in arrays.items())
    assert f"{name}: the mean over RGB, for x and for y" in report.summary()


def test_inflated_image_weights_begin_flow_too(tmp_path, folder):
    arrays = arrays_of(randomized(nonlocal_network(folder, "NONLOCAL.num_blocks=0")))
    images = {name: array.mean(2) if array.ndim == 5 else array for name, array in arrays.items()}
    save_weights(tmp_path / "images.pdparams", images)
    flow = nonlocal_network(folder, *FLOW, "NONLOCAL.num_blocks=0")
    load_weights(flow, tmp_path / "images.pdparams", partial=True)
    kernel, found = images["stem.conv.weight"], arrays_of(flow)["stem.conv.weight"]
    assert found.shape[1:3] == (2, 5)
    np.testing.assert_allclose(found, np.broadcast_to(kernel.mean(1)[:, None, None] / 5, found.shape), rtol=1e-5)


def test_weights_of_the_other_modality_are_refused_by_name(tmp_path, folder):
    rgb, flow = nonlocal_network(folder), nonlocal_network(folder, *FLOW)
    for source, network, partial, words in (
        (rgb, flow, False, "its clips are of RGB, 3 channels, the network's of optical flow, 2 channels"),
        (flow, rgb, False, "its clips are of optical flow, 2 channels, the network's of RGB, 3 channels"),
        (flow, rgb, True, "its clips are of optical flow, 2 channels"),
        (inception(3), inception(2), False, "its clips are of RGB, 3 channels"),
    ):
        save_weights(tmp_path / "w.pdparams", arrays_of(source))
        with pytest.raises(UserError, match=words) as caught:
            load_weights(network, tmp_path / "w.pdparams", partial=partial)
        assert str(tmp_path / "w.pdparams") in str(caught.value)


def test_published_rgb_weights_are_no_default_of_flow_and_imagenet_is_a_start():
    flow = load_config("configs/nonlocal.yaml", ["READER.modality=flow"])
    assert NAMES.default_entry(flow) is None
    assert NAMES.default_entry(load_config("configs/nonlocal.yaml"))
    shapes = network_shapes("c2d_r50", {}, 400)
    of_rgb = NAMES.image_entry(shapes)
    assert NAMES.image_entry({**shapes, "stem.conv.weight": (64, 2, 1, 7, 7)}) == of_rgb


def test_weights_say_how_their_flow_was_computed(trained, tmp_path, folder):
    record = load_pickle(trained / "NONLOCAL.pdparams")[ORIGIN_KEY]
    settings = {"method": "dis_fast", "bound": 20.0, "short_side": 40, "frame_rate": None}
    assert settings.items() <= record["flow"].items() and {"opencv", "order"} <= record["flow"].keys()
    origin = Origin.read(record)
    assert Origin.read(origin.stored()) == origin
    saved = load_config(trained / "config.yaml")
    assert (saved.READER.modality, saved.READER.flow_method) == ("flow", "dis_fast")
    network = build_model(saved)
    assert load_weights(network, trained / "NONLOCAL.pdparams").origin == origin
    assert input_warning(origin, saved) == ""
    other = load_config(trained / "config.yaml", ["READER.flow_method=farneback", "READER.frame_rate=25"])
    assert input_warning(origin, other).endswith("set READER.flow_method: dis_fast, READER.frame_rate: none")
    state = json.loads((trained / "NONLOCAL_epoch0.json").read_text())
    assert state["config"]["READER"]["flow_method"] == "dis_fast"
    picture = cv2.imread(str(trained / "clips_first.png"))
    assert np.isin(picture, (127, 128)).mean() > 0.2  # grey where nothing moves


@pytest.mark.parametrize("flow", [{"method": "dis"}, "dis", {**dict.fromkeys("abcdefgh", 1)}, {"method": ["dis"]}])
def test_a_record_that_is_none_is_ignored(flow):
    stored = Origin("x", flow={"method": "dis", "bound": 20.0, "short_side": 40, "frame_rate": None}).stored()
    assert Origin.read(stored) is not None and Origin.read({**stored, "flow": flow}) is None
    assert "flow" not in Origin("x").stored()  # files of RGB are as before


def test_eval_and_reversed_eval(monkeypatch, tmp_path, folder, trained):
    options = [f"--config={trained / 'config.yaml'}", f"--weights={trained / 'NONLOCAL.pdparams'}", "--backend=paddle"]
    assert run_script(monkeypatch, "eval", *options, f"--save_dir={tmp_path / 'a'}") == 0
    assert run_script(monkeypatch, "eval", *options, f"--save_dir={tmp_path / 'b'}", "--reverse_frames") == 0
    forwards, backwards = (json.loads((tmp_path / name / "results.json").read_text()) for name in "ab")
    assert forwards["videos_seen"] == 4 and "reversed" not in forwards
    assert backwards["reversed"] == "exact"
    scores = [np.load(tmp_path / name / "scores.npz")["scores"] for name in "ab"]
    assert not np.allclose(*scores, atol=1e-6)


def test_predictions_features_and_segments(monkeypatch, tmp_path, folder, trained):
    video = next((folder / "videos").iterdir())
    options = [f"--config={trained / 'config.yaml'}", f"--weights={trained / 'NONLOCAL.pdparams'}", "--backend=paddle"]
    options += [f"--save_dir={tmp_path}", f"--video_path={video}"]
    assert run_script(monkeypatch, "predict", *options) == 0
    (record,) = json.loads((tmp_path / "predictions.json").read_text())
    assert sum(row["probability"] for row in record["top"]) == pytest.approx(1, abs=1e-4)
    for more in (["--features=res5", "--feature_pooling=window"], ["--segments"]):
        assert run_script(monkeypatch, "predict", *options, *more) == 0
    features = np.load(next((tmp_path / "features").rglob("*.npz")))["features"]
    assert features.shape[1] == 64 and np.isfinite(features).all()
    (segments,) = (json.loads(file.read_text()) for file in (tmp_path / "segments").rglob("*.json"))
    assert segments["segments"]


def test_an_export_says_what_its_numbers_are(monkeypatch, tmp_path, trained):
    options = [f"--config={trained / 'config.yaml'}", f"--weights={trained / 'NONLOCAL.pdparams'}"]
    sizes = ["-o", "INFER.crop_size=64", "-o", "INFER.jitter_scales=[64,64]"]
    assert run_script(monkeypatch, "export", *options, *sizes, f"--save_dir={tmp_path}") == 0
    facts = yaml.safe_load((tmp_path / "net.yaml").read_text())["input"]
    assert facts["modality"] == "flow" and facts["shape"].startswith("[clips * num_frames, 2,")
    assert facts["flow"]["method"] == "dis_fast" and "colours" not in facts
    assert (facts["image_mean"], facts["image_std"]) == ([0, 0], [1, 1])
