"""tools/analyse.py: what its numbers are, what its pictures hold, what bad input gets."""

from __future__ import annotations

import csv
import json
import sys

import cv2
import numpy as np
import paddle
import pytest
from matplotlib.cbook import boxplot_stats

from configs import load_config
from metrics.intervals import wilson_interval
from metrics.results import VideoScores
from models import build_model
from tests.plain_network import randomized
from tests.script_runs import ROOT, make_videos, tiny_config, write_list
from tools.analyses import cost, offsets, reversal, tables, tsne
from tools.s3d_tables import COSTS, MEMORY, READ, REVIEW, TABLES
from utils.errors import UserError
from weights import save_weights


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Flags of a tiny ResNet with its weights, and its list of 7 videos of 3 classes."""
    folder = tmp_path_factory.mktemp("analyse")
    filelist = write_list(folder / "list.txt", make_videos(folder / "videos", 7, 3))
    config = tiny_config(folder, filelist)
    paddle.seed(0)
    model = randomized(build_model(load_config(config)))
    save_weights(folder / "w.pdparams", {name: value.numpy() for name, value in model.state_dict().items()})
    return [f"--config={config}", f"--weights={folder / 'w.pdparams'}"], filelist


def rows_of(path) -> list[dict]:
    return list(csv.DictReader(path.open(encoding="utf-8")))


def is_picture(path) -> bool:
    picture = cv2.imread(str(path))
    return picture is not None and picture.std() > 5


# Kernels by offset


def test_boxes_are_those_of_matplotlib_and_energies_add_up():
    kernel = np.random.default_rng(0).standard_t(3, (6, 5, 3, 2, 2)).astype(np.float32)
    rows = offsets.rows_of("conv_2c.conv", kernel)
    assert [row["offset"] for row in rows] == [-1, 0, 1] and {row["form"] for row in rows} == {"W"}
    for t, row in enumerate(rows):
        (expected,) = boxplot_stats(kernel[:, :, t].astype(np.float64).ravel())
        found = [row[name] for name in ("whisker_low", "quartile_1", "median", "quartile_3", "whisker_high")]
        assert found == pytest.approx([expected[name] for name in ("whislo", "q1", "med", "q3", "whishi")], abs=1e-12)
        energy = sum(float(v) ** 2 for v in kernel[:, :, t].ravel()) / sum(float(v) ** 2 for v in kernel.ravel())
        assert row["energy_fraction"] == pytest.approx(energy)


def test_a_separated_kernel_is_shown_with_and_without_its_identity():
    kernel = np.zeros((4, 4, 7, 1, 1), np.float32)
    kernel[range(4), range(4), 3] = 1
    kernel[0, 1, 0] = 0.5
    rows = offsets.rows_of("conv_1a.temporal", kernel)
    energies = {form: [r["energy_fraction"] for r in rows if r["form"] == form] for form in ("W", "W - identity")}
    assert energies["W"] == pytest.approx([0.25 / 4.25, 0, 0, 4 / 4.25, 0, 0, 0])
    assert energies["W - identity"] == pytest.approx([1, 0, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("arch", "expected"),
    [("s3d", "conv_1a.temporal conv_2c.temporal mixed_3b.b1b.temporal"), ("fast_s3d", "mixed_5b.b1b.temporal")],
)
def test_layers_of_inception_trunks_are_the_stem_and_b1b(arch, expected):
    with paddle.LazyGuard():
        state = build_model(load_config(ROOT / "configs/s3d.yaml", [f"MODEL.arch={arch}"])).state_dict()
    shapes = {name: np.broadcast_to(np.float32(0), value.shape) for name, value in state.items()}
    found = list(offsets.temporal_kernels(shapes))
    assert found[: len(expected.split())] == expected.split() and found[-1] == "mixed_5c.b1b.temporal"
    assert len(found) == (11 if arch == "s3d" else 2)
    assert len(offsets.temporal_kernels(shapes, all_layers=True)) == (20 if arch == "s3d" else 4)


def test_kernels_of_a_resnet_are_drawn_under_the_names_of_stages(network, tmp_path):
    offsets.main([*network[0], f"--save_dir={tmp_path}"])
    rows = rows_of(tmp_path / "offsets.csv")
    assert {"stem.conv", "res2.block0.a.conv"} <= {row["layer"] for row in rows}
    assert json.loads((tmp_path / "offsets.json").read_text())["arch"] == "i3d_r50" and is_picture(
        tmp_path / "offsets.png"
    )


def test_a_network_that_never_convolves_time_is_named_before_weights_are_read(tmp_path):
    flags = [f"--config={ROOT / 'configs/s3d.yaml'}", "-o", "MODEL.arch=i2d", "--weights=none.pdparams"]
    with pytest.raises(UserError, match="no kernel of i2d spans several frames"):
        offsets.main(flags)


# t-SNE


def test_neighbours_and_silhouettes_are_those_of_a_plain_loop():
    rng = np.random.default_rng(0)
    groups = ["a", "b", "a", "b", "c", "c", "a", "b", "b"]
    features = rng.standard_normal((9, 4)).astype(np.float32) + 2 * np.eye(4)[[ord(g) - 97 for g in groups]]
    distance = np.array([[np.sqrt(((x - y) ** 2).sum()) for y in features] for x in features])
    right, silhouettes, random = [], [], []
    for i, group in enumerate(groups):
        others = [j for j in range(9) if j != i]
        right.append(groups[min(others, key=lambda j: distance[i, j])] == group)
        random += [groups[j] == group for j in others]
        means = {g: np.mean([distance[i, j] for j in others if groups[j] == g]) for g in "abc"}
        own, other = means.pop(group), min(means.values() if group not in means else [])
        silhouettes.append((other - own) / max(own, other))
    found = tsne.separation(features, groups)
    assert found["nearest_neighbour"] == pytest.approx(100 * np.mean(right))
    assert found["random_neighbour"] == pytest.approx(100 * np.mean(random))
    assert found["silhouette"] == pytest.approx(np.mean(silhouettes))


def test_the_ten_groups_follow_the_texts_of_labels():
    expected = {
        "Dropping something onto something": "Dropping",
        "Pushing something from right to left": "moving right to left",
        "Pulling something from left to right": "moving left to right",
        "Putting something upright on the table": "Putting",
        "Plugging something into something but pulling it right out as you remove your hand": None,
        "Pretending to put something on a surface": None,
        "Pretending to be tearing something that is not tearable": None,
        "Showing that something is empty": "Showing",
        "Turning the camera left while filming something": None,
    }
    assert {label: tsne.something_group(label) for label in expected} == expected
    with pytest.raises(UserError, match="no class name belongs to a group"):
        tsne.groups_of_classes(["rise", "fall"], "something")


def test_videos_are_drawn_by_stage_and_the_same_seed_draws_the_same(network, tmp_path):
    (tmp_path / "groups.json").write_text(json.dumps({"one": ["class 0 类"], "rest": ["class 1 类", "class 2 类"]}))
    flags = [*network[0], "--use_gpu=False", f"--groups={tmp_path / 'groups.json'}", "--stages", "res2", "res5"]
    for name in "ab":
        tsne.main([*flags, f"--save_dir={tmp_path / name}"])
    assert (tmp_path / "a/tsne.csv").read_bytes() == (tmp_path / "b/tsne.csv").read_bytes()
    rows = rows_of(tmp_path / "a/tsne.csv")
    assert len(rows) == 2 * 7 and [row["stage"] for row in rows[6:8]] == ["res2", "res5"]
    assert [row["group"] for row in rows[:4]] == ["one", "rest", "rest", "one"]
    numbers = json.loads((tmp_path / "a/tsne.json").read_text())
    assert [stage["channels"] for stage in numbers["stages"]] == [8, 64] and numbers["groups"] == ["one", "rest"]
    assert is_picture(tmp_path / "a/tsne.png")


@pytest.mark.parametrize(
    ("groups", "words"),
    [(["a"] * 5, "needs 6 or more"), (["a"] * 6, "one class or group, 'a'"), (list("abcdef"), "no two videos")],
)
def test_too_few_videos_or_one_class_are_told_in_a_line(groups, words):
    with pytest.raises(UserError, match=words):
        tsne.check_videos(groups, "list.txt")


def test_a_missing_scikit_learn_is_told_with_its_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UserError, match=r'pip install "\.\[analysis\]"'):
        tsne.main(["--config=none.yaml"])


# Frames reversed


def scores(right: list[bool], broken: int = 0) -> VideoScores:
    """Evaluated videos of class 0 and 1 in turn, `broken` more of class 1."""
    labels = np.arange(len(right)) % 2
    guesses = np.where(right, labels, 1 - labels)
    ids = np.arange(len(right), len(right) + broken)
    return VideoScores(
        np.arange(len(right)), [""] * len(right), np.eye(2, dtype=np.float32)[guesses], labels, ["even", "odd"],
        ids, [""] * broken, [""] * broken, np.ones(broken, np.int64), "list.txt", "sum",
    )  # fmt: skip


def test_both_orders_are_counted_by_class_with_broken_videos_in_the_denominator():
    rows, whole = reversal.compare(scores([True] * 7, broken=1), scores([True, False] * 3 + [True], broken=1))
    assert [row["class"] for row in rows] == ["all videos", "even", "odd"]
    assert [(row["forwards_right"], row["reversed_right"], row["videos"]) for row in rows] == [
        (7, 4, 8), (4, 4, 4), (3, 0, 4),
    ]  # fmt: skip
    low, high = wilson_interval(3, 4)
    assert (rows[2]["forwards_low"], rows[2]["forwards_high"]) == pytest.approx((100 * low, 100 * high))
    assert (whole["same_answer"], whole["videos_scored"], whole["largest_change"]) == (4, 7, 1.0)
    with pytest.raises(UserError, match="not of the same videos"):
        reversal.compare(scores([True] * 6), scores([True] * 7))


def test_a_network_is_tested_in_both_orders_in_one_command(network, tmp_path, capsys):
    flags = [*network[0], "--views=1x1", "--backend=paddle", "--use_gpu=False", f"--save_dir={tmp_path}"]
    reversal.main(flags)
    found = json.loads((tmp_path / "reversed.json").read_text())
    assert found["videos"] == 7 and len(found["classes"]) == 4 and found["largest_change"] > 0
    results = [json.loads((tmp_path / order / "results.json").read_text()) for order in reversal.ORDERS]
    assert [result["reverse_frames"] for result in results] == [False, True]
    assert [found[f"{order}_top1"] for order in reversal.ORDERS] == pytest.approx([r["top1"] for r in results])
    assert is_picture(tmp_path / "reversed.png") and len(rows_of(tmp_path / "reversed.csv")) == 4
    assert capsys.readouterr().out.count("backend: paddle") == 1  # built once
    # the finished evaluations again, without a network; and as a run of the cost plot
    finished = [f"--{order}={tmp_path / order}" for order in reversal.ORDERS]
    reversal.main([*finished, f"--save_dir={tmp_path / 'again'}"])
    again = json.loads((tmp_path / "again/reversed.json").read_text())
    assert again == found
    runs = [str(tmp_path / order) for order in ("forwards", "reversed", "forwards")]
    cost.main(["--runs", *runs, "--configs", flags[0].split("=")[1], f"--save_dir={tmp_path / 'cost'}"])
    rows = rows_of(tmp_path / "cost/cost.csv")
    assert [(row["network"], row["runs"], row["views"], row["videos"]) for row in rows] == [
        ("i3d_r50 2 blocks", "2", "1", "7"), ("i3d_r50 2 blocks, frames reversed", "1", "1", "7"),
    ]  # fmt: skip
    assert [float(row["top1"]) for row in rows] == pytest.approx([r["top1"] for r in results])
    assert is_picture(tmp_path / "cost/cost.png")


def test_one_finished_evaluation_is_not_enough():
    with pytest.raises(UserError, match="go together"):
        reversal.main(["--forwards=x"])


# Cost


def test_heavy_forms_have_every_border_and_counts_alone_are_drawn_too(tmp_path):
    flags = cost._parse(["--archs", "top_heavy_i3d", "bottom_heavy_s3d", "c2d_r50", "--num_frames=16"])
    names = [config.MODEL.arch + cost.border_of(config) for config in cost.all_forms(flags)]
    assert len(names) == len(set(names)) == 12 + 12 + 1 and names[-1] == "c2d_r50"
    assert {"top_heavy_i3d from mixed_5c", "top_heavy_i3d, no layer", "bottom_heavy_s3d to conv_1a"} <= set(names)
    cost.main(["--archs", "fast_s3d", "c2d_r50", "--num_frames=16", "--crop_px=64", f"--save_dir={tmp_path}"])
    rows = rows_of(tmp_path / "cost.csv")
    assert [(row["network"], row["top1"]) for row in rows] == [("fast_s3d", ""), ("c2d_r50", "")]
    assert rows[0]["parameters"] == "6859696" and is_picture(tmp_path / "cost.png")
    with pytest.raises(UserError, match="--archs=s4d: there are .*fast_s3d"):
        cost.main(["--archs", "s4d"])


def test_networks_without_accuracy_stand_beside_those_with_one(tmp_path):
    known = {
        "series": "s3d",
        "network": "s3d",
        "multiply_adds": 7e10,
        "top1": 70.0,
        "low": 60.0,
        "high": 80.0,
        "runs": 1,
    }
    other = {"series": "i2d", "network": "i2d", "multiply_adds": 4e10, "top1": None}
    rows = cost.joined([known, {**known, "top1": 74.0}, other])
    assert [(row["network"], row["top1"]) for row in rows] == [("s3d", 72.0), ("i2d", None)]
    assert (rows[0]["low"], rows[0]["high"]) == (70.0, 74.0)
    cost.draw(rows, tmp_path / "cost.png")
    assert is_picture(tmp_path / "cost.png")


def test_a_folder_that_was_not_evaluated_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no results\.json"):
        cost.main(["--runs", str(tmp_path)])


# Published tables


def test_every_published_value_says_how_it_is_known():
    for _, rows in TABLES.values():
        for row in rows:
            assert row.known in (READ, MEMORY, REVIEW) and row.source, row
    assert not any("[" in cost.known for cost in COSTS) and {row.known for row in TABLES["something"][1]} == {MEMORY}


def test_measured_values_stand_beside_published_ones_and_nothing_else_does(tmp_path, capsys):
    run = tmp_path / "something_v1/s3d"
    run.mkdir(parents=True)
    (run / "results.json").write_text('{"top1": 12.5, "top5": 50}')
    pair = tmp_path / "something_v1/i2d"
    pair.mkdir()
    (pair / "reversed.json").write_text('{"forwards_top1": 3.5, "reversed_top1": 4.5}')
    tables.main(["something", "reversed", f"--runs={tmp_path}", f"--save_dir={tmp_path / 'out'}"])
    rows = {(row["table"], row["name"]): row for row in rows_of(tmp_path / "out/tables.csv")}
    assert rows["something", "S3D"]["measured_top1"] == "12.5" and rows["something", "I3D"]["measured_top1"] == ""
    both = [rows["reversed", f"Something-Something v1, I2D, {order}"] for order in ("normal", "reversed")]
    assert [row["measured_top1"] for row in both] == ["3.5", "4.5"]
    text = capsys.readouterr().out
    assert "from memory, not checked" in text and "12.5 / 50.0" in text and is_picture(tmp_path / "out/tables.png")
    with pytest.raises(UserError, match="no table 'nine'"):
        tables.main(["nine"])


def test_published_costs_are_never_the_counted_ones():
    rows = {cost.name: tables.cost_row(cost) for cost in COSTS if cost.name in ("Fast-S3D", "S3D-G, two streams")}
    fast = rows["Fast-S3D"]
    assert (fast["published_parameters"], fast["counted_parameters"]) == (None, 6_859_696)
    assert (fast["published_flops"], fast["counted_multiply_adds"]) == (43_470_000_000, 37_223_424_000)
    assert "counted_parameters" not in rows["S3D-G, two streams"]
