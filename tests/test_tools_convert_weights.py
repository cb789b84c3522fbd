"""The command: its table and counts, there and back bit by bit, and what it refuses, leaving nothing behind."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from configs import load_config
from models import build_model
from tests import source_networks as networks
from tests.plain_network import randomized
from tests.weight_files import python2_pickle, write_torch_zip
from tools import convert_weights
from utils.cli import run
from weights import save_weights
from weights.safe_pickle import load_pickle

NARROW = ["RESNETS.stem_channels=8", "RESNETS.res2_channels=32", "RESNETS.width_per_group=8"]


def command(monkeypatch, *arguments) -> int:
    """Run the tool as a user does; returns its exit status."""
    monkeypatch.setattr(sys, "argv", ["convert_weights.py", *map(str, arguments)])
    try:
        run(convert_weights.main)
    except SystemExit as stop:
        return stop.code
    return 0


def narrow_flags() -> list[str]:
    return [f"-o={key}" for key in NARROW]


@pytest.fixture
def own(tmp_path):
    model = randomized(build_model(load_config("configs/nonlocal.yaml", [*NARROW, "MODEL.num_classes=5"])))
    save_weights(tmp_path / "own.pdparams", {name: tensor.numpy() for name, tensor in model.state_dict().items()})
    return tmp_path / "own.pdparams"


@pytest.mark.parametrize("program", ["caffe2", "slowfast", "torch"])
@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_there_and_back_bit_by_bit(monkeypatch, tmp_path, own, program, suffix):
    there, back = tmp_path / f"there.{suffix}", tmp_path / "back.pdparams"
    assert command(monkeypatch, own, there, "--to", program, "--quiet") == 0
    assert command(monkeypatch, there, back, "--quiet", "--variant=video_nonlocal_net", *narrow_flags()) == 0
    first, second = load_pickle(own), load_pickle(back)
    assert set(first) == set(second)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert load_config(tmp_path / "back.yaml").MODEL.num_classes == 5


@pytest.mark.parametrize("program", ["caffe2", "slowfast"])
def test_exported_names_and_shapes_are_that_programs(monkeypatch, tmp_path, own, program):
    there = tmp_path / "there.safetensors"
    command(monkeypatch, own, there, "--to", program)
    expected = getattr(networks, program)().tensors(False)
    assert {name: array.shape for name, array in load_file(there).items()} == {n: a.shape for n, a in expected.items()}


def test_table_and_counts(monkeypatch, tmp_path, capsys):
    arrays = networks.mmaction2().tensors(True)
    counters = {"backbone.conv1.bn.num_batches_tracked": np.array([7])}
    path = write_torch_zip(tmp_path / "w.pth", {**arrays, **counters}, "state_dict")
    assert command(monkeypatch, path, tmp_path / "w.pdparams", *narrow_flags()) == 0
    text = capsys.readouterr().out
    rows = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "stem.conv.weight" in rows["backbone.conv1.conv.weight"] and "[8, 3, 5, 7, 7]" in text
    assert "transposed" in rows["cls_head.fc_cls.weight"] and "head.weight" in rows["cls_head.fc_cls.weight"]
    assert "dropped" in rows["backbone.conv1.bn.num_batches_tracked"]
    assert "the source has no such bias" in rows["(none)"]
    assert "327 tensors written; 0 kernels inflated; 1 dropped; 0 unexpected; 0 missing" in text
    config = load_config(tmp_path / "w.yaml")
    assert (config.MODEL.video_arc_choice, config.NONLOCAL.use_scale, config.TEST.video_length) == (2, False, 32)
    assert (config.INPUT.mean, config.INPUT.std) == ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])


def test_start_from_images_inflated_and_named(monkeypatch, tmp_path, capsys):
    arrays = networks.image_network().tensors(False, 50, {}, classes=1000)
    path = write_torch_zip(tmp_path / "resnet50.pth", arrays)
    flags = ["--partial", "--video_arc_choice=2", "--num_classes=7", *narrow_flags()]
    assert command(monkeypatch, path, tmp_path / "w.pdparams", *flags) == 0
    text = capsys.readouterr().out
    assert "inflated: 5 times" in text and "53 kernels inflated" in text
    assert "unexpected keys: head.weight [256, 1000], head.bias [1000]" in text
    assert "head.weight" not in load_pickle(tmp_path / "w.pdparams")
    assert load_config(tmp_path / "w.yaml").MODEL.stem_pool_padding == 1


def test_places_of_blocks_are_written_where_they_are_not_the_usual_ones(monkeypatch, tmp_path):
    arrays = networks.slowfast().tensors(False, 50, {3: (0, 2), 5: (1,)})
    path = write_torch_zip(tmp_path / "w.pyth", arrays, "model_state")
    assert command(monkeypatch, path, tmp_path / "w.pdparams", "--quiet", *narrow_flags()) == 0
    assert load_config(tmp_path / "w.yaml").NONLOCAL.positions == {"res3": [0, 2], "res5": [1]}


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--variant=detectron"], ["cannot be carried over", "1x1"]),
        (["--variant=unknown"], ["--variant unknown", "slowfast"]),
        (["--video_arc_choice=2"], ["another network", "conv1_w"]),
        (["--video_arc_choice=3"], ["another network", "ResNet-101"]),
        (["--num_classes=9"], ["another network", "pred_"]),
        (["--source=slowfast"], ["a name of slowfast", "conv1_w"]),
        (["-o=MODEL.unknown=1"], ["unknown"]),
        (["-o=nonsense"], ["SECTION.key=value"]),
        (["--to=caffe2"], ["ends in .safetensors or .npz"]),
    ],
)
def test_refusals_are_one_line_and_leave_no_file(monkeypatch, tmp_path, capsys, flags, words):
    (tmp_path / "w.pkl").write_bytes(python2_pickle(networks.caffe2().tensors(False)))
    assert command(monkeypatch, tmp_path / "w.pkl", tmp_path / "w.pdparams", *narrow_flags(), *flags) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1 and all(word in error for word in words), error
    assert [path.name for path in tmp_path.iterdir()] == ["w.pkl"]


def test_only_own_weights_are_exported_and_targets_are_named_right(monkeypatch, tmp_path, capsys, own):
    (tmp_path / "w.pkl").write_bytes(python2_pickle(networks.caffe2().tensors(False)))
    assert command(monkeypatch, tmp_path / "w.pkl", tmp_path / "w.npz", "--to=torch") == 2
    assert "convert it to .pdparams first" in capsys.readouterr().err
    assert command(monkeypatch, own, tmp_path / "w.pkl2") == 2
    assert ".pdparams" in capsys.readouterr().err
    assert command(monkeypatch, tmp_path / "none.pkl", tmp_path / "w.pdparams") == 2
    assert "none.pkl" in capsys.readouterr().err
