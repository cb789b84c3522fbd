from __future__ import annotations

import json
import sys

import numpy as np
import paddle
import pytest

from configs import load_config
from data.dataset.demo.draw_motions import CLASS_NAMES, draw_frames
from metrics.intervals import wilson_interval
from models import build_model
from tests.script_runs import ROOT
from tools import study
from utils.errors import RunError, UserError

RESULT = {
    "network": "i2d", "seed": 0, "parameters": 1000, "multiply_adds": 10**6, "num_videos": 8, "num_direction_videos": 6,
    **dict.fromkeys((*study.COLUMNS, "turned", "largest_change"), 50.0),
}  # fmt: skip


def drawn_clip(num_frames: int) -> np.ndarray:
    """A clip of a drawn video, float32 [1, 3, T, 32, 32]."""
    frames = draw_frames("rise", np.random.default_rng(0))[: 2 * num_frames : 2, 30:62, 30:62]
    return np.ascontiguousarray((frames.transpose(3, 0, 1, 2)[None] / 127.5 - 1).astype(np.float32))


@pytest.fixture(scope="module")
def largest_change():
    """Function (network of the study, frames) -> the largest change of a log-probability when the clip is reversed."""

    def of(network: str, num_frames: int) -> float:
        clip = drawn_clip(num_frames)
        assert clip.shape[2] == num_frames
        overrides = [f"{key}={value}" for key, value in study.NETWORKS[network][1].items()]
        config = load_config(ROOT / study.CONFIG, [*overrides, "S3D.width=0.1", "INPUT.crop_size=32"])
        paddle.seed(1)
        model = build_model(config)
        rng = np.random.default_rng(2)
        for name, value in model.state_dict().items():  # the identities of fresh temporal kernels are blind to order
            if "temporal.weight" in name:
                value.set_value(value + rng.normal(0, 0.3, value.shape).astype(np.float32))
        model.train()  # norms of fresh weights need the batch's own statistics
        with paddle.no_grad():
            logits = model(paddle.to_tensor(np.concatenate([clip, clip[:, :, ::-1]])))
        one, two = paddle.nn.functional.log_softmax(30 * logits.mean(1)).numpy()
        return float(np.abs(one - two).max())

    return of


@pytest.mark.parametrize("num_frames", [13, 21, 29])
def test_i2d_is_exactly_blind_to_order_at_8j_plus_5_frames(largest_change, num_frames):
    assert largest_change("i2d", num_frames) < 1e-4


@pytest.mark.parametrize("num_frames", [12, 14, 16])
def test_i2d_is_not_blind_to_order_at_other_lengths(largest_change, num_frames):
    assert largest_change("i2d", num_frames) > 1e-2


@pytest.mark.parametrize("network", [name for name in study.NETWORKS if name != study.ORDER_BLIND])
def test_the_other_networks_see_order(largest_change, network):
    assert largest_change(network, 13) > 1e-2


def test_the_heavy_pair_costs_the_same_within_a_tenth():
    """By a count of its own: kernel values times output positions, of each convolution that is called."""
    costs = {}
    for network in ("top_heavy", "bottom_heavy"):
        overrides = [f"{key}={value}" for key, value in study.NETWORKS[network][1].items()]
        config = load_config(ROOT / study.CONFIG, overrides)
        model, side = build_model(config), config.INPUT.crop_size
        total = [0]

        def add(layer, inputs, output, total=total):
            total[0] += int(np.prod(layer.weight.shape[1:])) * output.size

        for layer in model.sublayers():
            if type(layer).__name__ == "FramesConv":
                layer.register_forward_post_hook(add)
        with paddle.no_grad():
            model(paddle.zeros([1, 3, config.INPUT.num_frames, side, side]))
        costs[network] = total[0]
    assert abs(costs["top_heavy"] / costs["bottom_heavy"] - 1) < 0.1


def save_scores(path, labels, scores):
    arrays = {"video_id": np.arange(len(labels)), "path": np.array([f"v{i}.mp4" for i in range(len(labels))])}
    names = {"class_names": np.array(CLASS_NAMES), "label": np.array(labels), "scores": np.float32(scores)}
    empty = np.array([], np.int64)
    broken = {"broken_video_id": empty, "broken_label": empty}
    broken |= {f"broken_{name}": np.array([], np.str_) for name in ("path", "reason")}
    np.savez(path, **arrays, **names, **broken, list_path=np.array("l.txt"), list_sha256=np.array(""))
    return path


def test_metrics_of_both_orders_are_those_of_a_plain_count(tmp_path):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 8, 50)
    one, two = rng.dirichlet(np.ones(8), 50), rng.dirichlet(np.ones(8), 50)
    forward, backward = (save_scores(tmp_path / f"{n}.npz", labels, x) for n, x in (("one", one), ("two", two)))
    found = study.compare(forward, backward)
    partner = {0: 1, 1: 0, 2: 3, 3: 2, 4: 5, 5: 4}  # rise, fall; scatter, gather; brighten, darken
    moving = [i for i in range(50) if labels[i] in partner]
    assert (found["num_videos"], found["num_direction_videos"]) == (50, len(moving))
    for prefix, scores in (("", one), ("reversed_", two)):
        best = [int(np.argmax(row)) for row in scores]
        right = [best[i] == labels[i] for i in range(50)]
        motion = [right[i] or best[i] == partner.get(labels[i]) for i in range(50)]
        chosen = [scores[i][labels[i]] > scores[i][partner[labels[i]]] for i in moving]
        assert found[f"{prefix}top1"] == pytest.approx(100 * sum(right) / 50)
        assert found[f"{prefix}motion_top1"] == pytest.approx(100 * sum(motion) / 50)
        assert found[f"{prefix}direction_top1"] == pytest.approx(100 * sum(right[i] for i in moving) / len(moving))
        assert found[f"{prefix}direction_choice"] == pytest.approx(100 * sum(chosen) / len(moving))
    turned = [int(np.argmax(two[i])) == partner[labels[i]] for i in moving]
    assert found["turned"] == pytest.approx(100 * sum(turned) / len(moving))
    assert found["largest_change"] == pytest.approx(np.abs(np.float32(one) - np.float32(two)).max())


def test_scores_of_other_videos_are_refused(tmp_path):
    one = save_scores(tmp_path / "one.npz", [0, 1], np.ones((2, 8)))
    two = save_scores(tmp_path / "two.npz", [0, 1, 2], np.ones((3, 8)))
    with pytest.raises(RunError, match="not of the same videos"):
        study.compare(one, two)


def test_a_finished_run_counts_and_one_of_other_settings_is_refused(tmp_path):
    (job,) = study.planned_jobs(tmp_path, ["s3d"], 1, ["TRAIN.max_iter=3"])
    assert not study.is_finished(job)
    job.folder.mkdir()
    (job.folder / "config.yaml").write_text("TRAIN: {max_iter: 3, seed: 0}\nMODEL: {arch: s3d}\n")
    assert not study.is_finished(job)  # begun
    (job.folder / "results.json").write_text("{}")
    assert study.is_finished(job)
    (job.folder / "config.yaml").write_text("TRAIN: {max_iter: 4}\n")
    with pytest.raises(UserError, match=r"begun with other settings \(TRAIN.max_iter: 4\)"):
        study.is_finished(job)


def test_a_report_without_a_finished_run_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["study.py", f"--output_dir={tmp_path}", "--report_only"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with pytest.raises(UserError, match="holds no finished run"):
        study.main()


def test_runs_go_seed_by_seed():
    jobs = study.planned_jobs(study.Path("x"), ["i2d", "s3d"], 2, [])
    assert [(job.network, job.seed) for job in jobs] == [("i2d", 0), ("s3d", 0), ("i2d", 1), ("s3d", 1)]
    assert len({job.folder for job in jobs}) == 4 and "TRAIN.seed=1" in jobs[2].overrides


def test_the_report_has_mean_and_range_of_each_network(tmp_path):
    rows = [{**RESULT, "top1": top1, "seed": seed} for seed, top1 in enumerate((40.0, 50.0, 63.0))]
    study.write_report(tmp_path, rows)
    assert "51.0 (40.0 - 63.0)" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "runs.csv").read_text().splitlines()[0].startswith("network,seed,")
    found = json.loads((tmp_path / "results.json").read_text())
    top1 = found["networks"]["i2d"]["top1"]
    low, high = wilson_interval(4.08, 8)
    assert top1 == {"mean": 51.0, "min": 40.0, "max": 63.0, "interval": pytest.approx([100 * low, 100 * high])}
    assert len(found["runs"]) == 3 and (tmp_path / "cost.png").read_bytes().startswith(b"\x89PNG")


def test_a_stopped_study_goes_on_to_its_table_and_is_not_run_again(monkeypatch, tmp_path, capsys):
    """Two steps, a video a class; what must hold exactly after training, too. One network was trained before."""
    keys = ["TRAIN.max_iter=2", "TRAIN.batch_size=4", "INPUT.crop_size=32", "TEST.crop_size=32", "S3D.width=0.1"]
    jobs = study.planned_jobs(tmp_path, ["i2d", "s3d"], 1, keys)
    study.draw_videos(tmp_path / "videos", 1, 1, 1)
    jobs[0].folder.mkdir()
    study.train_and_evaluate(jobs[0])
    command = ["study.py", f"--output_dir={tmp_path}", "--networks", "i2d", "s3d", "--seeds=1", "--num_train=1"]
    monkeypatch.setattr(sys, "argv", [*command, "--num_test=1", *(f"--override={key}" for key in keys)])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    study.main()
    said = capsys.readouterr().out
    assert "1 of 2 runs are finished" in said and "finished S3D, seed 0" in said
    blind, other = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert (blind["network"], blind["num_videos"], blind["iterations"]) == ("i2d", 8, 2)
    assert blind["largest_change"] < 1e-6 < 1e-5 < blind["other_largest_change"]
    assert other["largest_change"] > 1e-5
    assert blind["direction_top1"] == blind["reversed_direction_top1"]
    energies = json.loads((tmp_path / "results.json").read_text())["energy_by_offset"]
    assert list(energies) == ["s3d"] and sum(energies["s3d"]["conv_1a.temporal"]["W"].values()) == pytest.approx(1)
    assert (tmp_path / "offsets_s3d/offsets.png").read_bytes().startswith(b"\x89PNG")
    study.run_jobs(jobs, 1)
    assert capsys.readouterr().out == "2 of 2 runs are finished\n"
