from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from configs import load_config
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
