from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import paddle
import pytest

from configs import load_config
from datareader import probe
from inference.attention import find_looks
from models import NonLocalModel, build_model
from models.recognizer import Recognizer
from tests.plain_network import randomized
from tests.script_runs import tiny_config
from tests.video_factory import draw_video, ffmpeg_frames
from utils.errors import UserError
from weights import save_weights


@pytest.fixture()
def tools():
    from tools import attention_drawing, visualize_attention

    return visualize_attention, attention_drawing


def network(instantiation: str = "embedded_gaussian") -> Recognizer:
    paddle.seed(0)
    model = NonLocalModel(
        1, 3, widths={"stem_channels": 4, "res2_channels": 8, "inner_channels": 4}, blocks_per_stage=(1, 1, 1, 1),
        nonlocal_positions={3: (0,), 4: (0,)}, head_pool_size=0,
        nonlocal_options={"instantiation": instantiation, "conv_init_std": 0.5},
    )  # fmt: skip
    model.eval()
    return model


CLIP = np.random.default_rng(0).standard_normal((1, 3, 8, 64, 64)).astype(np.float32)
FRAMES = np.random.default_rng(1).integers(0, 255, (8, 64, 64, 3)).astype(np.uint8)


def test_chosen_points_become_positions_and_heat_of_the_clip():
    name, looks, scores = find_looks(network(), CLIP, 5, [(0.0, 0.5), (1.0, 1.0)], num_arrows=7)
    assert name == "res3.nl0" and scores.shape == (3,)
    # res3 of 64 px: 8 x 8 positions, centres at 2 + 8 h; frame 5 belongs to the third pair
    assert [look.position for look in looks] == [(2, 4, 0), (2, 7, 7)]
    assert looks[0].point_px == (2, 34) and looks[0].heat.shape == (4, 64, 64)
    for look in looks:
        assert look.weights.sum() == pytest.approx(1, abs=1e-5) and len(look.targets) == 7
        assert [abs(t[3]) for t in look.targets] == sorted((abs(t[3]) for t in look.targets), reverse=True)
        t, x, y, weight = look.targets[0]
        assert look.heat[t, int(y), int(x)] == pytest.approx(weight, rel=1e-5)  # heat and arrow meet
        columns, rows = look.centres_px
        t, h, w = np.unravel_index(look.weights.argmax(), look.weights.shape)
        assert look.targets[0] == (t, columns[w], rows[h], pytest.approx(look.weights.max()))


def test_the_strongest_points_lie_apart_in_the_chosen_frame():
    _, looks, _ = find_looks(network(), CLIP, 5, block="stage4.nl0")
    places = np.array([look.position for look in looks])
    assert (places[:, 0] == 2).all() and len(np.unique(places, axis=0)) == len(looks) == 3
    assert looks[0].weights.max() >= looks[1].weights.max()


def test_a_block_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(UserError, match="res9.nl0.*res3.nl0, res4.nl0"):
        find_looks(network(), CLIP, 5, block="res9.nl0")


@pytest.mark.parametrize("instantiation", ["embedded_gaussian", "dot_product"])
def test_picture_and_video_are_written_whole(tools, instantiation, tmp_path):
    model = network(instantiation)
    block = model.stage3.nl0
    if instantiation == "dot_product":
        block.theta.weight.set_value(-block.phi.weight)  # like repels like: negative weights
    _, looks, _ = find_looks(model, CLIP, 5, num_points=1)
    assert (looks[0].weights.min() < 0) == looks[0].is_signed == (instantiation == "dot_product")
    tools[1].draw_look(FRAMES, looks[0], 5, str(tmp_path / "a.png"), "costs $5 and $6")
    picture = cv2.imread(str(tmp_path / "a.png"))
    assert picture.shape[0] > 300 and picture.shape[1] > 600 and picture.std() > 20
    tools[1].write_video(FRAMES, looks[0], 5, str(tmp_path / "a.mp4"))
    video = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 8 * tools[1].FRAMES_A_PICTURE
    ok, first = video.read()
    assert ok and first.shape == (384, 768, 3)
    shown = cv2.resize(first[:, :384, ::-1], (64, 64), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(shown[:50] - FRAMES[0][:50].astype(int)).mean() < 25


@pytest.mark.parametrize("pixel_aspect", [64 / 51, 0.75])
def test_picture_and_video_have_the_shape_in_which_players_show_the_clip(tools, pixel_aspect, tmp_path):
    _, (look,), _ = find_looks(network(), CLIP, 5, [(0.25, 0.75)])
    black = np.zeros_like(FRAMES)
    look = dataclasses.replace(look, heat=look.heat * 0, targets=[])
    tools[1].draw_look(black, look, 5, str(tmp_path / "a.png"), "words", pixel_aspect)
    dark = (cv2.imread(str(tmp_path / "a.png")).max(2) < 8).astype(np.uint8)
    boxes = [box for box in cv2.connectedComponentsWithStats(dark)[2][1:] if box[cv2.CC_STAT_AREA] > 10_000]
    assert len(boxes) == 8  # a panel a frame
    for _, _, width, height, _ in boxes:
        assert width / height == pytest.approx(pixel_aspect, rel=0.02)
    tools[1].write_video(black, look, 5, str(tmp_path / "a.mp4"), pixel_aspect)
    video = ffmpeg_frames(tmp_path / "a.mp4")
    height, width = video.shape[1], video.shape[2] // 2
    assert width / height == pytest.approx(pixel_aspect, rel=0.01) and min(height, width) == tools[1].VIDEO_PX
    assert probe(tmp_path / "a.mp4").sample_aspect_ratio == (1, 1)
    marked = video[5 * tools[1].FRAMES_A_PICTURE].astype(int)
    ring = np.argwhere((marked[..., 1] > 180) & (marked[..., 2] > 200) & (marked[..., 0] < 90))
    x, y = ((place + 0.5) / 64 for place in look.point_px)
    for half in (0, 1):
        inside = ring[(ring[:, 1] >= half * width) & (ring[:, 1] < (half + 1) * width)]
        middle = (inside.min(0) + inside.max(0)) / 2
        assert middle == pytest.approx([y * height, half * width + x * width], abs=3)


def test_the_tool_takes_the_shape_of_pixels_from_the_video(tools, monkeypatch, tmp_path):
    config = tiny_config(tmp_path, tmp_path / "list.txt")
    model = randomized(build_model(load_config(config)))
    save_weights(tmp_path / "w.pdparams", {name: t.numpy() for name, t in model.state_dict().items()})
    video = draw_video(tmp_path / "v.mp4", 20, 48, 64, sample_aspect_ratio=(64, 51))
    flags = [f"--config={config}", f"--video_path={video}", f"--weights={tmp_path / 'w.pdparams'}"]
    tools[0].main([*flags, f"--save_dir={tmp_path / 'out'}", "--num_points=1", "--use_gpu=False"])
    (video,) = (tmp_path / "out").glob("*.mp4")
    info = probe(video)
    assert info.width / 2 / info.height == pytest.approx(64 / 51, rel=0.01)
