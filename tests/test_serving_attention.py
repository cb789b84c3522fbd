"""The route of the attention click: its places are fractions of the shown frame, whatever the network crops."""

from __future__ import annotations

import base64
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from configs import load_config
from datareader import read_frames
from datareader.transforms import normalise, resize_frame
from inference.attention import find_looks, named_blocks
from models import build_model
from tests.plain_network import randomized
from tests.script_runs import tiny_config
from tests.video_factory import draw_video
from utils.errors import UserError

pytest.importorskip("fastapi", reason="the page needs the extra `serve`")
from pydantic import ValidationError

from serving.attention import Question, attention_router
from serving.problems import Problem


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """What answers a question, the configuration, the network, and its video: 40 frames of 48 x 64 pixels of 64:51."""
    folder = tmp_path_factory.mktemp("attention")
    config = load_config(tiny_config(folder, folder / "list.txt"))
    model = randomized(build_model(config))
    model.eval()
    video = draw_video(folder / "v.mp4", 40, 48, 64, sample_aspect_ratio=(64, 51))
    return route(config, model, video), config, model, video


def route(config, model, video):
    def looks(clip, frame, points, block, num_arrows):
        return find_looks(model, clip, frame, points, block=block, num_points=1, num_arrows=num_arrows)[:2]

    engine = SimpleNamespace(looks=looks, facts=[SimpleNamespace(blocks=list(named_blocks(model)))])
    videos, spec = SimpleNamespace(path=lambda _: video), SimpleNamespace(config=config)
    endpoint = attention_router(SimpleNamespace(spec=spec, engine=engine, videos=videos)).routes[0].endpoint
    return lambda **question: endpoint(Question(**{"video_id": "v", "time": 0.8, **question})).model_dump()


def test_a_click_finds_the_links_of_the_pictures_that_the_tool_draws(site):
    ask, config, model, video = site
    answer = ask(x=0.5, y=0.25)
    infer = config.INFER
    frames = np.round(np.array(answer["frames"]) * 25).astype(int)  # at 25 frames per second
    assert frames[answer["frame"]] == 20 and (np.diff(frames) == infer.sample_rate).all()
    assert answer["frame"] == infer.video_length // 2  # the clip surrounds the moment
    high, wide = infer.jitter_scales[0], round(64 * infer.jitter_scales[0] / 48)
    resized = np.stack([resize_frame(frame, high, wide) for frame in read_frames(video, frames)])
    side = infer.crop_size
    top, left = (high - side) // 2, (wide - side) // 2
    cropped = resized[:, top : top + side, left : left + side]
    clip = normalise(cropped, config.INPUT.mean, config.INPUT.std)[None]
    point = [((0.5 * wide - left) / side, (0.25 * high - top) / side)]
    name, (look,), _ = find_looks(model, clip, answer["frame"], point, num_arrows=8)
    step, to_x, to_y, weight = look.targets[0]
    first = answer["targets"][0]
    assert answer["block"] == name and first["weight"] == pytest.approx(weight, rel=1e-5)
    assert first["x"] * wide - left - 0.5 == pytest.approx(to_x) and first["y"] * high - top - 0.5 == pytest.approx(
        to_y
    )
    assert first["frame"] // look.frames_per_step == step and first["t"] == answer["frames"][first["frame"]]
    seen = answer["seen"]
    assert [seen[key] for key in ("left", "top", "width", "height")] == pytest.approx(
        [left / wide, top / high, side / wide, side / high]
    )


def test_the_heat_holds_every_weight_at_its_place(site):
    answer = site[0](x=0.5, y=0.5)
    heat = np.frombuffer(base64.b64decode(answer["heat"]), "<f2").reshape(answer["grid"]).astype(float)
    assert heat.sum() == pytest.approx(answer["sum"], rel=1e-2) and answer["sum"] == pytest.approx(1, abs=1e-4)
    t, h, w = np.unravel_index(heat.argmax(), heat.shape)
    area, first = answer["heat_area"], answer["targets"][0]
    assert area["left"] + (w + 0.5) / heat.shape[2] * area["width"] == pytest.approx(first["x"])
    assert area["top"] + (h + 0.5) / heat.shape[1] * area["height"] == pytest.approx(first["y"])
    assert t == first["frame"] // answer["frames_per_step"]
    assert answer["uniform"] == pytest.approx(1 / heat.size, rel=0.1)


def test_without_a_point_the_strongest_one_is_taken_and_the_last_clip_beyond_the_end(site):
    answer = site[0](time=1000)
    assert len(answer["targets"]) == 8 and answer["frames"][answer["frame"]] == max(answer["frames"])
    seen = answer["seen"]
    assert seen["left"] < answer["x"] < seen["left"] + seen["width"]


@pytest.mark.parametrize(
    ("question", "error", "said"),
    [
        ({"x": 0.0, "y": 0.5}, UserError, "does not see this point"),
        ({"block": "res9.nl7"}, UserError, "res9.nl7"),
        ({"x": 1.5}, ValidationError, "less than or equal to 1"),
        ({"time": float("nan")}, ValidationError, "time"),
    ],
)
def test_what_cannot_be_asked_is_refused(site, question, error, said):
    with pytest.raises(error, match=said):
        site[0](**question)


def test_a_network_without_blocks_answers_409(site):
    with pytest.raises(Problem, match="no non-local block") as problem:
        route(site[1], paddle.nn.Layer(), site[3])()
    assert problem.value.status == 409
