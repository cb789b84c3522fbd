"""Weights of other programs in the S3D family: our network computes what theirs does, wired as the tool wrote it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

import hubconf
from configs import load_config
from datareader.flow.methods import FlowProvenance
from inference.backends import ExportedBackend
from inference.export import NetworkSource
from models import S3DModel, build_model
from tests import s3d_sources as sources
from tests.weight_files import write_bundle as write_bundle_slowly
from tests.weight_files import write_torch_zip
from tools import convert_weights
from utils.cli import run
from utils.errors import UserError
from weights import ORIGIN_KEY, input_warning, load_weights, save_weights
from weights.containers import read_stored
from weights.crc32c import masked_crc32c
from weights.s3d_names import SOURCES, WEIGHTS, all_our_names, configuration, hub_options, trunk_kind
from weights.safe_pickle import load_pickle

WIDTH = 0.1


def command(monkeypatch, *arguments) -> int:
    """Run the tool as a user does; returns its exit status."""
    monkeypatch.setattr(sys, "argv", ["convert_weights.py", *map(str, arguments)])
    try:
        run(convert_weights.main)
    except SystemExit as stop:
        return stop.code
    return 0


def convert(monkeypatch, source, target, *flags, width: float = WIDTH) -> None:
    assert command(monkeypatch, source, target, f"-o=S3D.width={width}", *flags) == 0


def network(target: Path, *overrides: str):
    """The converted weights in a network of the configuration beside them."""
    model = build_model(load_config(target.with_suffix(".yaml"), overrides))
    load_weights(model, target)
    model.eval()
    return model


def random_clips(num_frames: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    shape = (1, channels, num_frames, height, width)
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def log_scores(model, clips: np.ndarray) -> np.ndarray:
    with paddle.no_grad():
        return paddle.log(model.class_scores(model(paddle.to_tensor(clips)))).numpy()


def write_bundle(prefix, arrays):
    """With a fast checksum, which test_weights_tf_bundle.py compares with a slow one."""
    return write_bundle_slowly(prefix, arrays, crc=masked_crc32c)


def write_npz(path, arrays):
    np.savez(path.with_suffix(".npz"), **arrays)
    return path.with_suffix(".npz")


def with_counters(write):
    """torch's norms count the batches they have seen, and nn.DataParallel puts `module.` before all names."""

    def write_both(path, arrays):
        counters = {name[: -len("mean")] + "x": 0 for name in arrays if name.endswith("running_mean")}
        names = [f"{name.rsplit('.', 1)[0]}.num_batches_tracked" for name in counters]
        arrays = {**arrays, **{name: np.array([7]) for name in names}}
        return write(path, {f"module.{name}": array for name, array in arrays.items()})

    return write_both


def with_text_tower(write):
    tower = {
        "text_module.word_embd.weight": np.zeros((9, 3), np.float32),
        "text_module.fc1.bias": np.zeros(4, np.float32),
    }
    return lambda path, arrays: write(path, {**arrays, **tower})


def with_momentum(write):
    def write_both(path, arrays):
        slots = {f"{name}/Momentum": np.zeros_like(array) for name, array in arrays.items() if "norm" not in name}
        return write(path, {**arrays, **slots})

    return write_both


# name: the source's network, its container, clips (frames, height, width) at least one of which is of 224 pixels; odd
# sides where the source's own padding rule and ours are one
SAME_CLIPS = ((10, 224, 224), (11, 97, 113))
SYMMETRIC_CLIPS = ((14, 224, 224), (13, 101, 119))
CASES = {
    "torchvision": (sources.TORCHVISION, write_torch_zip, SYMMETRIC_CLIPS),
    "kylemin": (sources.KYLEMIN, with_counters(write_torch_zip), SYMMETRIC_CLIPS),
    "piergiaj": (sources.PIERGIAJ, write_torch_zip, SAME_CLIPS),
    "hassony2": (sources.HASSONY2, write_torch_zip, ((16, 224, 224), (24, 96, 128))),
    "howto100m": (sources.HOWTO100M, with_text_tower(write_torch_zip), ((16, 224, 224), (24, 96, 128))),
    "gluoncv": (sources.GLUONCV, write_npz, SYMMETRIC_CLIPS),
    "deepmind": (sources.deepmind(), write_bundle, SAME_CLIPS),
    "deepmind of 600 classes": (sources.deepmind(""), with_momentum(write_bundle), ((9, 97, 97),)),
    "slim": (sources.slim(), write_bundle, SAME_CLIPS),
}


@pytest.mark.parametrize("name", CASES)
def test_converted_network_computes_what_the_sources_network_does(monkeypatch, tmp_path, name, capsys):
    source, write, sizes = CASES[name]
    arrays, target = source.tensors(WIDTH), tmp_path / "converted.pdparams"
    convert(monkeypatch, write(tmp_path / "file", arrays), target)
    text = capsys.readouterr().out
    assert "0 unexpected; 0 missing" in text
    config = load_config(target.with_suffix(".yaml"))
    assert config.S3D.padding == ("symmetric" if source.padding == "symmetric" else "same")
    assert config.MODEL.bn_epsilon == source.epsilon and config.MODEL.num_classes == 5
    model = network(target)
    for size in sizes:
        clips = random_clips(*size)
        difference = np.abs(log_scores(model, clips) - source.log_probabilities(arrays, clips)).max()
        assert difference < 1e-4, (size, difference)


@pytest.mark.parametrize("name", CASES)
def test_file_of_another_program_loads_as_it_is(tmp_path, name):
    """Into the network that hubconf's rule builds, without the tool."""
    source, write, _ = CASES[name]
    arrays = source.tensors(WIDTH)
    path = write(tmp_path / "file", arrays)
    entry = "s3d_g" if source.gate else "s3d" if source.temporal else "i3d_inception"
    arch, options, line = hub_options(path, entry, {"width": WIDTH})
    model = S3DModel(arch, 5, **options)
    report = load_weights(model, path)
    assert not report.unexpected and not report.reinitialised and not any("WARNING" in note for note in report.notes)
    assert ("symmetric padding" in line) == (source.padding == "symmetric") and "\n" not in line
    model.eval()
    clips = random_clips(16, 64, 64)
    np.testing.assert_allclose(log_scores(model, clips), source.log_probabilities(arrays, clips), atol=1e-4)


def test_full_width(monkeypatch, tmp_path, capsys):
    """torchvision's S3D as published: 464 tensors with counters, 8,341,264 values."""
    source = sources.TORCHVISION
    arrays = source.tensors(1.0, 400)
    counters = [name for name in arrays if name.endswith("running_mean")]
    assert len(arrays) + len(counters) == 464 and sum(array.size for array in arrays.values()) == 8_341_264
    convert(monkeypatch, write_torch_zip(tmp_path / "s3d.pth", arrays), tmp_path / "w.pdparams", "--quiet", width=1.0)
    clips = random_clips(13, 64, 64)
    model = network(tmp_path / "w.pdparams")
    np.testing.assert_allclose(log_scores(model, clips), source.log_probabilities(arrays, clips), atol=1e-4)


@pytest.mark.parametrize("name, count", [("piergiaj", 287), ("hassony2", 287), ("deepmind", 230), ("gluoncv", 287)])
def test_stand_ins_have_as_many_tensors_as_the_published_files(name, count):
    assert len(CASES[name][0].tensors(WIDTH)) == count


def test_padding_matters(tmp_path):
    """The tests above would see it: the same weights padded the other way give other scores, also at 224 pixels."""
    source = sources.PIERGIAJ
    arrays, clips = source.tensors(WIDTH), random_clips(14, 224, 224)
    path = write_torch_zip(tmp_path / "w.pt", arrays)
    model = S3DModel("i3d_inception", 5, width=WIDTH, padding="symmetric")
    load_weights(model, path, check_padding=False)
    model.eval()
    assert np.abs(log_scores(model, clips) - source.log_probabilities(arrays, clips)).max() > 0.01


def test_flow_has_clips_of_two_channels(monkeypatch, tmp_path):
    source = sources.deepmind("Flow/inception_i3d/")
    arrays = source.tensors(WIDTH, channels=2)
    convert(monkeypatch, write_bundle(tmp_path / "model.ckpt", arrays), tmp_path / "w.pdparams", "--quiet")
    config = load_config(tmp_path / "w.yaml")
    assert config.INPUT.channels == 2 and config.INPUT.mean == [0, 0]
    assert FlowProvenance.of(config.READER) == FlowProvenance("tvl1", 20.0, 256, 25.0)
    clips = random_clips(9, 97, 97, 2)
    model = network(tmp_path / "w.pdparams", "INPUT.crop_size=97", "MODEL.head_pool_size=7")
    np.testing.assert_allclose(log_scores(model, clips), source.log_probabilities(arrays, clips), atol=1e-4)


def test_what_is_dropped_is_told(monkeypatch, tmp_path, capsys):
    for name, words in (("howto100m", "2 tensors dropped: the text tower"), ("deepmind of 600 classes", "momentum")):
        source, write, _ = CASES[name]
        path = write(tmp_path / name, source.tensors(WIDTH))
        convert(monkeypatch, path, tmp_path / "w.pdparams", "--quiet")
        assert words in capsys.readouterr().out
        arch, options, _ = hub_options(path, "s3d_g" if source.gate else "i3d_inception", {"width": WIDTH})
        assert words in load_weights(S3DModel(arch, 5, **options), path).summary()


def test_written_configuration_has_the_sources_clips(monkeypatch, tmp_path):
    for name, source in (("torchvision", sources.TORCHVISION), ("howto100m", sources.HOWTO100M)):
        path = write_torch_zip(tmp_path / f"{name}.pth", source.tensors(WIDTH))
        convert(
            monkeypatch,
            path,
            tmp_path / f"{name}.pdparams",
            "--quiet",
            "--arch=s3d" if name == "torchvision" else "--quiet",
        )
    config = load_config(tmp_path / "torchvision.yaml")
    np.testing.assert_allclose(config.INPUT.mean, np.float64([0.43216, 0.394666, 0.37645]) * 255, rtol=1e-6)
    np.testing.assert_allclose(config.INPUT.std, np.float64([0.22803, 0.22145, 0.216989]) * 255, rtol=1e-6)
    assert (config.TEST.video_length, config.TEST.sample_rate) == (128, 2)
    assert (config.TEST.jitter_scales, config.TEST.crop_size, config.INFER.crop_size) == ([256, 256], 224, 224)
    assert config.INPUT.keep_aspect_ratio is False
    config = load_config(tmp_path / "howto100m.yaml")
    assert (config.INPUT.mean, config.INPUT.std) == ([0.0] * 3, [255.0] * 3)
    assert (config.MODEL.arch, config.TEST.video_length) == ("s3d_g_howto100m", 32)


def test_charades_classes_are_several_a_video(monkeypatch, tmp_path):
    path = write_torch_zip(tmp_path / "rgb_charades.pt", sources.PIERGIAJ.tensors(WIDTH, classes=157))
    convert(monkeypatch, path, tmp_path / "w.pdparams", "--quiet")
    config = load_config(tmp_path / "w.yaml")
    assert config.MODEL.num_classes == 157 and config.MODEL.multi_label
    assert "each time step" in (tmp_path / "w.yaml").read_text()


# --- padding and clips that are not the network's


def refusal(function, *arguments, **keys) -> str:
    with pytest.raises(UserError) as caught:
        function(*arguments, **keys)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("name", ["torchvision", "piergiaj", "deepmind"])
def test_known_weights_in_a_network_of_other_padding(monkeypatch, tmp_path, name):
    """As they are, to initialise a training, and converted: the file keeps whose weights it has."""
    source, write, _ = CASES[name]
    path = write(tmp_path / "file", source.tensors(WIDTH))
    padding = "same" if source.padding == "symmetric" else "symmetric"
    model = S3DModel("s3d" if source.temporal else "i3d_inception", 5, width=WIDTH, padding=padding)
    before = model.head.weight.numpy()
    convert(monkeypatch, path, tmp_path / "w.pdparams", "--quiet")
    for file in (path, tmp_path / "w.pdparams"):
        for partial in (False, True):
            text = refusal(load_weights, model, file, partial=partial)
            assert f"{padding}; set S3D.padding" in text and str(file) in text
    np.testing.assert_array_equal(model.head.weight.numpy(), before)
    load_weights(model, tmp_path / "w.pdparams", check_padding=False)


def test_tool_refuses_another_padding_and_leaves_no_file(monkeypatch, tmp_path, capsys):
    path = write_torch_zip(tmp_path / "w.pt", sources.PIERGIAJ.tensors(WIDTH))
    flags = [f"-o=S3D.width={WIDTH}", "-o=S3D.padding=symmetric"]
    assert command(monkeypatch, path, tmp_path / "w.pdparams", *flags) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1 and "same padding" in error
    assert [file.name for file in tmp_path.iterdir()] == ["w.pt"]


def test_warning_of_other_clips(monkeypatch, tmp_path):
    path = write_torch_zip(tmp_path / "w.pth", sources.TORCHVISION.tensors(WIDTH))
    convert(monkeypatch, path, tmp_path / "w.pdparams", "--quiet")
    keys = ["S3D.padding=symmetric", f"S3D.width={WIDTH}", "MODEL.num_classes=5", "INPUT.keep_aspect_ratio=True"]
    other, own = load_config("configs/s3d.yaml", keys), load_config(tmp_path / "w.yaml")
    for file in (path, tmp_path / "w.pdparams"):
        report = load_weights(build_model(other), file)
        warning = input_warning(report.origin, other)
        assert "INPUT.mean: [110.2008" in warning and "INPUT.keep_aspect_ratio: False" in warning
        assert input_warning(report.origin, own) == ""


def test_an_export_out_of_the_cache_warns_of_other_clips_too(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PADDLE_NONLOCAL_HOME", str(tmp_path))
    path = write_torch_zip(tmp_path / "w.pth", sources.TORCHVISION.tensors(WIDTH))
    keys = ["S3D.padding=symmetric", f"S3D.width={WIDTH}", "MODEL.num_classes=5", "INPUT.keep_aspect_ratio=False"]
    network = NetworkSource(load_config("configs/s3d.yaml", keys), str(path))
    for words in (("loaded", "WARNING"), ("WARNING",)):
        ExportedBackend("paddle_inference", "float32", network, 13, 32)
        output = capsys.readouterr().out
        assert all(word in output for word in words) and output.count("INPUT.mean: [110.2008") == 1
    assert "loaded" not in output  # the cache's


def test_hub_follows_the_file_and_padding_overrides(tmp_path):
    path = write_torch_zip(tmp_path / "w.pth", sources.TORCHVISION.tensors(WIDTH))
    arch, options, line = hub_options(path, "s3d", {"width": WIDTH})
    assert (arch, options["padding"]) == ("s3d", "symmetric") and line.startswith("WARNING: weights of torchvision")
    assert "(x - [110.2008, 100.6398, 95.99475]) / [58.14765, 56.46975, 55.33219]" in line
    _, options, line = hub_options(path, "s3d", {"width": WIDTH, "padding": "same"})
    assert options["padding"] == "same" and "same padding" in line
    path = write_torch_zip(tmp_path / "h.pth", sources.HOWTO100M.tensors(WIDTH))
    arch, options, _ = hub_options(path, "s3d_g", {})
    assert (arch, options["norm"].epsilon, options["head_pool_size"]) == ("s3d_g_howto100m", 1e-5, 0)
    model = S3DModel("i2d", 5, width=WIDTH)
    save_weights(tmp_path / "own.pdparams", {name: t.numpy() for name, t in model.state_dict().items()})
    assert hub_options(tmp_path / "own.pdparams", "i2d", {"width": 0.2}) == ("i2d", {"width": 0.2}, "")


def test_hubs_entries_take_a_foreign_file(tmp_path, capsys):
    source = sources.TORCHVISION
    arrays, clips = source.tensors(WIDTH), random_clips(14, 64, 64)
    path = write_torch_zip(tmp_path / "w.pth", arrays)
    model = hubconf.s3d(pretrained=str(path), num_classes=5, width=WIDTH)
    (line,) = capsys.readouterr().out.splitlines()
    assert "loaded 387 tensors" in line and "symmetric padding" in line and "WARNING" in line
    np.testing.assert_allclose(log_scores(model, clips), source.log_probabilities(arrays, clips), atol=1e-4)
    model = hubconf.s3d(pretrained=str(path), num_classes=5, width=WIDTH, padding="same")
    assert model.options.padding == "same" and "same padding" in capsys.readouterr().out
    with pytest.raises(UserError, match="another network"):
        hubconf.i3d_inception(pretrained=str(path), num_classes=5, width=WIDTH)


def test_what_a_file_says_of_its_origin_is_checked(monkeypatch, tmp_path):
    """Damaged or hostile records are no record; weights of an earlier version have none."""
    model = S3DModel("i2d", 5, width=WIDTH)
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    good = {"title": "a", "padding": "symmetric", "mean": [1.0], "std": [1.0], "keep_aspect_ratio": None}
    for change in ({"mean": "x"}, {"title": 3}, {"more": 1}, {"std": [None]}, {"keep_aspect_ratio": 7}):
        save_weights(tmp_path / "w.pdparams", {**arrays, ORIGIN_KEY: {**good, **change}})
        assert load_weights(model, tmp_path / "w.pdparams").origin is None
    save_weights(tmp_path / "w.pdparams", {**arrays, ORIGIN_KEY: good})
    assert "set S3D.padding: symmetric" in refusal(load_weights, model, tmp_path / "w.pdparams")


# --- initialised from images

IMAGES = {
    "googlenet": (sources.GOOGLENET, write_torch_zip),
    "slim": (sources.slim(temporal="", gate=None, typo=True, stem=(7, 7, 7)), write_bundle),
}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("arch", ["i3d_inception", "s3d", "s3d_g_slim", "i2d"])
def test_start_from_images(tmp_path, name, arch):
    """Full: repeated and divided. Separated: the kernel, then the identity; so a still clip looks as its image."""
    source, write = IMAGES[name]
    arrays = source.tensors(WIDTH, classes=9, is_image=True)
    aux = {"aux1.conv.conv.weight": np.zeros((2, 2, 1, 1), np.float32)} if name == "googlenet" else {}
    model = S3DModel(arch, 5, width=WIDTH)
    head = model.head.weight.numpy()
    for key, tensor in model.state_dict().items():
        if "temporal" in key:
            tensor.set_value(paddle.ones_like(tensor))  # nothing may be left of it
    report = load_weights(model, write(tmp_path / "file", {**arrays, **aux}), partial=True)
    assert report.num_inflated == 57 and "57 kernels inflated" in report.summary()
    assert all(key.startswith("head.") or ".gate." in key for key in report.reinitialised)
    np.testing.assert_array_equal(model.head.weight.numpy(), head)
    state = {key: tensor.numpy() for key, tensor in model.state_dict().items()}

    def image_kernel(unit):
        array = arrays[source.place(unit) + source.whole(source.conv)]
        return array.transpose(3, 2, 0, 1) if name == "slim" else array

    for key, unit in (("conv_1a", "1a"), ("mixed_5b.b2b", ("5b", "b2b")), ("mixed_3c.b0", ("3c", "b0"))):
        kernel = image_kernel(unit)
        if f"{key}.spatial.weight" in state:
            np.testing.assert_array_equal(state[f"{key}.spatial.weight"][:, :, 0], kernel)
            temporal = state[f"{key}.temporal.weight"]
            identity = np.zeros_like(temporal)
            identity[range(len(identity)), range(len(identity)), temporal.shape[2] // 2] = 1
            np.testing.assert_array_equal(temporal, identity)
        else:
            whole = state[f"{key}.conv.weight"]
            for k in range(whole.shape[2]):
                np.testing.assert_allclose(whole[:, :, k], kernel / whole.shape[2], rtol=1e-6)
    if arch == "s3d_g_slim":  # whose gates are new
        return
    model.eval()
    picture = np.random.default_rng(2).standard_normal((1, 3, 1, 64, 64)).astype(np.float32)
    with paddle.no_grad():  # far from the first and last frame
        found = model.forward_features(paddle.to_tensor(picture.repeat(64, 2)), ["mixed_3b"])["mixed_3b"]
        flat = S3DModel("i2d", 5, width=WIDTH)
        load_weights(flat, tmp_path / "file", partial=True)
        flat.eval()
        wanted = flat.forward_features(paddle.to_tensor(picture.repeat(64, 2)), ["mixed_3b"])["mixed_3b"]
    np.testing.assert_allclose(found[:, :, 16].numpy(), wanted[:, :, 16].numpy(), rtol=1e-4, atol=1e-4)


def test_images_for_a_whole_network_are_refused(tmp_path):
    path = write_torch_zip(tmp_path / "w.pth", sources.GOOGLENET.tensors(WIDTH, is_image=True))
    text = refusal(load_weights, S3DModel("i3d_inception", 5, width=WIDTH), path)
    assert "an image network" in text and "--pretrain" in text


# --- published weights


def test_every_published_entry_says_what_it_is():
    for name, entry in WEIGHTS.items():
        assert entry.licence and entry.url.startswith("https://") and entry.protocol, name
        assert entry.is_start or entry.variant in SOURCES, name
        assert (entry.top1 is None) or entry.accuracy_source, name


def test_files_of_several_parts_come_into_a_folder_of_their_own(monkeypatch, tmp_path):
    from weights.download import fetch_weights

    arrays = sources.deepmind().tensors(0.05)
    write_bundle(tmp_path / "mirror" / "deepmind_rgb_imagenet" / "model.ckpt", arrays)
    monkeypatch.setenv("PADDLE_NONLOCAL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PADDLE_NONLOCAL_MIRROR", f"file://{tmp_path / 'mirror'}")
    path = fetch_weights("deepmind_rgb_imagenet")
    assert read_stored(path).arrays.keys() == arrays.keys()
    assert "kylemin/S3D" in refusal(fetch_weights, "kylemin_s3d")


def test_converted_file_is_a_plain_pickle_of_our_names(monkeypatch, tmp_path):
    path = write_torch_zip(tmp_path / "w.pth", sources.TORCHVISION.tensors(WIDTH))
    convert(monkeypatch, path, tmp_path / "w.pdparams", "--quiet")
    stored = load_pickle(tmp_path / "w.pdparams")
    assert stored.pop(ORIGIN_KEY)["padding"] == "symmetric"
    assert stored.keys() == S3DModel("s3d", 5, width=WIDTH).state_dict().keys()


# --- our own files


FORMS = [
    {"arch": "i2d"}, {"arch": "i3d_inception"}, {"arch": "s3d"}, {"arch": "s3d_g"}, {"arch": "s3d_g_slim"},
    {"arch": "s3d_g_howto100m"}, {"arch": "fast_s3d"}, {"arch": "top_heavy_i3d", "temporal_from": "mixed_4b"},
    {"arch": "bottom_heavy_s3d", "temporal_to": "mixed_3c"}, {"arch": "s3d", "gates": "temporal"},
    {"arch": "s3d", "temporal_branches": 4}, {"arch": "s3d_g", "gate_bias": True}, {"arch": "s3d", "in_channels": 2},
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS, ids=lambda form: " ".join(map(str, form.values())))
def test_network_is_told_by_the_tensors_of_our_files(form):
    """A file of ours gives the configuration of its own form, and every tensor has a name in the table."""
    keys = dict(form)
    state = S3DModel(keys.pop("arch"), 3, width=0.05, nonlocal_after=("mixed_4f",), **keys).state_dict()
    assert set(state) <= set(all_our_names())
    kind = trunk_kind({name: tuple(tensor.shape) for name, tensor in state.items()})
    _, _, sections = configuration("own", kind)
    found = {"arch": sections["MODEL"]["arch"], **sections.get("S3D", {})}
    if kind.in_channels != 3:
        found["in_channels"] = kind.in_channels
    if form.get("gates") == "temporal":  # S3D-G with gates elsewhere is the same network
        assert found == {"arch": "s3d_g", "gates": "temporal"}
    else:
        assert found == form
    assert sections["NONLOCAL"] == {"positions": {"mixed_4f": [0]}} and sections["MODEL"]["num_classes"] == 3
