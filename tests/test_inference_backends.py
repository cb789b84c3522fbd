"""Every backend computes what the eager network computes, for any batch and size, or says why it cannot."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest

from configs import load_config
from inference import add_backend_flags, backends, build_backend, cache, score_views
from inference import export as exporting
from inference.backends import BACKENDS, PACKAGES, candidates, missing_packages
from models import build_model
from models.layers import FoldedConv, FramesConv, merge_clips
from tests.plain_network import randomized
from tests.script_runs import ROOT, tiny_config
from utils.errors import RunError, UserError
from weights import save_weights

EXPORTED = [name for name in PACKAGES if name != "paddle"]


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A configuration and the weights of a network with statistics, scales and shifts of all kinds."""
    folder = tmp_path_factory.mktemp("network")
    config = load_config(tiny_config(folder, folder / "list.txt"))
    save_network(config, folder / "weights.pdparams")
    return config, str(folder / "weights.pdparams")


def save_network(config, path, seed=0):
    arrays = {name: t.numpy() for name, t in randomized(build_model(config), seed).state_dict().items()}
    arrays["head.weight"] = arrays["head.weight"] * 0.02  # logits near 1: no class takes it all
    save_weights(path, arrays)


def random_clips(num_clips, height=32, width=32, num_frames=4, seed=1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((num_clips, 3, num_frames, height, width), np.float32)


def backend_of(network, name, **more):
    return build_backend(*network, "", backend=name, **more)


@pytest.mark.parametrize("name", EXPORTED)
def test_a_backend_agrees_with_the_eager_network(network, name):
    if missing_packages(name):
        pytest.skip(f"{missing_packages(name)} are not installed")
    backend, eager = backend_of(network, name), backend_of(network, "paddle")
    assert (backend.name, backend.precision, eager.name) == (name, "float32", "paddle")
    spread = 0.0
    for shape in ((1, 32, 32), (1, 64, 64), (5, 64, 64), (2, 64, 96)):
        clips = random_clips(*shape)
        scores, expected = backend.scores(clips), eager.scores(clips)
        assert scores.dtype == np.float32 and scores.shape == (shape[0], 3)
        np.testing.assert_allclose(scores, expected, atol=2e-6)
        spread = max(spread, float(np.ptp(expected)))
    assert spread > 0.01  # a network that says the same of everything would agree with anything


@pytest.mark.parametrize(
    "options",
    [
        ["MODEL.video_arc_choice=1", "MODEL.use_affine=True", "NONLOCAL.use_affine=True"],
        ["NONLOCAL.instantiation=gaussian", "NONLOCAL.no_bias=1"],
        ["NONLOCAL.instantiation=concatenation", "NONLOCAL.use_bn=False", "RESNETS.num_groups=2"],
        ["NONLOCAL.instantiation=dot_product", "NONLOCAL.extent=space", "MODEL.stem_temporal_stride=2"],
        ["NONLOCAL.pool_after_projection=True", "NONLOCAL.extent=time", "MODEL.multi_label=True"],
        ["NONLOCAL.pool_after_projection=True", "MODEL.stem_pool_temporal_stride=2"],
    ],
)
def test_folding_changes_nothing_but_rounding(tmp_path, options):
    config = load_config(tiny_config(tmp_path, tmp_path / "list.txt"), options)
    model = randomized(build_model(config))
    model.eval()
    before = {name: t.numpy().copy() for name, t in model.state_dict().items()}
    clips = paddle.to_tensor(random_clips(2))
    num_frames, frames = clips.shape[2], merge_clips(clips)
    folded = model.prepare_for_export(num_frames)
    with paddle.no_grad():
        expected, found = model(clips).numpy(), folded(frames)[1].numpy()
        of_volumes = model.prepare_for_export(num_frames, volumes=True)(frames)[1].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    np.testing.assert_allclose(of_volumes, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert not [name for name in folded.state_dict() if ".bn." in name]
    assert all((before[name] == t.numpy()).all() for name, t in model.state_dict().items())


def test_stacked_frames_are_widened_to_what_processors_take_at_once():
    conv = FramesConv(3, 64, (5, 7, 7), (1, 2, 2))
    folded = FoldedConv(conv, np.ones(64), np.zeros(64))
    frames = paddle.to_tensor(random_clips(4, num_frames=2).swapaxes(1, 2).reshape(8, 3, 32, 32))
    assert not conv.adds_taps and folded.weight.shape[1] == 16
    np.testing.assert_allclose(folded(frames, 4).numpy(), conv(frames, 4).numpy(), atol=1e-4)


def test_large_clips_are_exported_for_their_size_and_agree(network, monkeypatch):
    monkeypatch.setattr("models.nonlocal_model.options.MAX_FREE_VALUES", 4 * 64 * 64)
    clips = random_clips(2, 64, 96)
    backend = backend_of(network, "paddle_inference")
    np.testing.assert_allclose(backend.scores(clips), backend_of(network, "paddle").scores(clips), atol=2e-6)
    backend.scores(random_clips(1, 64, 64, num_frames=2))
    assert set(backend._sessions) == {(4, 32, 32), (4, 64, 96), (2,)}  # features of 32 px are smaller than the pools


def test_batches_are_cut_to_what_suits_the_processor(network, monkeypatch):
    backend = backend_of(network, "paddle_inference")
    clips, sizes, session = random_clips(5, 64, 64), [], backend._session(4, 64, 64)
    backend._sessions[(4,)] = lambda frames: sizes.append(len(frames) // 4) or session(frames)
    expected = backend.scores(clips)
    monkeypatch.setattr(backends, "CPU_VALUES_PER_CALL", 2 * 4 * 64 * 64)
    np.testing.assert_allclose(backend.scores(clips), expected, atol=1e-6)
    assert sizes == [5, 2, 2, 1]


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PADDLE_NONLOCAL_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("name", EXPORTED)
def test_weights_trained_anew_into_the_same_file_are_exported_anew(network, tmp_path, empty_cache, name):
    if missing_packages(name):
        pytest.skip(f"{missing_packages(name)} are not installed")
    config, file, clips = network[0], tmp_path / "w.pdparams", random_clips(2)
    expected = []
    for seed in (0, 1):
        save_network(config, file, seed)
        expected.append(backend_of((config, str(file)), "paddle").scores(clips))
        np.testing.assert_allclose(backend_of((config, str(file)), name).scores(clips), expected[-1], atol=2e-6)
    assert np.abs(expected[0] - expected[1]).max() > 0.01


def test_the_crop_that_sets_the_head_s_pool_has_an_export_of_its_own(network, tmp_path, empty_cache):
    clips, expected = random_clips(2, 64, 64), []
    for crop_size in (32, 64):
        config = load_config(tiny_config(tmp_path, tmp_path / "list.txt", jitter_scales=[64, 64]))
        config.INPUT.crop_size = crop_size
        expected.append(backend_of((config, network[1]), "paddle").scores(clips))
        np.testing.assert_allclose(
            backend_of((config, network[1]), "paddle_inference").scores(clips), expected[-1], atol=2e-6
        )
    assert np.abs(expected[0] - expected[1]).max() > 1e-4


@pytest.mark.skipif(
    paddle.__version__.startswith("2."),
    reason="Paddle Inference 2.6 computes 3-D convolutions inexactly; only OpenVINO gets them, which needs Paddle 3",
)
def test_an_export_of_volumes_does_not_serve_a_backend_of_frames(network, monkeypatch, empty_cache):
    made, export = [], exporting.export_paddle
    monkeypatch.setattr(
        exporting, "export_paddle", lambda *args, **more: made.append(args[-1]) or export(*args, **more)
    )
    clips = random_clips(2)
    for backends_of_volumes in ((), ("paddle_inference",), ()):
        monkeypatch.setattr(
            backends, "computes_volumes", lambda *_, chosen=backends_of_volumes: "paddle_inference" in chosen
        )
        found = backend_of(network, "paddle_inference").scores(clips)
        np.testing.assert_allclose(found, backend_of(network, "paddle").scores(clips), atol=2e-6)
    assert made == [False, True]  # each once


@pytest.mark.skipif(bool(missing_packages("openvino")), reason="openvino or paddle2onnx is not installed")
def test_a_compiled_network_is_kept_alone_and_made_again_when_damaged(network, monkeypatch, empty_cache):
    clips = random_clips(2)
    expected = backend_of(network, "openvino").scores(clips)
    (compiled,) = cache.cache_folder().glob(f"*/{backends.COMPILED_FILE}")
    others = [folder for folder in cache.cache_folder().iterdir() if folder != compiled.parent]
    for folder in others:
        folder.rename(folder.with_name(f".{folder.name}"))
    assert (backend_of(network, "openvino").scores(clips) == expected).all()  # neither exported nor converted again
    assert [path.name for path in cache.cache_folder().iterdir() if path.name[0] != "."] == [compiled.parent.name]
    for folder in others:
        folder.with_name(f".{folder.name}").rename(folder)
    whole = compiled.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-2000] + b"\1" * 2000, b""):
        compiled.write_bytes(damaged)
        assert (backend_of(network, "openvino").scores(clips) == expected).all()
        assert compiled.read_bytes() != damaged
    monkeypatch.setattr(backends, "processor_flags", lambda: ["another processor"])
    backend_of(network, "openvino")
    assert len(list(cache.cache_folder().glob(f"*/{backends.COMPILED_FILE}"))) == 2


RUN_AND_LIST_PACKAGES = """
import importlib, sys
sys.argv = sys.argv[1:]
importlib.import_module(sys.argv[0]).main()
print(*{name.partition(".")[0] for name in sys.modules})
"""


@pytest.mark.parametrize(("script", "name"), [("predict", "openvino"), ("eval", "onnxruntime")])
def test_a_kept_export_is_used_without_importing_paddle(network, tmp_path, script, name):
    if missing_packages(name):
        pytest.skip(f"{missing_packages(name)} are not installed")
    backend_of(network, name)
    (tmp_path / "list.txt").write_text(f"{ROOT / 'examples/clip.mp4'} 0\n")
    flags = [f"--config={Path(network[1]).with_name('tiny.yaml')}", f"--weights={network[1]}", f"--backend={name}"]
    flags += [f"--filelist={tmp_path / 'list.txt'}", f"--save_dir={tmp_path}", "--precision=float32", "--views=1x1"]
    command = [sys.executable, "-c", RUN_AND_LIST_PACKAGES, script, *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"backend: {name}" in done.stdout
    packages = done.stdout.splitlines()[-1].split()
    assert name in packages and "paddle" not in packages


def wrong_session(session, output):
    return lambda frames: [array + 0.02 * (i == output) for i, array in enumerate(session(frames))]


@pytest.mark.parametrize("output", [0, 1])
def test_scores_that_differ_from_the_network_are_never_used(network, monkeypatch, capsys, output):
    monkeypatch.setattr(backends, "FASTEST_FIRST", ("paddle_inference", "paddle"))
    expected = backend_of(network, "paddle").scores(random_clips(1))
    right = backends.open_session
    monkeypatch.setattr(backends, "open_session", lambda *args: wrong_session(right(*args), output))
    with pytest.raises(RunError, match="other scores"):
        backend_of(network, "paddle_inference")
    backend = backend_of(network, "auto")
    assert backend.name == "paddle" and (backend.scores(random_clips(1)) == expected).all()
    assert "other scores" in capsys.readouterr().out


def test_auto_says_what_it_took_and_what_is_missing(network, monkeypatch, capsys):
    monkeypatch.setitem(PACKAGES, "openvino", ("openvino_that_nobody_has",))
    monkeypatch.setitem(PACKAGES, "onnxruntime", ("onnxruntime_that_nobody_has",))
    assert backend_of(network, "auto").name == "paddle_inference"
    out = capsys.readouterr().out
    assert "backend: paddle_inference, float32" in out and "openvino" in out and 'pip install ".[fast]"' in out
    assert candidates("auto", "float32", "gpu") == ["paddle"]


@pytest.mark.parametrize(
    ("backend", "precision", "device", "words"),
    [
        ("openvino", "float32", "cpu", ["openvino_that_nobody_has", "pip install"]),
        ("paddle", "float16", "cpu", ["float16", "GPU"]),
        ("paddle", "bfloat16", "cpu", ["--backend=paddle_inference"]),
        ("paddle_inference", "bfloat16", "cpu", ["bfloat16", "instructions"]),
        ("auto", "bfloat16", "cpu", ["bfloat16", "instructions"]),
        ("auto", "float16", "cpu", ["float16", "GPU"]),
        ("onnxruntime", "float32", "gpu", ["--use_gpu=False"]),
    ],
)
def test_what_cannot_run_here_is_refused_in_a_line(monkeypatch, backend, precision, device, words):
    monkeypatch.setitem(PACKAGES, "openvino", ("openvino_that_nobody_has",))
    monkeypatch.setitem(PACKAGES, "onnxruntime", ())
    monkeypatch.setattr(backends, "processor_has_bfloat16", lambda: False)
    with pytest.raises(UserError) as error:
        candidates(backend, precision, device)
    assert all(word in str(error.value) for word in words) and "\n" not in str(error.value)


def test_bfloat16_goes_to_the_backends_that_have_it(monkeypatch):
    monkeypatch.setattr(backends, "processor_has_bfloat16", lambda: True)
    monkeypatch.setattr(backends, "missing_packages", lambda name: [])
    assert candidates("auto", "bfloat16", "cpu") == ["openvino", "paddle_inference"]
    assert candidates("auto", "float32", "cpu") == [
        "openvino",
        "onnxruntime",
        "paddle_inference",
        "paddle",
    ]  # docs/backends.md


def test_flags_have_working_defaults():
    parser = argparse.ArgumentParser()
    add_backend_flags(parser)
    args = parser.parse_args([])
    assert (args.backend, args.precision) == ("auto", "float32") and args.backend in BACKENDS
    for flag in ("--backend", "--engine"):
        with pytest.raises(SystemExit):
            parser.parse_args([f"{flag}=tensorflow"])
        assert parser.parse_args([f"{flag}=openvino"]).backend == "openvino"
        assert parser.parse_args([f"{flag}=inference"]).backend == "paddle_inference"  # earlier versions' name
    assert "--engine" not in parser.format_help()


def test_views_are_scored_in_batches_in_order(network):
    class Views:
        def __len__(self):
            return 5

        def clips(self, ids):
            return random_clips(5)[ids]

    backend = backend_of(network, "paddle")
    np.testing.assert_allclose(score_views(backend, Views(), 2), backend.scores(random_clips(5)), atol=1e-6)
