"""A second family of networks, and other inputs than RGB, without a change in any file but the table of families."""

from __future__ import annotations

import dataclasses

import numpy as np
import paddle
import pytest
import yaml

import models
from configs import load_config, save_config
from inference import build_backend
from models import Family, build_model, model_options, needs_fixed_sizes
from models.recognizer import Recognizer
from tests.plain_network import randomized
from tests.script_runs import make_videos, run_script, tiny_config, write_list
from training import norms
from training.norms import CpuSyncBatchNorm, freeze
from training.optimiser import build_optimizer
from utils.errors import UserError


@pytest.fixture
def toy(monkeypatch):
    family = Family(
        archs=("toy", "toy_deep"),
        options="tests.toy_network:options_from_config",
        builder="tests.toy_network:build",
        sections={"TOY": "tests.toy_network:Toy"},
    )
    monkeypatch.setitem(models.FAMILIES, "TOY", family)


def toy_config(folder, **sections):
    """tiny.yaml's clips and recipe with the toy network."""
    videos = make_videos(folder / "videos", 3, 3)
    path = tiny_config(folder, write_list(folder / "list.txt", videos))
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    del content["MODEL"]["video_arc_choice"], content["RESNETS"]
    content["MODEL"]["name"] = "TOY"
    path.write_text(yaml.safe_dump({**content, **sections}, allow_unicode=True), encoding="utf-8")
    return path


def random_clips(*shape: int) -> paddle.Tensor:
    return paddle.to_tensor(np.random.default_rng(0).standard_normal(shape, np.float32))


def test_a_family_brings_its_own_section_and_architectures(toy, tmp_path):
    path = toy_config(tmp_path, TOY={"width": 6})
    config = load_config(path)
    assert (config.MODEL.name, config.MODEL.arch, config.TOY.width) == ("TOY", "toy", 6)
    saved = save_config(config)
    assert "TOY:" in saved and "NONLOCAL" not in saved and "RESNETS" not in saved
    (tmp_path / "saved.yaml").write_text(saved)
    assert load_config(tmp_path / "saved.yaml") == config
    assert load_config(path, ["MODEL.arch=toy_deep", "RESNETS.num_groups=2"]).RESNETS.num_groups == 1
    for override, words in (
        ("TOY.width=0", "TOY.width.*at least 1"),
        ("TOY.depth=2", "unknown key TOY.depth.*"),
        ("MODEL.arch=i3d_r50", "MODEL.arch.*toy, toy_deep"),
    ):
        with pytest.raises(UserError, match=words):
            load_config(path, [override])
    with pytest.raises(UserError, match="TOY"):
        load_config("configs/nonlocal.yaml", ["TOY.width=3"])


def test_a_backbone_of_forty_lines_is_trained_a_step(toy, tmp_path):
    config = load_config(toy_config(tmp_path), ["MODEL.dropout_rate=0.0"])
    model = build_model(config)
    assert isinstance(model, Recognizer) and list(model.state_dict())[0] == "first.0.weight"
    assert model.stage_names == ("early", "late") and model.in_channels == 3
    clips, labels = random_clips(6, 3, 4, 32, 32), paddle.to_tensor([0, 1, 2] * 2)
    optimizer, losses = build_optimizer(model, config.TRAIN), []
    for _ in range(20):
        logits = model(clips)
        assert logits.shape == [6, 1, 3]
        loss = paddle.nn.functional.cross_entropy(logits.mean(1), labels)
        loss.backward()
        assert all(p.grad is not None for p in model.parameters() if not p.stop_gradient)
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    assert losses[-1] < losses[0]


def test_modes_and_replaced_layers_reach_the_backbone(toy, tmp_path):
    model = build_model(load_config(toy_config(tmp_path)))
    model.eval()
    assert not model.backbone.training
    model.train()
    assert model.backbone.training
    model = paddle.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert isinstance(model.backbone.second[1], paddle.nn.SyncBatchNorm)
    model.add_sublayer("second", paddle.nn.Identity())
    assert isinstance(model.backbone.second, paddle.nn.Identity)


def test_its_norms_are_found_frozen_and_synchronised(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(norms._SumOverRanks, "apply", lambda total: total)  # of one rank
    model, clips = build_model(load_config(toy_config(tmp_path))), random_clips(6, 3, 4, 32, 32)
    norm = model.second[1]
    assert freeze(model, ["late"], False) == [norm] and model.second[0].weight.stop_gradient
    x = model.second[0](model.first(clips))
    norm.train()
    expected, statistics = norm(x).numpy(), (norm._mean.numpy(), norm._variance.numpy())
    norm._mean.set_value(paddle.zeros([8]))
    norm._variance.set_value(paddle.ones([8]))
    CpuSyncBatchNorm.convert(norm)
    np.testing.assert_allclose(norm(x).numpy(), expected, atol=1e-5)
    for found, wanted in zip((norm._mean.numpy(), norm._variance.numpy()), statistics):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    norm.eval()
    evaluated = norm(x).numpy()
    norm.__class__ = paddle.nn.BatchNorm3D
    np.testing.assert_array_equal(evaluated, norm(x).numpy())


@pytest.mark.parametrize("backend", ["paddle", "paddle_inference"])
def test_its_weights_are_loaded_and_its_export_agrees(toy, tmp_path, backend):
    config = load_config(toy_config(tmp_path))
    model = randomized(build_model(config))
    model.eval()
    paddle.save(model.state_dict(), str(tmp_path / "w.pdparams"))
    assert needs_fixed_sizes(config, 4, 32, 32)  # it does not say otherwise
    assert dataclasses.asdict(model_options(config))["head"]["num_classes"] == 3
    clips = random_clips(2, 3, 4, 32, 32)
    with paddle.no_grad():
        expected = model.class_scores(model(clips)).numpy()
    built = build_backend(config, str(tmp_path / "w.pdparams"), "", backend=backend)
    np.testing.assert_allclose(built.scores(clips.numpy()), expected, atol=1e-5)


def test_the_scripts_take_it(toy, tmp_path, monkeypatch):
    config = toy_config(tmp_path)
    run = tmp_path / "run"
    flags = [f"--config={config}", "--model_name=TOY", "--use_gpu=False"]
    assert run_script(monkeypatch, "train", *flags, f"--save_dir={run}", "--epoch=1") == 0
    (weights,) = [path for path in run.glob("*.pdparams") if "_" not in path.stem]
    assert weights.stem == "TOY"
    saved = [f"--config={run / 'config.yaml'}", "--model_name=TOY", f"--weights={weights}"]
    assert run_script(monkeypatch, "eval", *saved, f"--save_dir={tmp_path / 'eval'}") == 0
    assert run_script(monkeypatch, "predict", *saved, f"--save_dir={tmp_path / 'predict'}") == 0
    assert run_script(monkeypatch, "export", *saved, f"--save_dir={tmp_path / 'export'}", "--crop_size=32") == 0


def test_a_network_takes_any_number_of_channels(tmp_path):
    overrides = ["INPUT.channels=2", "INPUT.mean=[128, 128]", "MODEL.arch=i3d_r50", "MODEL.num_classes=3"]
    narrow = ["stem_channels=4", "res2_channels=8", "width_per_group=4", "blocks_per_stage=[1, 2, 2, 1]"]
    config = load_config("configs/nonlocal.yaml", [*overrides, *(f"RESNETS.{key}" for key in narrow)])
    model = randomized(build_model(config))
    assert model.in_channels == 2 and model.state_dict()["stem.conv.weight"].shape == [4, 2, 5, 7, 7]
    clips = random_clips(2, 2, 4, 48, 48)
    model(clips).sum().backward()
    assert float(model.stem.conv.weight.grad.abs().sum()) > 0
    model.eval()
    frames = clips.transpose([0, 2, 1, 3, 4]).flatten(0, 1)
    for volumes in (False, True):
        with paddle.no_grad():
            scores, logits = model.prepare_for_export(4, volumes)(frames)
            np.testing.assert_allclose(logits.numpy(), model(clips).numpy(), rtol=1e-3, atol=1e-3)
            np.testing.assert_allclose(scores.numpy(), model.class_scores(logits).numpy(), atol=1e-6)
    paddle.save(model.state_dict(), str(tmp_path / "w.pdparams"))
    built = build_backend(config, str(tmp_path / "w.pdparams"), "", backend="paddle_inference")
    with paddle.no_grad():
        expected = model.class_scores(model(random_clips(1, 2, 8, 64, 64))).numpy()
    np.testing.assert_allclose(built.scores(random_clips(1, 2, 8, 64, 64).numpy()), expected, atol=1e-5)
