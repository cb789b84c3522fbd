"""Loading weights into a network: all or nothing, completed only where that is exact, and said in a line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

import hubconf
from configs import load_config
from models import build_model
from tests import source_networks as networks
from tests.plain_network import randomized
from tests.weight_files import python2_pickle, write_torch_zip
from utils.errors import RunError, UserError
from weights import download as module
from weights import load_weights, save_weights
from weights.convert import Renamed, fit
from weights.download import fetch_weights, published_weights
from weights.naming import all_families, recognise
from weights.nonlocal_names import HUB_ENTRIES, NAMES, NAMINGS, WEIGHTS, all_our_names, network_kind, network_shapes
from weights.s3d_names import WEIGHTS as INCEPTION_WEIGHTS

TINY = [
    "RESNETS.stem_channels=4",
    "RESNETS.res2_channels=8",
    "RESNETS.width_per_group=4",
    "RESNETS.blocks_per_stage=[1, 2, 2, 1]",
    "MODEL.num_classes=3",
    "MODEL.head_pool_size=0",
]
NARROW = ["RESNETS.stem_channels=8", "RESNETS.res2_channels=32", "RESNETS.width_per_group=8"]


def build(*overrides: str, base=TINY):
    return build_model(load_config("configs/nonlocal.yaml", [*base, *overrides]))


def arrays_of(model) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


def save(tmp_path, model, name="w.pdparams"):
    save_weights(tmp_path / name, arrays_of(model))
    return tmp_path / name


def scores(model, seed=0):
    clips = np.random.default_rng(seed).standard_normal((1, 3, 8, 48, 48)).astype(np.float32)
    model.eval()
    with paddle.no_grad():
        return model.class_scores(model(paddle.to_tensor(clips))).numpy()


def refusal(model, path, **options) -> str:
    before = arrays_of(model)
    with pytest.raises(UserError) as caught:
        load_weights(model, path, **options)
    for name, array in arrays_of(model).items():  # nothing of it has been loaded
        np.testing.assert_array_equal(array, before[name])
    text = str(caught.value)
    assert str(path) in text and "\n" not in text
    return text


def test_own_file_comes_back_bit_by_bit(tmp_path):
    model, other = randomized(build()), build()
    report = load_weights(other, save(tmp_path, model))
    for name, array in arrays_of(model).items():
        np.testing.assert_array_equal(arrays_of(other)[name], array)
    assert report.num_loaded == len(model.state_dict()) and not report.unexpected and not report.reinitialised
    assert report.summary() == f"loaded {report.num_loaded} tensors from {tmp_path / 'w.pdparams'}"


def test_own_file_is_read_by_two_modules_of_weights(tmp_path):
    """No converter and no table of names is imported for it, and another file needs them."""
    path = save(tmp_path, build())
    lines = [
        "import sys",
        "from configs import load_config",
        "from models import build_model",
        "from weights import load_weights",
        f"model = build_model(load_config('configs/nonlocal.yaml', {TINY!r}))",
        f"print(load_weights(model, {str(path)!r}).summary())",
        "print(sorted(name for name in sys.modules if name.startswith('weights')))",
    ]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-2:] == [f"loaded 141 tensors from {path}", "['weights', 'weights.safe_pickle']"]


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [("head.bias", np.nan, "infinite numbers or NaN"), ("stem.bn._variance", -1.0, "were means and variances swapped")],
)
def test_own_file_of_numbers_that_no_network_has(tmp_path, name, value, word):
    arrays = arrays_of(build())
    arrays[name][1] = value
    save_weights(tmp_path / "w.pdparams", arrays)
    text = refusal(build(), tmp_path / "w.pdparams")
    assert f"{name} " in text and word in text


def test_own_file_of_another_type_of_number_is_converted(tmp_path):
    model, other = randomized(build()), build()
    save_weights(tmp_path / "w.pdparams", {name: array.astype(np.float64) for name, array in arrays_of(model).items()})
    load_weights(other, tmp_path / "w.pdparams")
    for name, array in arrays_of(model).items():
        np.testing.assert_array_equal(arrays_of(other)[name], array)


class Toy(paddle.nn.Layer):
    """A network of a family without a table of names."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.body, self.head = paddle.nn.Linear(4, 4), paddle.nn.Linear(4, num_classes)


def test_a_family_without_a_table_of_names_has_its_own_files(tmp_path):
    """Its classifier may be another one when a training is initialised; another network's file is refused."""
    model, other = Toy(3), Toy(5)
    path = save(tmp_path, model)
    twin = Toy(3)
    load_weights(twin, path)
    np.testing.assert_array_equal(twin.head.weight.numpy(), model.head.weight.numpy())
    assert "a network of 4 tensors" in refusal(other, path)
    report = load_weights(other, path, partial=True)
    assert report.reinitialised == ["head.weight", "head.bias"] and report.num_loaded == 2
    np.testing.assert_array_equal(other.body.weight.numpy(), model.body.weight.numpy())
    text = refusal(model, save(tmp_path, build(), "nonlocal.pdparams"))
    assert "a C2D ResNet" in text and "the network is a network of 4 tensors" in text


def test_file_of_paddle_save(tmp_path):
    model, other = randomized(build()), build()
    paddle.save(model.state_dict(), str(tmp_path / "w.pdparams"))
    load_weights(other, tmp_path / "w.pdparams")
    np.testing.assert_array_equal(scores(other), scores(model))


def test_head_of_other_classes_is_not_loaded_by_a_start_only(tmp_path):
    path, other = save(tmp_path, randomized(build())), build("MODEL.num_classes=7")
    assert "head.weight" in refusal(other, path)
    head = other.head.weight.numpy()
    report = load_weights(other, path, partial=True)
    keys = "head.weight [64, 3], head.bias [3]"
    assert report.summary().endswith(f"; unexpected keys: {keys}; reinitialised keys: head.weight, head.bias")
    np.testing.assert_array_equal(other.head.weight.numpy(), head)
    assert report.num_loaded == len(other.state_dict()) - 2


def test_network_with_new_blocks_starts_as_the_one_without(tmp_path):
    plain = randomized(build("NONLOCAL.num_blocks=0"))
    path, other = save(tmp_path, plain), build()
    assert "missing" in refusal(other, path)
    assert "stage3.nl1" in load_weights(other, path, partial=True).summary()
    np.testing.assert_allclose(scores(other), scores(plain), atol=1e-6)


def test_files_of_other_networks_name_a_tensor_and_both_networks(tmp_path):
    path = save(tmp_path, build())
    text = refusal(build("MODEL.video_arc_choice=2"), path)
    assert "another network" in text and "a C2D" in text and "an I3D" in text and "stem.conv.weight" in text
    for overrides in (["RESNETS.blocks_per_stage=[1, 2, 3, 1]"], ["RESNETS.stem_channels=8"]):
        for partial in (False, True):
            assert "first: stage" in refusal(build(*overrides), path, partial=partial)
    arrays = networks.caffe2().tensors(False, 101)
    (tmp_path / "r101.pkl").write_bytes(python2_pickle(arrays))
    text = refusal(build(base=NARROW), tmp_path / "r101.pkl")
    assert "ResNet-101" in text and "ResNet-50" in text


def test_2d_kernels_are_no_trained_i3d(tmp_path):
    arrays = networks.mmaction2(is_image=True).tensors(False, 50, {})
    path = write_torch_zip(tmp_path / "w.pth", arrays, "state_dict")
    model = build("MODEL.video_arc_choice=2", "MODEL.num_classes=5", "NONLOCAL.num_blocks=0", base=NARROW)
    assert "of another shape" in refusal(model, path)
    assert load_weights(model, path, partial=True).num_inflated == 53


def test_swapped_statistics_and_broken_numbers(tmp_path):
    arrays = networks.caffe2().tensors(False)
    swapped = {name.replace("_riv", "_x").replace("_rm", "_riv").replace("_x", "_rm"): a for name, a in arrays.items()}
    (tmp_path / "w.pkl").write_bytes(python2_pickle(swapped))
    model = build("MODEL.num_classes=5", base=NARROW)
    assert "_riv" in refusal(model, tmp_path / "w.pkl") and "swapped" in refusal(model, tmp_path / "w.pkl")
    arrays["pred_b"][1] = np.nan
    (tmp_path / "w.pkl").write_bytes(python2_pickle(arrays))
    assert "pred_b" in refusal(model, tmp_path / "w.pkl")


def test_training_blobs_are_dropped_and_strangers_are_not(tmp_path):
    arrays = networks.caffe2().tensors(False)
    extra = {f"{name}_momentum": array for name, array in arrays.items() if not name.endswith(("_rm", "_riv"))}
    extra["lr"] = np.array(0.01, np.float32)
    model = build("MODEL.num_classes=5", base=NARROW)
    model_iter = b"U\x0amodel_iterJ\1\0\0\0"
    (tmp_path / "w.pkl").write_bytes(python2_pickle({**arrays, **extra}, model_iter))
    assert load_weights(model, tmp_path / "w.pkl").num_loaded == 327
    (tmp_path / "w.pkl").write_bytes(python2_pickle({**arrays, "conv9_w": np.zeros(2, np.float32)}))
    assert "conv9_w" in refusal(model, tmp_path / "w.pkl") and "1 unexpected" in refusal(model, tmp_path / "w.pkl")
    del arrays["res4_3_branch2b_w"]
    (tmp_path / "w.pkl").write_bytes(python2_pickle(arrays))
    assert "1 tensors missing" in refusal(model, tmp_path / "w.pkl", partial=True)


def test_frozen_norms_and_batch_norms_in_each_other(tmp_path):
    """The statistics fold into scale and shift; a frozen file's norms become batch norms that do the same."""
    trained = randomized(build())
    frozen_keys = ["MODEL.use_affine=True", "NONLOCAL.use_affine=True", "NONLOCAL.group_frames={}"]
    frozen, without = build(*frozen_keys), build("MODEL.use_affine=True", "NONLOCAL.use_bn=False", frozen_keys[2])
    for model in (frozen, without):
        load_weights(model, save(tmp_path, trained))
        np.testing.assert_allclose(scores(model), scores(trained), rtol=1e-4, atol=1e-6)
        back = build()
        load_weights(back, save(tmp_path, model, "frozen.pdparams"))
        np.testing.assert_allclose(scores(back), scores(trained), rtol=1e-4, atol=1e-6)


def test_bias_in_front_of_a_norm_moves_into_its_mean():
    rng = np.random.default_rng(0)
    names = ("weight", "bias", "_mean", "_variance")
    norm = {f"stage3.nl1.bn.{name}": np.abs(rng.standard_normal(4)).astype(np.float32) for name in names}
    arrays = {"stage3.nl1.out.weight": np.ones((4, 2, 1, 1, 1), np.float32), **norm}
    arrays["stage3.nl1.out.bias"] = rng.standard_normal(4).astype(np.float32)
    target = {name: array.shape for name, array in arrays.items() if name != "stage3.nl1.out.bias"}
    fitted = fit(Renamed("own", "", arrays, {name: name for name in arrays}, family=NAMES), target).arrays
    x = rng.standard_normal(4)

    def apply(tensors, x):
        scale = tensors["stage3.nl1.bn.weight"] / np.sqrt(tensors["stage3.nl1.bn._variance"] + 1e-5)
        return (x - tensors["stage3.nl1.bn._mean"]) * scale + tensors["stage3.nl1.bn.bias"]

    np.testing.assert_allclose(apply(fitted, x), apply(arrays, x + arrays["stage3.nl1.out.bias"]), rtol=1e-5)


def test_another_wiring_is_told(tmp_path):
    path = write_torch_zip(tmp_path / "w.pyth", networks.slowfast().tensors(False), "model_state")
    text = load_weights(build("MODEL.num_classes=5", base=NARROW), path).summary()
    assert "names of PySlowFast" in text and "WARNING" in text and "MODEL.stem_pool_padding: 1" in text
    right = build("MODEL.num_classes=5", "MODEL.stem_pool_padding=1", base=NARROW)
    assert "WARNING" not in load_weights(right, path).summary()


def test_names_of_a_parallel_torch_model(tmp_path):
    arrays = {f"module.{name}": array for name, array in networks.slowfast().tensors(False).items()}
    path = write_torch_zip(tmp_path / "w.pyth", arrays, "model_state")
    assert load_weights(build("MODEL.num_classes=5", base=NARROW), path).num_loaded == 327


def test_strangers_names(tmp_path):
    save_weights(tmp_path / "w", {"encoder.weight": np.ones(3, np.float32), "b": np.ones(3, np.float32)})
    assert "encoder.weight" in refusal(build(), tmp_path / "w")
    assert "--source nobody" in refusal(build(), tmp_path / "w", source="nobody")


@pytest.mark.parametrize("source", NAMINGS)
def test_every_name_leads_back(source):
    """No two of our tensors share a name anywhere."""
    known = NAMES.ours_by_name(source)
    for ours in all_our_names():
        name = NAMINGS[source].name(ours)
        assert not name or known[name] == ours
    assert recognise(known) == (NAMES, source)


@pytest.mark.parametrize(
    ("arch", "count", "values"),
    [
        ("c2d_r50", 327, 31_747_408),
        ("i3d_r50", 327, 35_463_248),
        ("c2d_r101", 582, 50_791_760),
        ("i3d_r101", 582, 59_226_192),
    ],
)
def test_shapes_of_the_published_networks(arch, count, values):
    """Counts as published for the four networks with five blocks, statistics included."""
    positions = {3: (1, 3), 4: (1, 3, 5) if arch.endswith("r50") else (6, 13, 20)}
    shapes = network_shapes(arch, positions, 400)
    assert len(shapes) == count and sum(int(np.prod(shape)) for shape in shapes.values()) == values
    kind = network_kind(shapes)
    assert kind.arch == arch and kind.positions == positions and kind.num_classes == 400


def test_shapes_are_those_of_the_network():
    model = build("MODEL.num_classes=4", base=[])
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert network_shapes("c2d_r50", {3: (1, 3), 4: (1, 3, 5)}, 4) == expected


def test_weight_table_is_complete():
    for name, entry in WEIGHTS.items():
        assert entry.url.startswith("https://") and entry.licence and entry.preprocessing and entry.protocol, name
        assert entry.is_start or (entry.frames and entry.stride and entry.top1 and entry.accuracy_source), name
        assert "video-nonlocal" not in entry.url or entry.licence == "CC BY-NC 4.0"
    for hub_entry, name in HUB_ENTRIES.items():
        entry, with_blocks = WEIGHTS[name], hub_entry.startswith("nonlocal_")
        assert (entry.arch, entry.with_blocks) == (hub_entry[9 if with_blocks else 0 :], with_blocks)
        assert entry.frames == 8 and callable(getattr(hubconf, hub_entry))


def test_fetching_from_a_mirror_and_offline(monkeypatch, tmp_path):
    monkeypatch.setenv("PADDLE_NONLOCAL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PADDLE_NONLOCAL_MIRROR", tmp_path.as_uri())
    (tmp_path / "NONLOCAL_final.pdparams").write_bytes(b"weights")
    assert published_weights("nonlocal_c2d_r50") == str(tmp_path / "home" / "NONLOCAL_final.pdparams")
    with pytest.raises(RunError, match="--pretrain=FILE"):
        fetch_weights("imagenet_r50")
    with pytest.raises(RunError, match="--weights=FILE"):
        fetch_weights("authors_i3d_r50")
    with pytest.raises(UserError, match="nobody published"):
        published_weights("nonlocal_c2d_r101")
    with pytest.raises(UserError, match="authors_i3d_r50"):
        fetch_weights("unknown")


@pytest.mark.parametrize(
    ("arch", "file"),
    [
        ("c2d_r50", "Nonlocal_ResNet50_pretrained.tar.gz"),
        ("i3d_r50", "Nonlocal_ResNet50_pretrained.tar.gz"),
        ("c2d_r101", "resnet101-63fe2227.pth"),
        ("i3d_r101", "resnet101-63fe2227.pth"),
    ],
)
def test_imagenet_weights_are_those_of_the_networks_depth(monkeypatch, arch, file):
    urls = []
    monkeypatch.setattr(module, "download", lambda url, **_: urls.append(url) or "file")
    shapes = network_shapes(arch, {}, 7)
    network = SimpleNamespace(state_dict=lambda: {name: np.broadcast_to(0, shape) for name, shape in shapes.items()})
    assert module.imagenet_weights(network) == "file"
    assert [url.rsplit("/", 1)[1] for url in urls] == [file]


@pytest.mark.parametrize(("overrides", "word"), [
    (["MODEL.video_arc_choice=4"], "ResNet-20"),  # 1 + 2 + 2 + 1 blocks
    (["RESNETS.blocks_per_stage=[3, 4, 6, 3]"], "widths"),
    (["RESNETS.blocks_per_stage=[3, 4, 6, 3]", "RESNETS.stem_channels=64", "RESNETS.res2_channels=256"], "widths"),
])  # fmt: skip
def test_without_published_imagenet_weights_nothing_is_downloaded(monkeypatch, overrides, word):
    monkeypatch.setattr(module, "download", lambda *_, **__: pytest.fail("a download"))
    with pytest.raises(UserError, match=f"no ImageNet weights are published.*{word}.*--pretrain=FILE") as caught:
        module.imagenet_weights(build(*overrides))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arc", [3, 4])
def test_images_start_a_network_of_depth_101(tmp_path, arc):
    arrays = networks.image_network().tensors(False, 101, {}, classes=1000)
    path = write_torch_zip(tmp_path / "resnet101.pth", arrays)
    model = build(f"MODEL.video_arc_choice={arc}", base=NARROW)
    assert load_weights(model, path, partial=True).num_inflated == 104


def test_the_hubs_entries_print_what_was_loaded_and_its_warning(tmp_path, capsys):
    path = write_torch_zip(tmp_path / "w.pyth", networks.slowfast().tensors(False, classes=400), "model_state")
    narrow = {"widths": {"stem_channels": 8, "res2_channels": 32, "inner_channels": 8}}
    hubconf.nonlocal_c2d_r50(pretrained=str(path), **narrow)
    (line,) = capsys.readouterr().out.splitlines()
    assert "loaded 327 tensors" in line and "WARNING: PySlowFast computes something else" in line
    hubconf.nonlocal_c2d_r50()
    assert capsys.readouterr().out == ""


def test_no_two_families_share_an_entry_of_published_weights():
    entries = [name for family in all_families() for name in family.published]
    assert len(entries) == len(set(entries)) and entries == [*WEIGHTS, *INCEPTION_WEIGHTS]


def test_the_table_in_the_documentation_has_every_entry():
    text = (Path(__file__).resolve().parents[1] / "docs" / "models.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    for name, entry in WEIGHTS.items():
        (row,) = [line for line in rows if f"`{name}`" in line]
        assert entry.top1 is None or str(entry.top1) in row, name


def test_norms_become_scales_by_the_formula_also_where_a_variance_is_tiny():
    """y = gamma (x - mean) / sqrt(variance + 1e-5) + beta, the batch norm of every source, at any x."""
    rng = np.random.default_rng(0)
    gamma, beta, mean = (rng.normal(size=6).astype(np.float32) for _ in range(3))
    variance = np.array([0.0, 1e-7, 1e-5, 1e-4, 1e-2, 1.0], np.float32)
    names = {"weight": gamma, "bias": beta, "_mean": mean, "_variance": variance}
    arrays = {f"stem.bn.{name}": array for name, array in names.items()}
    renamed = Renamed("own", "network", arrays, {name: name for name in arrays})
    fitted = fit(renamed, {"stem.bn.weight": (6,), "stem.bn.bias": (6,)}).arrays
    for x in (-2.0, 0.0, 3.0):
        expected = gamma.astype(np.float64) * (x - mean) / np.sqrt(variance.astype(np.float64) + 1e-5) + beta
        found = fitted["stem.bn.weight"].astype(np.float64) * x + fitted["stem.bn.bias"]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
