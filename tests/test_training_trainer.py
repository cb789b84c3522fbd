"""The features of a training step, each on against off, through train.py."""

from __future__ import annotations

import json

import numpy as np
import paddle
import pytest

from tests.script_runs import make_videos, run_script, tiny_config, write_list
from weights.safe_pickle import load_pickle


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return make_videos(tmp_path_factory.mktemp("videos"), 8, 3)


@pytest.fixture
def config(tmp_path, videos):
    return tiny_config(tmp_path, write_list(tmp_path / "list.txt", videos), batch_size=4, epoch=2)


def train(monkeypatch, config, save_dir, *keys: str) -> dict[str, np.ndarray]:
    """Train with `-o` keys; returns the published weights."""
    flags = [flag for key in keys for flag in (["-o", key] if not key.startswith("-") else [key])]
    flags = [f"--config={config}", f"--save_dir={save_dir}", "--fix_random_seed=True", "--log_interval=1", *flags]
    assert run_script(monkeypatch, "train", *flags) == 0
    return load_pickle(save_dir / "NONLOCAL.pdparams")


def rows(save_dir, kind="train") -> list[dict]:
    lines = (save_dir / "log.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["kind"] == kind]


def column(save_dir, name, kind="train") -> list:
    return [row[name] for row in rows(save_dir, kind)]


STEADY_KEYS = ("TRAIN.dropout_rate=0.0", "MODEL.bn_init_gamma=0.5", "NONLOCAL.bn_init_gamma=0.5")


@pytest.mark.parametrize(
    ("key", "steady"),
    [("TRAIN.accumulation_steps=3", "TRAIN.freeze_norms=True"), ("TRAIN.recompute=True", "TRAIN.seed=0")],
)
def test_pieces_and_recomputed_activations_give_the_steps_of_the_whole(monkeypatch, tmp_path, config, key, steady):
    """Norms with statistics of their own would see the pieces; recomputation keeps them too."""
    train(monkeypatch, config, tmp_path / "one", *STEADY_KEYS, steady)
    train(monkeypatch, config, tmp_path / "two", *STEADY_KEYS, steady, key)
    for name in ("loss", "gradient_norm", "top1"):
        assert column(tmp_path / "two", name) == pytest.approx(column(tmp_path / "one", name), rel=1e-4), name
    assert column(tmp_path / "two", "loss", "valid") == pytest.approx(
        column(tmp_path / "one", "loss", "valid"), rel=1e-4
    )


def test_the_compiled_graph_gives_the_same_run(monkeypatch, tmp_path, config):
    one = train(monkeypatch, config, tmp_path / "one", *STEADY_KEYS, "TRAIN.dropout_rate=0.5", "TRAIN.max_iter=3")
    two = train(
        monkeypatch,
        config,
        tmp_path / "two",
        *STEADY_KEYS,
        "TRAIN.dropout_rate=0.5",
        "TRAIN.max_iter=3",
        "--graph=static",
    )
    assert column(tmp_path / "two", "loss") == pytest.approx(column(tmp_path / "one", "loss"), rel=1e-5)
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-3, atol=1e-5, err_msg=name)


def test_frozen_layers_end_as_they_began(monkeypatch, tmp_path, config):
    first = train(monkeypatch, config, tmp_path / "one", "TRAIN.max_iter=1", "TRAIN.learning_rate=0.0")
    frozen = train(monkeypatch, config, tmp_path / "two", "TRAIN.freeze=[stem, stage2]", "TRAIN.precise_bn_batches=2")
    for name, array in frozen.items():
        if name.startswith(("stem.", "stage2.")):
            if name.endswith(("_mean", "_variance")):  # as a new norm has them; the first run moved its own
                assert (array == name.endswith("_variance")).all(), name
            else:
                assert np.array_equal(array, first[name]), name
    assert not np.array_equal(frozen["head.weight"], first["head.weight"])
    assert frozen["stage4.block0.a.bn._mean"].any()


def test_the_average_is_published_and_the_weights_themselves_go_on(monkeypatch, tmp_path, config):
    plain = train(monkeypatch, config, tmp_path / "one")
    average = train(monkeypatch, config, tmp_path / "two", "TRAIN.ema_decay=0.9", "TRAIN.precise_bn_batches=1")
    assert column(tmp_path / "one", "loss") == column(tmp_path / "two", "loss")
    own = load_pickle(tmp_path / "two/NONLOCAL_epoch1.pdparams")
    assert all(np.array_equal(own[name], plain[name]) for name in plain)
    kept = load_pickle(tmp_path / "two/NONLOCAL_epoch1.pdopt")
    assert np.array_equal(kept["ema/head.weight"], average["head.weight"])
    assert not np.array_equal(average["head.weight"], plain["head.weight"])


def test_soft_targets_mixes_and_clipping_change_the_run_and_are_repeatable(monkeypatch, tmp_path, config):
    keys = ["TRAIN.label_smoothing=0.1", "TRAIN.mixup_alpha=0.2", "TRAIN.cutmix_alpha=1.0", "TRAIN.max_iter=2"]
    keys += ["TRAIN.clip_gradient_norm=0.001", "TRAIN.schedule=cosine", "TRAIN.warmup_iterations=1"]
    one = train(monkeypatch, config, tmp_path / "one", *keys)
    two = train(monkeypatch, config, tmp_path / "two", *keys)
    plain = train(monkeypatch, config, tmp_path / "plain", "TRAIN.max_iter=2")
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert column(tmp_path / "one", "loss") != column(tmp_path / "plain", "loss")
    first = np.abs(one["head.weight"] - plain["head.weight"]).max()
    assert first > 0 and column(tmp_path / "one", "learning_rate") == pytest.approx([0.01, 0.005])


def test_several_labels_train_and_are_evaluated_by_average_precision(monkeypatch, tmp_path, videos):
    labels = ["0,2", "1", "-", "2", "0,1,2", "1", "0", "2"]
    lists = tmp_path / "list.txt"
    lists.write_text("".join(f"{path} {label}\n" for (path, _), label in zip(videos, labels)))
    config = tiny_config(tmp_path, lists, batch_size=4, epoch=1)
    train(monkeypatch, config, tmp_path / "run", "MODEL.multi_label=True")
    assert "top1" not in rows(tmp_path / "run")[0] and 0 < column(tmp_path / "run", "mAP", "valid")[0] <= 100
    assert (tmp_path / "run/NONLOCAL_best.pdparams").exists()
    flags = [f"--config={tmp_path / 'run/config.yaml'}", f"--weights={tmp_path / 'run/NONLOCAL.pdparams'}"]
    assert run_script(monkeypatch, "eval", *flags, f"--save_dir={tmp_path / 'eval'}") == 0
    result = json.loads((tmp_path / "eval/results.json").read_text())
    assert result["videos_seen"] == 8 and "confusion_matrix.png" not in {p.name for p in (tmp_path / "eval").iterdir()}
    scores = np.load(tmp_path / "eval/scores.npz")["scores"]
    truth = np.array([[str(k) in label.split(",") for k in range(3)] for label in labels])
    sklearn = pytest.importorskip("sklearn.metrics")
    expected = np.mean([sklearn.average_precision_score(truth[:, k], scores[:, k]) for k in range(3)])
    assert result["mAP"] == pytest.approx(100 * expected, rel=1e-4)


def test_a_run_shows_its_clips_its_shares_of_time_and_its_gradients(monkeypatch, tmp_path, config):
    train(monkeypatch, config, tmp_path / "run")
    assert {"clips_first.png", "clips_last.png"} <= {path.name for path in (tmp_path / "run").iterdir()}
    for row in rows(tmp_path / "run"):
        assert 0 <= row["reading_share"] <= 1 and row["gradient_norm"] > 0 and row["clips_per_second"] > 0


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["TRAIN.amp=bfloat16"], ["GPU", "--amp"]),
        (["TRAIN.freeze=[stage7]"], ["stage7", "res2"]),
        (["TRAIN.graph=static", "TRAIN.recompute=True"], ["recompute"]),
        (["TRAIN.label_smoothing=0.1", "MODEL.multi_label=True"], ["label_smoothing"]),
    ],
)
def test_what_does_not_go_together_is_told_before_training(monkeypatch, tmp_path, config, capsys, keys, words):
    flags = [flag for key in keys for flag in ("-o", key)]
    assert run_script(monkeypatch, "train", f"--config={config}", f"--save_dir={tmp_path / 'run'}", *flags) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert all(word in error for word in words), error


def test_keys_that_changed_between_a_run_and_its_resumption_are_named(monkeypatch, tmp_path, config, capsys):
    train(monkeypatch, config, tmp_path / "run", "TRAIN.max_iter=1")
    capsys.readouterr()
    train(monkeypatch, config, tmp_path / "run", "TRAIN.max_iter=2", "--resume=auto")
    assert "TRAIN.max_iter was 1 in the run that is resumed and is 2 now" in capsys.readouterr().out


@pytest.mark.skipif(not paddle.device.is_compiled_with_cuda(), reason="mixed precision needs a GPU")
@pytest.mark.parametrize("amp", ["bfloat16", "float16"])
def test_mixed_precision_trains_like_float32_and_resumes_with_its_loss_scale(monkeypatch, tmp_path, config, amp):
    train(monkeypatch, config, tmp_path / "float32", *STEADY_KEYS)
    train(monkeypatch, config, tmp_path / amp, *STEADY_KEYS, f"--amp={amp}")
    assert column(tmp_path / amp, "loss") == pytest.approx(column(tmp_path / "float32", "loss"), rel=0.05)
    state = json.loads((tmp_path / amp / "NONLOCAL_epoch1.json").read_text())
    assert bool(state["loss_scale"]) == (amp == "float16")
    train(monkeypatch, config, tmp_path / amp, *STEADY_KEYS, f"--amp={amp}", "--resume=auto", "TRAIN.epoch=3")
    assert len(column(tmp_path / amp, "loss")) == 6
