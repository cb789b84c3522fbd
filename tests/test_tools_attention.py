from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest

from models import NonLocalModel
from utils.errors import UserError

TOOLS = str(Path(__file__).resolve().parents[1] / "tools")


@pytest.fixture()
def tools(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    import attention_drawing
    import visualize_attention

    yield visualize_attention, attention_drawing
    for name in ("visualize_attention", "attention_drawing"):
        sys.modules.pop(name, None)


def network(instantiation: str = "embedded_gaussian") -> NonLocalModel:
    paddle.seed(0)
    model = NonLocalModel(
        1, 3, widths={"stem_channels": 4, "res2_channels": 8, "inner_channels": 4}, blocks_per_stage=(1, 1, 1, 1),
        nonlocal_positions={3: (0,), 4: (0,)}, head_pool_size=0,
        nonlocal_options={"instantiation": instantiation, "conv_init_std": 0.5},
    )  # fmt: skip
    model.eval()
    return model


def arguments(**changed) -> argparse.Namespace:
    return argparse.Namespace(**{"block": None, "frame": 5, "point": None, "num_points": 2, "num_arrows": 7, **changed})


CLIP = np.random.default_rng(0).standard_normal((1, 3, 8, 64, 64)).astype(np.float32)
FRAMES = np.random.default_rng(1).integers(0, 255, (8, 64, 64, 3)).astype(np.uint8)


def test_chosen_points_become_positions_and_heat_of_the_clip(tools):
    name, looks, scores = tools[0].find_looks(network(), CLIP, arguments(point=[(0.0, 0.5), (1.0, 1.0)]))
    assert name == "stage3.nl0" and scores.shape == (3,)
    # res3 of 64 px: 8 x 8 positions, centres at 2 + 8 h; frame 5 belongs to the third pair
    assert [look.position for look in looks] == [(2, 4, 0), (2, 7, 7)]
    assert looks[0].point_px == (2, 34) and looks[0].heat.shape == (4, 64, 64)
    for look in looks:
        assert look.weights.sum() == pytest.approx(1, abs=1e-5) and len(look.targets) == 7
        assert [abs(t[3]) for t in look.targets] == sorted((abs(t[3]) for t in look.targets), reverse=True)
        t, x, y, weight = look.targets[0]
        assert look.heat[t, int(y), int(x)] == pytest.approx(weight, rel=1e-5)  # heat and arrow meet


def test_the_strongest_points_lie_apart_in_the_chosen_frame(tools):
    _, looks, _ = tools[0].find_looks(network(), CLIP, arguments(block="stage4.nl0", num_points=3))
    places = np.array([look.position for look in looks])
    assert (places[:, 0] == 2).all() and len(np.unique(places, axis=0)) == len(looks) == 3
    assert looks[0].weights.max() >= looks[1].weights.max()


def test_a_block_that_is_not_there_is_named_with_those_that_are(tools):
    with pytest.raises(UserError, match="stage9.nl0.*stage3.nl0, stage4.nl0"):
        tools[0].find_looks(network(), CLIP, arguments(block="stage9.nl0"))


@pytest.mark.parametrize("instantiation", ["embedded_gaussian", "dot_product"])
def test_picture_and_film_are_written_whole(tools, instantiation, tmp_path):
    model = network(instantiation)
    block = model.stage3.nl0
    if instantiation == "dot_product":
        block.theta.weight.set_value(-block.phi.weight)  # like repels like: negative weights
    _, looks, _ = tools[0].find_looks(model, CLIP, arguments(num_points=1))
    assert (looks[0].weights.min() < 0) == looks[0].is_signed == (instantiation == "dot_product")
    tools[1].draw_look(FRAMES, looks[0], 5, str(tmp_path / "a.png"), "costs $5 and $6")
    picture = cv2.imread(str(tmp_path / "a.png"))
    assert picture.shape[0] > 300 and picture.shape[1] > 600 and picture.std() > 20
    tools[1].write_film(FRAMES, looks[0], 5, str(tmp_path / "a.mp4"))
    film = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 8 * tools[1].FRAMES_A_PICTURE
    ok, first = film.read()
    assert ok and first.shape == (384, 768, 3)
    shown = cv2.resize(first[:, :384, ::-1], (64, 64), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(shown[:50] - FRAMES[0][:50].astype(int)).mean() < 25
