"""The S3D family against its published numbers, a plain 5-D implementation, and what the tables say of each member."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import paddle
import pytest

from configs import load_config, save_config
from inference import build_backend
from models import S3DModel, build_model
from models.layers import FramesConv
from models.s3d_model import trunk
from models.s3d_model.options import ARCHS, BLOCKS, LAYERS, STAGES, TEMPORAL_LAYERS, network_options
from tests.plain_s3d import plain_s3d_logits, randomized_trunk
from tests.script_runs import make_videos, run_script, write_list
from training.norms import freeze
from utils.errors import UserError

TABLES = json.loads((Path(__file__).parent / "golden/s3d_tables.json").read_text())
NETWORKS = {
    "i3d": "i3d_inception", "i2d": "i2d", "s3d": "s3d", "s3d_torchvision": "s3d", "s3dg": "s3d_g",
    "s3dg_slim": "s3d_g_slim", "s3dg_howto100m": "s3d_g_howto100m", "fast_s3d": "fast_s3d",
}  # fmt: skip
SMALL = {"width": 0.125, "init_std": None, "num_classes": 6}


def heavy_forms():
    for name in TABLES["heavy"]:
        side, _, kind, count = name.split("_")
        arch = f"{side}_heavy_{'i3d' if kind == 'full' else 's3d'}"
        count, borders = int(count), {}
        if side == "top":
            borders["temporal_from"] = TEMPORAL_LAYERS[-count] if count else "none"
        else:
            borders["temporal_to"] = TEMPORAL_LAYERS[count - 1] if count else "none"
        yield name, arch, borders


def trainable(model) -> int:
    return sum(int(np.prod(p.shape)) for p in model.parameters() if not p.stop_gradient)


def norm_scales(model) -> int:
    return sum(layer.weight.shape[0] for layer in model.sublayers() if type(layer).__name__ == "BatchNorm2D")


def clips_of(*shape: int, seed: int = 0) -> paddle.Tensor:
    return paddle.to_tensor(np.random.default_rng(seed).standard_normal(shape, np.float32))


def log_probabilities(logits) -> np.ndarray:
    return paddle.nn.functional.log_softmax(logits.mean(1)).numpy()


@pytest.mark.parametrize("row", NETWORKS)
def test_parameters_are_those_of_the_tables(row):
    expected = TABLES["networks"][row]
    with paddle.LazyGuard():
        model = S3DModel(NETWORKS[row], padding=expected["geometry"]["padding"])
    assert trainable(model) == expected["trainable"]
    assert trainable(model) - norm_scales(model) == expected["trainable_without_norm_scale"]
    assert len(model.state_dict()) == expected["tensors"]
    assert sum(int(np.prod(t.shape)) for t in model.state_dict().values()) == expected["with_statistics"]


def test_parameters_of_all_heavy_forms_are_those_of_the_tables():
    forms = list(heavy_forms())
    assert len(forms) == 48
    for name, arch, borders in forms:
        with paddle.LazyGuard():
            model = S3DModel(arch, **borders)
        assert trainable(model) == TABLES["heavy"][name]["trainable"], name
        assert len(model.state_dict()) == TABLES["heavy"][name]["tensors"], name


def test_four_temporal_branches_have_the_counted_parameters():
    with paddle.LazyGuard():
        assert trainable(S3DModel("s3d", temporal_branches=4)) == 9_708_048


@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize(
    ("arch", "options", "size"),
    [
        ("s3d", {}, (13, 64, 64)),
        ("s3d", {"temporal_branches": 4}, (14, 47, 51)),
        ("s3d_g", {}, (15, 33, 49)),
        ("s3d_g", {"gates": "temporal", "gate_bias": True}, (16, 40, 40)),
        ("s3d_g_slim", {}, (16, 50, 34)),
        ("s3d_g_howto100m", {}, (16, 48, 64)),
        ("i3d_inception", {}, (17, 45, 64)),
        ("i2d", {}, (13, 64, 33)),
        ("fast_s3d", {}, (20, 38, 38)),
        ("top_heavy_i3d", {"temporal_from": "mixed_4b"}, (13, 47, 47)),
        ("bottom_heavy_s3d", {"temporal_to": "mixed_3b", "gates": "branches"}, (18, 39, 64)),
    ],
)
def test_the_network_is_the_plain_one(arch, options, size, padding):
    model = randomized_trunk(S3DModel(arch, padding=padding, head_pool_size=2, **options, **SMALL))
    clips = clips_of(2, 3, *size)
    stem_padding, head = ARCHS[arch].stem_padding, (2, 2, 2)
    if ARCHS[arch].head_pool_frames == 0:
        head = None if size[1] < 64 else (100, 2, 2)
    with paddle.no_grad():
        expected = plain_s3d_logits(
            model.state_dict(), clips, padding=padding, stem_padding=stem_padding, epsilon=1e-3, head=head
        )
        logits = model(clips)
    assert logits.shape == expected.shape
    np.testing.assert_allclose(log_probabilities(logits), log_probabilities(expected), atol=1e-4)
    scores = model.class_scores(logits).numpy()
    np.testing.assert_allclose(np.log(scores), log_probabilities(expected), atol=1e-4)  # the mean of logits, softmax


@pytest.mark.parametrize("volumes", [False, True])
@pytest.mark.parametrize(
    ("arch", "options"),
    [("s3d", {}), ("s3d_g", {"padding": "symmetric"}), ("s3d_g", {"gates": "temporal"}), ("s3d_g_howto100m", {}),
     ("s3d_g_slim", {"nonlocal_after": ("mixed_4f", "conv_2c")}), ("top_heavy_s3d", {"temporal_from": "mixed_4f"}),
     ("i3d_inception", {}), ("s3d", {"temporal_branches": 4})],
)  # fmt: skip
def test_the_export_over_groups_of_frames_is_the_network(arch, options, volumes, monkeypatch):
    model = randomized_trunk(S3DModel(arch, **options, **SMALL))
    clips = clips_of(2, 3, 29, 40, 47)
    with paddle.no_grad():
        expected = model(clips)
        monkeypatch.setattr(trunk, "GROUP_FRAMES", 4)
        monkeypatch.setattr(trunk, "BRANCH_GROUP_FRAMES", 3)
        grouped = model(clips)
        frames = clips.transpose([0, 2, 1, 3, 4]).flatten(0, 1)
        scores, logits = model.prepare_for_export(29, volumes)(frames)
    np.testing.assert_allclose(log_probabilities(grouped), log_probabilities(expected), atol=1e-4)
    np.testing.assert_allclose(log_probabilities(logits), log_probabilities(expected), atol=1e-4)
    np.testing.assert_allclose(scores.numpy(), model.class_scores(expected).numpy(), atol=1e-5)


def test_i2d_does_not_see_the_order_of_frames_exactly_where_the_pools_line_up():
    model = randomized_trunk(S3DModel("i2d", **SMALL))

    def change(model, num_frames: int) -> float:
        clips = clips_of(1, 3, num_frames, 32, 32)
        with paddle.no_grad():
            return float(np.abs(log_probabilities(model(clips)) - log_probabilities(model(clips.flip(2)))).max())

    assert change(model, 13) < 1e-4 and change(model, 21) < 1e-4  # 8 j + 5
    assert change(model, 16) > 1e-2 and change(model, 12) > 1e-2
    for arch in ("i3d_inception", "s3d", "s3d_g", "fast_s3d"):
        assert change(randomized_trunk(S3DModel(arch, **SMALL)), 13) > 2e-3, arch


def test_gates_stand_where_the_table_says():
    def gated(arch, **options):
        names = dict(S3DModel(arch, **options, **SMALL).named_sublayers())
        return {name[: -len(".gate")] for name in names if name.endswith(".gate")}

    branches = {f"{block}.{unit}" for block in BLOCKS for unit in ("b0", "b1b", "b2b", "b3b")}
    assert gated("s3d_g") == gated("s3d_g_slim") == {"conv_2c", *branches}
    temporal = {f"{block}.{unit}" for block in BLOCKS for unit in ("b1b", "b2b")}
    assert gated("s3d_g", gates="temporal") == {"conv_1a", "conv_2c", *temporal}
    assert gated("s3d") == set() and gated("s3d_g", gates="none") == set()
    top = gated("top_heavy_s3d", temporal_from="mixed_5c", gates="branches")
    assert top == {f"mixed_5c.{unit}" for unit in ("b0", "b1b", "b2b", "b3b")}


def test_fresh_temporal_kernels_are_the_identity():
    model = S3DModel("s3d", width=0.25)
    weight = model.mixed_4b.b1b.temporal.weight.numpy()
    np.testing.assert_array_equal(weight[:, :, 1, 0, 0], np.eye(len(weight)))
    assert not weight[:, :, [0, 2]].any()
    assert 0.005 < model.mixed_4b.b1b.spatial.weight.numpy().std() < 0.01  # a normal of 0.01, cut at 2 deviations


@pytest.mark.parametrize("arch", ["s3d_g", "i3d_inception"])
def test_a_few_steps_learn_and_every_parameter_has_a_gradient(arch):
    paddle.seed(0)
    model = S3DModel(arch, nonlocal_after=("mixed_4f",), dropout_rate=0.0, **SMALL)
    model.train()
    clips, labels = clips_of(4, 3, 9, 32, 32), paddle.to_tensor([0, 1, 2, 3])
    optimizer = paddle.optimizer.Momentum(0.02, parameters=model.parameters())
    losses = []
    for _ in range(20):
        loss = paddle.nn.functional.cross_entropy(model(clips).mean(1), labels)
        loss.backward()
        if not losses:
            missing = [name for name, p in model.named_parameters() if not p.stop_gradient and p.grad is None]
            assert missing == []
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]


def test_features_have_the_channels_and_strides_that_the_trunk_says():
    model = S3DModel("s3d", **SMALL)
    model.eval()
    assert model.stage_names == STAGES and list(model.backbone.channels.values())[-1] == 128
    found = model.forward_features(clips_of(2, 3, 16, 64, 96))
    for name, x in found.items():
        sizes = [size // stride for size, stride in zip((16, 64, 96), model.backbone.strides[name])]
        assert x.shape == [2, model.backbone.channels[name], *sizes], name
    with paddle.no_grad():
        pooled = model.forward_features(clips_of(2, 3, 16, 64, 96), ["pool_3a"])["pool_3a"]
    np.testing.assert_allclose(pooled.numpy(), found["pool_3a"].numpy(), atol=1e-6)
    frozen = freeze(model, ["mixed_3b"], False)
    assert len(frozen) == 8 and model.mixed_3b.b0.conv.weight.stop_gradient


@pytest.mark.parametrize("side", [63, 64])
@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_positions_lie_where_the_network_looks(padding, side):
    """Pixels that move a feature lie around the place that the trunk names: measured with gradients."""
    model = randomized_trunk(S3DModel("i2d", padding=padding, **SMALL))
    for stage, place in (("pool_3a", (3, 4)), ("mixed_3b", (3, 4))):
        clips = clips_of(1, 3, 2, side, side)
        clips.stop_gradient = False
        model.forward_features(clips, [stage])[stage][:, :, :, place[0], place[1]].sum().backward()
        touched = np.abs(clips.grad.numpy()).sum((0, 1, 2)) > 0
        for axis in (0, 1):
            lines = np.flatnonzero(touched.any(1 - axis))
            stride = model.backbone.strides[stage][1]
            centre = model.backbone.offset_px(stage, side) + stride * place[axis]
            assert (lines[0] + lines[-1]) / 2 == pytest.approx(centre, abs=1)


def test_a_non_local_block_stands_behind_its_layer():
    model = S3DModel("s3d_g", nonlocal_after=("mixed_4f", "conv_2c"), **SMALL)
    assert "mixed_4f.nl0.theta.weight" in model.state_dict() and "conv_2c.nl0.g.weight" in model.state_dict()
    plain = S3DModel("s3d_g", **SMALL)
    plain.set_state_dict({k: v for k, v in model.state_dict().items() if ".nl0." not in k})
    model.eval(), plain.eval()
    clips = clips_of(1, 3, 9, 48, 48)
    np.testing.assert_allclose(model(clips).numpy(), plain(clips).numpy(), atol=1e-6)  # a fresh block is the identity


def s3d_config(*overrides: str):
    return load_config("configs/s3d.yaml", overrides)


def test_the_configuration_describes_the_network(tmp_path):
    config = s3d_config("MODEL.arch=top_heavy_s3d", "S3D.temporal_from=mixed_4b", "NONLOCAL.positions={mixed_4f: [0]}",
                        "S3D.width=0.125", "INPUT.channels=2", "S3D.padding=symmetric")  # fmt: skip
    model = build_model(config)
    assert model.options.kinds["mixed_4b"] == "separated" and model.options.kinds["mixed_3c"] == "flat"
    assert model.options.nonlocal_after == ("mixed_4f",) and model.in_channels == 2
    assert (model.options.norm.epsilon, model.options.norm.momentum) == (1e-3, 0.999)
    assert (model.options.head.pool_frames, model.options.head.pool_size) == (2, 7)
    (tmp_path / "saved.yaml").write_text(save_config(config))
    assert load_config(tmp_path / "saved.yaml") == config
    howto = build_model(s3d_config("MODEL.arch=s3d_g_howto100m", "MODEL.bn_epsilon=1e-5", "S3D.width=0.125"))
    assert (howto.options.head.pool_frames, howto.options.head.pool_size) == (0, 0)


def test_a_family_may_have_defaults_of_its_own(tmp_path):
    (tmp_path / "own.yaml").write_text("MODEL: {name: S3D}\n")
    config = load_config(tmp_path / "own.yaml")
    assert (config.MODEL.bn_epsilon, config.MODEL.head_average, config.TEST.video_length) == (1e-3, "logits", 64)
    assert config.INPUT.mean == [127.5] * 3 and config.MODEL.arch == "s3d"
    assert load_config("configs/nonlocal.yaml").MODEL.bn_epsilon == 1e-5


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["MODEL.arch=top_heavy_s3d"], "needs S3D.temporal_from: conv_1a, conv_2c"),
        (["MODEL.arch=top_heavy_s3d", "S3D.temporal_from=mixed_4g"], "'mixed_4g' is no layer"),
        (["MODEL.arch=top_heavy_s3d", "S3D.temporal_from=conv_2b"], "'conv_2b' is no layer"),
        (["MODEL.arch=bottom_heavy_i3d", "S3D.temporal_from=mixed_4b"], "S3D.temporal_from: bottom_heavy_i3d has a"),
        (["S3D.temporal_to=mixed_4b"], "S3D.temporal_to: s3d has a fixed choice"),
        (["MODEL.arch=i2d", "S3D.gates=branches"], "no temporal convolutions"),
        (["MODEL.arch=top_heavy_i3d", "S3D.temporal_from=none", "S3D.gates=temporal"], "no temporal convolutions"),
        (["MODEL.arch=i3d_inception", "S3D.temporal_branches=4"], "no separated convolutions"),
        (["INPUT.num_frames=8"], "TRAIN.video_length .* at least 9 frames; these have 8"),
        (["INPUT.num_frames=12", "S3D.padding=symmetric"], "at least 13 frames; these have 12"),
        (["INFER.video_length=4"], "INFER.video_length .* at least 9"),
        (["NONLOCAL.positions={res3: [1]}"], "unknown layer 'res3'"),
        (["NONLOCAL.positions={mixed_4f: [1]}"], r"write \[0\]"),
        (["NONLOCAL.num_blocks=5"], "NONLOCAL.num_blocks"),
        (["S3D.padding=valid"], "S3D.padding"),
    ],
)
def test_what_no_network_has_is_refused_in_one_line(overrides, words):
    with pytest.raises(UserError, match=words) as error:
        build_model(s3d_config("S3D.width=0.125", *overrides))
    assert "\n" not in str(error.value)


def test_too_few_frames_for_the_head_are_refused_with_the_smallest_number_that_works():
    for padding, smallest in (("same", 9), ("symmetric", 13)):
        model = randomized_trunk(S3DModel("s3d", padding=padding, **SMALL))
        assert network_options("s3d", padding=padding).smallest_num_frames() == smallest
        assert model(clips_of(1, 3, smallest, 32, 32)).shape == [1, 1, 6]
        with pytest.raises(UserError, match=f"at least {smallest} frames"):
            model(clips_of(1, 3, smallest - 1, 32, 32))


def test_layers_are_in_the_order_of_the_computation():
    assert [name for name in LAYERS if name in TEMPORAL_LAYERS] == list(TEMPORAL_LAYERS)
    assert [name for name in LAYERS if name in BLOCKS] == list(BLOCKS)


def test_the_scripts_take_it(tmp_path, monkeypatch, capsys):
    videos = make_videos(tmp_path / "videos", 3, 3)
    listed, names = write_list(tmp_path / "list.txt", videos), tmp_path / "names.txt"
    names.write_text("a\nb\nc\n")
    overrides = ["MODEL.arch=s3d_g", "MODEL.num_classes=3", "S3D.width=0.125", "NONLOCAL.positions={mixed_4f: [0]}",
                 "INPUT.num_frames=24", "INPUT.crop_size=32", "INPUT.scales=[32, 40]", "TEST.num_test_clips=3",
                 "TEST.jitter_scales=[32, 32]", "TEST.crop_size=32", "INFER.jitter_scales=[32, 32]",
                 "INFER.crop_size=32", "INFER.num_test_clips=3", f"MODEL.class_names={names}"]  # fmt: skip
    lists = [f"{phase}.filelist={listed}" for phase in ("TRAIN", "VALID", "TEST", "INFER")]
    threads = [f"{phase}.num_reader_threads=0" for phase in ("TRAIN", "VALID", "TEST", "INFER")]
    flags = [f"--override={text}" for text in (*overrides, *lists, *threads, "VALID.batch_size=3")]
    run, common = tmp_path / "run", ["--model_name=S3D", "--use_gpu=False"]
    assert run_script(monkeypatch, "train", *common, *flags, f"--save_dir={run}", "--batch_size=3", "--epoch=1") == 0
    saved = [f"--config={run / 'config.yaml'}", f"--weights={run / 'S3D.pdparams'}"]
    assert run_script(monkeypatch, "eval", *common, *saved, "--backend=paddle", f"--save_dir={tmp_path / 'eval'}") == 0
    assert run_script(monkeypatch, "predict", *saved, f"--save_dir={tmp_path / 'p'}", "--features=mixed_4b") == 0
    assert run_script(monkeypatch, "export", *saved, f"--save_dir={tmp_path / 'export'}", "--crop_size=32") == 0
    capsys.readouterr()
    assert run_script(monkeypatch, "train", "--model_name=S4D") == 2
    assert "NONLOCAL, S3D" in capsys.readouterr().err


def test_an_export_is_right_for_batches_that_change(tmp_path):
    """Paddle Inference keeps what it has made of a weight; one that is computed at run time would be mistaken."""
    config = s3d_config("MODEL.arch=s3d_g", "MODEL.num_classes=4", "S3D.width=0.125", "INPUT.num_frames=9",
                        "INFER.crop_size=32", "INFER.jitter_scales=[32, 32]")  # fmt: skip
    model = randomized_trunk(build_model(config))
    paddle.save(model.state_dict(), str(tmp_path / "w.pdparams"))
    backend = build_backend(config, str(tmp_path / "w.pdparams"), "", backend="paddle_inference")
    for number, batch in enumerate((1, 2, 2, 1, 3)):
        clips = clips_of(batch, 3, 9, 32, 32, seed=number)
        with paddle.no_grad():
            expected = model.class_scores(model(clips)).numpy()
        np.testing.assert_allclose(backend.scores(clips.numpy()), expected, atol=1e-5)


@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("stride", [1, 2])
def test_taps_are_convolved_one_after_another_in_evaluation_and_add_to_the_same(padding, stride, monkeypatch):
    conv = FramesConv(8, 8, (7, 1, 1), (stride, 1, 1), padding=padding, has_bias=True)
    conv.bias.set_value(paddle.randn([8]))
    clip, convolve, outputs = clips_of(1, 8, 10, 2, 3), FramesConv._convolve, []
    before = 2 if (padding, stride) == ("same", 2) else 3  # 10 frames become 5
    padded = np.pad(clip.numpy()[0], ((0, 0), (before, 7), (0, 0), (0, 0)))
    weight = conv.weight.numpy()[..., 0, 0]
    expected = np.stack(
        [np.einsum("oik,ikhw->ohw", weight, padded[:, t : t + 7]) for t in range(0, 10, stride)]
    ) + conv.bias.numpy().reshape(-1, 1, 1)
    frames = clip[0].transpose([1, 0, 2, 3])
    monkeypatch.setattr(
        FramesConv, "_convolve", lambda self, x, *w: outputs.append(w[0].shape[0]) or convolve(self, x, *w)
    )
    at_once = conv(frames, 10)
    with paddle.no_grad():  # as recomputed activations begin
        conv(frames, 10)
    most, outputs[:] = max(outputs[len(outputs) // 2 :]), []
    conv.eval()
    found = conv(frames, 10)
    assert most > 8 and outputs == [8] * 7  # memory of one tap's results
    for values in (at_once, found):
        np.testing.assert_allclose(values.numpy(), expected, atol=1e-5)
