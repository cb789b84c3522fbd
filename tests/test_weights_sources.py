"""A file of every source, converted by the tool: our network computes what theirs does, wired as the tool wrote it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from safetensors.numpy import save_file

from configs import load_config
from configs.schema import ARCHS
from models import build_model
from models.nonlocal_model.placement import block_positions
from tests import source_networks as networks
from tests.weight_files import fluid_record, python2_pickle, write_fluid_folder, write_tar, write_torch_zip
from tools import convert_weights
from weights import load_weights, save_weights
from weights.nonlocal_names import NAMINGS, name_records, network_shapes
from weights.safe_pickle import load_pickle

NARROW = ["RESNETS.stem_channels=8", "RESNETS.res2_channels=32", "RESNETS.width_per_group=8"]


def convert(monkeypatch, source, target, *flags, is_narrow: bool = True) -> None:
    options = [f"-o={key}" for key in (NARROW if is_narrow else [])]
    monkeypatch.setattr(sys, "argv", ["convert_weights.py", str(source), str(target), *options, *flags])
    convert_weights.main()


def network(target: Path, *overrides: str):
    """The converted weights in a network of the configuration beside them."""
    model = build_model(load_config(target.with_suffix(".yaml"), overrides))
    load_weights(model, target)
    model.eval()
    return model


def random_clips(side: int, num_frames: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((1, 3, num_frames, side, side)).astype(np.float32)


def log_scores(model, clips: np.ndarray) -> np.ndarray:
    with paddle.no_grad():
        return paddle.log(model.class_scores(model(paddle.to_tensor(clips)))).numpy()


def write_caffe2(path, arrays):
    path.write_bytes(python2_pickle(arrays))
    return path


def write_combined(path, arrays):
    path.write_bytes(b"".join(fluid_record(arrays[name]) for name in sorted(arrays)))
    return path


# name: the source's network, inflated, blocks' places (None: the published), frames, container, flags
SOURCES = {
    "caffe2": (networks.caffe2(), True, None, 4, write_caffe2, []),
    "caffe2 32x2": (
        networks.caffe2(stem_stride=2, pool1=(2, 2)),
        True,
        None,
        8,
        write_caffe2,
        ["--variant=video_nonlocal_net_32x2"],
    ),
    "caffe2 with frozen norms": (
        networks.caffe2(norm_tensors=("_s", "_b"), block_norm=None, group_frames={3: 4}),
        True,
        None,
        16,
        write_caffe2,
        [],
    ),
    "caffe2 of PySlowFast": (
        networks.caffe2(padding=1, has_pool2=False),
        False,
        {},
        4,
        write_caffe2,
        ["--geometry=slowfast_nopool"],  # the flag's old name
    ),
    "paddle_fluid": (
        networks.paddle_fluid(),
        False,
        None,
        4,
        lambda path, arrays: write_fluid_folder(path, arrays),
        [],
    ),
    "slowfast": (
        networks.slowfast(),
        True,
        None,
        4,
        lambda path, arrays: write_torch_zip(path, arrays, "model_state", b"X\3\0\0\0cfgX\4\0\0\0A: 1"),
        [],
    ),
    "mmaction2": (
        networks.mmaction2(),
        True,
        None,
        8,
        lambda path, arrays: write_torch_zip(path, arrays, "state_dict"),
        [],
    ),
    "mmaction2 C2D": (
        networks.mmaction2(is_image=True, stem_stride=1, pool1=(1, 1), padding=0),
        False,
        {},
        4,
        lambda path, arrays: write_torch_zip(path, arrays, "state_dict"),
        [],
    ),
    "pytorchvideo": (
        networks.pytorchvideo(),
        True,
        {},
        4,
        lambda path, arrays: write_torch_zip(path, arrays, "model_state"),
        [],
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_converted_network_computes_what_the_sources_network_does(monkeypatch, tmp_path, name, capsys):
    source, inflated, places, num_frames, write, flags = SOURCES[name]
    arrays = source.tensors(inflated, 50, places)
    target = tmp_path / "converted.pdparams"
    convert(monkeypatch, write(tmp_path / "file", arrays), target, *flags)
    assert "0 unexpected; 0 missing" in capsys.readouterr().out
    model = network(target)
    for side in (224, 256) if num_frames < 16 else (96,):  # the long clip is there for its groups of frames
        clips = random_clips(side, num_frames)
        np.testing.assert_allclose(log_scores(model, clips), source.log_probabilities(arrays, clips), atol=1e-3)


def test_a_detector_of_the_long_term_feature_bank(monkeypatch, tmp_path):
    """Frozen norms, in its blocks too; pool2 leaves 8 of 16 frames, which res3's blocks see in groups of 4."""
    source = networks.caffe2(norm_tensors=("_s", "_b"), group_frames={3: 4}, padding=1, is_detector=True)
    arrays, target = source.tensors(True), tmp_path / "lfb.pdparams"
    convert(monkeypatch, write_caffe2(tmp_path / "file.pkl", arrays), target, "--variant=long_term_feature_bank")
    config = load_config(target.with_suffix(".yaml"))
    assert (config.MODEL.task, config.INPUT.num_frames, config.INPUT.frame_stride) == ("detection", 32, 2)
    clip = random_clips(128, 16)
    boxes = np.array([[0, 0, 128, 128], [10, 20, 90, 126], [40.5, 3, 45, 20], [0, 60, 128, 64]], np.float32)
    found = network(target).box_scores(clip, boxes, np.zeros(4, np.int64))
    np.testing.assert_allclose(found, source.box_scores(arrays, clip, boxes), atol=1e-3)
    assert np.ptp(found, axis=0).max() > 0.05


def test_frozen_norms_in_a_network_of_batch_norms(tmp_path):
    """The groups of four frames stay; statistics that change nothing take the place of the missing ones."""
    source, inflated, _, num_frames, write, _ = SOURCES["caffe2 with frozen norms"]
    arrays = source.tensors(inflated)
    keys = [*NARROW, "MODEL.video_arc_choice=2", "MODEL.num_classes=5", "NONLOCAL.group_frames={res3: 4}"]
    model = build_model(load_config("configs/nonlocal.yaml", keys))
    assert load_weights(model, write(tmp_path / "file", arrays)).num_loaded == 327
    model.eval()
    clips = random_clips(96, num_frames)
    np.testing.assert_allclose(log_scores(model, clips), source.log_probabilities(arrays, clips), atol=1e-3)


def test_wiring_matters(monkeypatch, tmp_path):
    """The test above would see it: the same tensors under another variant give other scores."""
    arrays = networks.caffe2().tensors(True)
    file, clips = write_caffe2(tmp_path / "file", arrays), random_clips(96, 8)
    expected = networks.caffe2().log_probabilities(arrays, clips)
    for variant, is_equal in (("video_nonlocal_net", True), ("slowfast", False), ("video_nonlocal_net_32x2", False)):
        target = tmp_path / f"{variant}.pdparams"
        convert(monkeypatch, file, target, f"--variant={variant}", "--quiet")
        difference = np.abs(log_scores(network(target, "MODEL.head_pool_size=3"), clips) - expected).max()
        assert (difference < 1e-3) == is_equal, (variant, difference)


def test_old_zoo_equals_caffe2_once_its_factor_is_known(monkeypatch, tmp_path):
    """The same values: equal with --head_factor=1, and the zoo's classifier counts half without it."""
    caffe2, zoo = networks.caffe2(), networks.paddle_fluid()
    theirs, ours = caffe2.tensors(False), zoo.tensors(False)
    for key, name in zip(theirs, ours):
        ours[name] = theirs[key].T if key == "pred_w" else theirs[key]
    folder = write_fluid_folder(tmp_path / "folder", ours)
    convert(monkeypatch, write_caffe2(tmp_path / "file.pkl", theirs), tmp_path / "caffe2.pdparams", "--quiet")
    convert(monkeypatch, folder, tmp_path / "one.pdparams", "--head_factor=1", "--quiet")
    convert(monkeypatch, folder, tmp_path / "half.pdparams", "--quiet")
    caffe2, one, half = (load_pickle(tmp_path / f"{name}.pdparams") for name in ("caffe2", "one", "half"))
    assert list(caffe2) == list(one) == list(half)
    for name in caffe2:
        np.testing.assert_array_equal(one[name], caffe2[name])
        np.testing.assert_array_equal(half[name], caffe2[name] * (0.5 if name == "head.weight" else 1))


@pytest.mark.parametrize(
    "name, depth, places",
    [("caffe2", 101, None), ("paddle_fluid", 101, None), ("slowfast", 101, {3: (1, 3), 4: (1, 3, 5)})],
)
def test_depth_101(monkeypatch, tmp_path, name, depth, places):
    make = getattr(networks, name)
    source = make(101) if name == "paddle_fluid" else make()
    arrays = source.tensors(name != "paddle_fluid", depth, places)
    path = tmp_path / "file"
    path = write_torch_zip(path, arrays, "model_state") if name == "slowfast" else path
    if name == "caffe2":
        write_caffe2(path, arrays)
    elif name == "paddle_fluid":
        write_fluid_folder(path, arrays)
    convert(monkeypatch, path, tmp_path / "w.pdparams", "--quiet")
    config = load_config(tmp_path / "w.yaml")
    assert config.MODEL.video_arc_choice == (3 if name == "paddle_fluid" else 4)
    clips = random_clips(64, 4)
    model = network(tmp_path / "w.pdparams")
    np.testing.assert_allclose(log_scores(model, clips), source.log_probabilities(arrays, clips), atol=1e-3)


# name: tensors, container
STARTS = {
    "caffe2": (networks.caffe2(is_image=True), write_caffe2),
    "paddle_fluid": (networks.paddle_fluid(is_image=True), write_fluid_folder),
    "torchvision": (networks.image_network(), write_torch_zip),
    "torchvision safetensors": (
        networks.image_network(),
        lambda path, arrays: [save_file(arrays, path), path][1],
    ),
    "paddle": (
        networks.image_network(is_paddle=True),
        lambda path, arrays: [save_weights(path, {**arrays, "StructuredToParameterName@@": {}}), path][1],
    ),
}


@pytest.mark.parametrize("name", STARTS)
@pytest.mark.parametrize("arc", [1, 2])
def test_start_from_images(tmp_path, name, arc):
    """53 kernels, repeated over time and divided; the classifier of 1000 classes is not loaded and both are told."""
    source, write = STARTS[name]
    arrays = source.tensors(False, 50, {}, classes=1000)
    if name == "paddle_fluid":
        del arrays["pred_w"], arrays["pred_b"]
    config = load_config("configs/nonlocal.yaml", [*NARROW, f"MODEL.video_arc_choice={arc}", "MODEL.num_classes=7"])
    model = build_model(config)
    head = model.head.weight.numpy()
    report = load_weights(model, write(tmp_path / "file", arrays), partial=True)
    assert report.num_inflated == 53 and "53 kernels inflated" in report.summary()
    assert "\n" not in report.summary() and report.num_loaded == 265
    assert ("head.weight" in report.summary()) and ("unexpected keys: head.weight" in report.summary()) == (
        name != "paddle_fluid"
    )
    kernel = arrays[source.conv(2, 1, "a")]
    frames = 3 if arc == 2 else 1
    mine = model.state_dict()["stage2.block1.a.conv.weight"].numpy()
    assert mine.shape[2] == frames
    for k in range(frames):
        np.testing.assert_array_equal(mine[:, :, k], kernel / np.float32(frames))
    np.testing.assert_array_equal(model.head.weight.numpy(), head)
    statistics = model.state_dict()["stage3.block0.shortcut.bn._variance"].numpy()
    np.testing.assert_array_equal(statistics, arrays[source.norm(3, 0, "shortcut") + source.norm_tensors[3]])
    loss = model(paddle.to_tensor(random_clips(32, 4))).sum()  # training can begin
    loss.backward()
    assert np.isfinite(float(loss)) and np.abs(model.stem.conv.weight.grad.numpy()).max() > 0


def test_cleaned_start_without_statistics_keeps_the_networks_own(tmp_path):
    source = networks.caffe2(is_image=True)
    arrays = source.tensors(False, 50, {}, classes=1000)
    arrays = {name: a for name, a in arrays.items() if not name.endswith(("_rm", "_riv")) and "pred" not in name}
    (tmp_path / "clean.pkl").write_bytes(python2_pickle(arrays, wrapper=""))
    model = build_model(load_config("configs/nonlocal.yaml", NARROW))
    report = load_weights(model, tmp_path / "clean.pkl", partial=True)
    assert report.num_inflated == 53 and report.num_loaded == 53 * 3
    assert (model.stem.bn._variance.numpy() == 1).all() and (model.stem.bn._mean.numpy() == 0).all()
    assert "reinitialised keys" in report.summary()


def test_containers_of_the_old_zoo_hold_the_same(tmp_path):
    arrays = networks.paddle_fluid().tensors(False)
    noise = {"conv1_weights_velocity_0": np.zeros(3, np.float32), "learning_rate_0": np.zeros(1, np.float32)}
    write_fluid_folder(tmp_path / "folder", {**arrays, **noise})
    files = {f"nonlocal_kinetics/{name}": fluid_record(array) for name, array in arrays.items()}
    write_tar(tmp_path / "a.tar.gz", files)
    (tmp_path / "pickle").write_bytes(python2_pickle(arrays, wrapper=""))
    model = build_model(load_config("configs/nonlocal.yaml", [*NARROW, "MODEL.num_classes=5"]))
    for name in ("folder", "a.tar.gz", "pickle"):
        model.set_state_dict({key: paddle.zeros_like(tensor) for key, tensor in model.state_dict().items()})
        assert load_weights(model, tmp_path / name).num_loaded == 327
        np.testing.assert_array_equal(model.head.weight.numpy(), arrays["pred_w"] * np.float32(0.5))
        found = model.state_dict()["stage4.nl5.bn._variance"].numpy()
        np.testing.assert_array_equal(found, arrays["nonlocal_conv4_5_bn_variance"])


@pytest.mark.parametrize("arch", ARCHS)
def test_combined_binary_gets_its_names_from_the_shapes(arch):
    depth = ARCHS[arch].depth
    source = networks.paddle_fluid(depth)
    shapes = {}
    for name, shape in network_shapes(arch, block_positions(depth), 7).items():
        stage, block, part, *_ = (*name.split("."), "", "")
        k, i = int(stage[-1]) if stage[-1].isdigit() else 0, int(block[5:]) if block.startswith("block") else 0
        if not block.startswith("block"):
            theirs = next(iter(NAMINGS["paddle_fluid"].names(name)))
        elif name.endswith("conv.weight"):
            theirs = source.conv(k, i, part)
        else:
            ends = dict(zip(("weight", "bias", "_mean", "_variance"), source.norm_tensors))
            theirs = source.norm(k, i, part) + ends[name.rsplit(".", 1)[1]]
        shapes[theirs] = shape
    records = [np.broadcast_to(np.float32(0), shapes[name]) for name in sorted(shapes)]
    named = name_records(records)
    assert {name: array.shape for name, array in named.items()} == shapes


def test_combined_binary_in_the_network_of_its_width(tmp_path):
    arrays = networks.paddle_fluid().tensors(False, 50, None, width=64, classes=3)
    write_combined(tmp_path / "combined", arrays)
    model = build_model(load_config("configs/nonlocal.yaml", ["MODEL.num_classes=3"]))
    assert load_weights(model, tmp_path / "combined").num_loaded == 327
    found = model.state_dict()["stage4.nl5.bn._variance"].numpy()
    np.testing.assert_array_equal(found, arrays["nonlocal_conv4_5_bn_variance"])
    found = model.state_dict()["stage5.block2.c.conv.weight"].numpy()
    np.testing.assert_array_equal(found, arrays["res5c_branch2c_weights"])
