from __future__ import annotations

from pathlib import Path

import numpy as np
import paddle
import pytest

from configs import load_config
from models import NonLocalModel
from models.nonlocal_model.nonlocal_block import NonLocalBlock
from models.nonlocal_model.placement import block_positions
from utils.errors import RunError

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "configs" / "ablations"


@pytest.fixture()
def tools():
    from tools import ablation, ablation_tables, long_range

    return {"ablation": ablation, "tables": ablation_tables.TABLES, "long_range": long_range}


def test_every_row_has_a_configuration_and_every_configuration_a_row(tools):
    named = {row.config for _, rows in tools["tables"].values() for row in rows if row.config}
    assert named == {path.stem for path in FOLDER.glob("*.yaml") if not path.stem.startswith("base_")}
    for name in named:
        config = load_config(FOLDER / f"{name}.yaml")
        nonlocal_ = config.NONLOCAL
        assert config.TRAIN.video_length * config.TRAIN.sample_rate in (64, 128)
        lengths = {(s.video_length, s.sample_rate) for s in (config.TRAIN, config.VALID, config.TEST, config.INFER)}
        assert len(lengths) == 1
        placed = block_positions(config.MODEL.depth, positions=nonlocal_.positions, preset=nonlocal_.num_blocks)
        wanted = next((int(n) for n in ("10", "5", "1") if f"_{n}_block" in name), None)
        if wanted:
            assert sum(map(len, placed.values())) == wanted
        assert ("r101" in name) == (config.MODEL.depth == 101)
        assert ("i3d" in name) == (config.MODEL.video_arc_choice in (2, 4))
        assert ("128_frames" in name) == config.MODEL.use_affine == (not nonlocal_.use_bn)


@pytest.mark.parametrize(("arc", "expected"), [(1, 27.4), (2, 36.2)])
def test_multiply_adds_of_the_published_networks(tools, arc, expected):
    model = NonLocalModel(arc)
    model.eval()
    with paddle.no_grad():
        assert round(tools["ablation"].multiply_adds(model, paddle.zeros([1, 3, 8, 224, 224])) / 1e9, 1) == expected


def test_multiply_adds_of_a_block_counted_by_hand(tools):
    count = tools["ablation"].block_multiply_adds
    # 4 frames of 6 x 6 positions, keys 3 x 3: N = 144, N' = 36; C = 8, d = 4
    convolutions = 144 * 8 * 4 * 2 + 36 * 8 * 4 * 2
    assert count(NonLocalBlock(8), 4, 6, 6) == convolutions + 2 * 144 * 36 * 4
    assert count(NonLocalBlock(8, extent="space"), 4, 6, 6) == convolutions + 2 * 144 * 9 * 4
    assert count(NonLocalBlock(8, group_frames=3), 4, 6, 6) == convolutions + 2 * (27 * 108 + 9 * 36) * 4
    assert count(NonLocalBlock(8, extent="time"), 4, 6, 6) == 144 * 8 * 4 * 4 + 2 * 144 * 4 * 4
    assert count(NonLocalBlock(8, instantiation="gaussian"), 4, 6, 6) == (144 + 36) * 8 * 4 + 144 * 36 * (8 + 4)
    pairs = convolutions + 144 * 36 * 4 + (144 + 36) * 4
    assert count(NonLocalBlock(8, instantiation="concatenation"), 4, 6, 6) == pairs


def test_measured_accuracy_is_read_where_a_run_exists(tools, tmp_path):
    read = tools["ablation"]._accuracy
    assert read(tmp_path / "none.json") == {}
    (tmp_path / "results.json").write_text('{"top1": 71.5, "top5": 90}')
    assert read(tmp_path / "results.json") == {"measured_top1": 71.5, "measured_top5": 90.0}
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(RunError, match="results.json"):
        read(tmp_path / "results.json")


def test_the_long_range_task_is_balanced_and_tells_nothing_in_one_flash(tools):
    make = tools["long_range"].make_clips
    clips, labels = make(np.random.default_rng(3), 400)
    again, _ = make(np.random.default_rng(3), 400)
    assert np.array_equal(clips, again) and clips.shape == (400, 3, 8, 32, 32)
    assert 0.4 < labels.mean() < 0.6
    early, late = clips[:, 0, :3], clips[:, 0, -3:]
    assert np.abs(clips[:, 0, 3:5]).max() < early.max() == pytest.approx(late.max(), abs=1)  # nothing in between
    # brightness along rows against columns tells the bar's direction; it agrees in both flashes where the label is 1
    direction = [np.sign((f.max(1).mean(1) ** 2).std(1) - (f.max(1).mean(2) ** 2).std(1)) for f in (early, late)]
    for one in direction:
        assert abs(np.corrcoef(one, labels)[0, 1]) < 0.15
    assert np.corrcoef(direction[0] * direction[1], labels)[0, 1] > 0.8


def test_trunks_of_the_long_range_task_differ_by_the_block_alone(tools):
    build = tools["long_range"].build
    without, with_block = build("none", 0), build("dot_product", 0)
    extra = set(with_block.state_dict()) - set(without.state_dict())
    assert extra and all(name.startswith("stage3.nl0.") for name in extra)
    assert set(without.state_dict()) <= set(with_block.state_dict())
