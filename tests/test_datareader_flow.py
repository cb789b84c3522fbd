"""Optical flow as a source: methods on shifted textures, which frames belong to which flow, mirrors, videos played
backwards, resampling, windows, and what happens to videos without flow."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from video_factory import draw_video, frame_numbers, write_video

from configs import load_config
from datareader import (
    Failure,
    VideoError,
    VideoItem,
    build_train_loader,
    build_valid_loader,
    build_view_loader,
    build_window_loader,
    decoding,
    read_frames,
    transforms,
)
from datareader.flow.methods import METHODS, FlowProvenance, check_method, compute_flow
from datareader.flow.source import ComputedFlow, configured_source
from datareader.requests import RGB, ReaderSettings
from datareader.sampling import resampled_frames
from utils.errors import UserError

needs_contrib = pytest.mark.skipif(
    not hasattr(cv2, "optflow"), reason="TV-L1 needs opencv-contrib-python-headless, which replaces the tests' OpenCV"
)
ALL_METHODS = [pytest.param(name, marks=needs_contrib if name == "tvl1" else ()) for name in METHODS]
HEIGHT, WIDTH, NUM_FRAMES = 64, 80, 20
STEPS = np.array([(3, 0), (2, -1), (-1, 2), (-2, -2)])  # px a frame; a change of direction every five frames


def texture(height: int, width: int) -> np.ndarray:
    """Blots of several sizes: float32 in 0..255."""
    noise = np.random.default_rng(0).standard_normal((3, height, width)).astype(np.float32)
    blots = sum(sigma * cv2.GaussianBlur(layer, (0, 0), sigma) for sigma, layer in zip((3, 8, 24), noise))
    return cv2.normalize(blots, None, 0, 255, cv2.NORM_MINMAX)


def shifted(dx: int, dy: int, height: int = 160, width: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """A picture, and the same moved to the right by dx and down by dy pixels."""
    whole = texture(height + 24, width + 24).astype(np.uint8)
    return whole[12:-12, 12:-12], whole[12 - dy : height + 12 - dy, 12 - dx : width + 12 - dx]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Its path; the picture moves by STEPS."""
    places = np.concatenate([[(0, 0)], np.cumsum(np.repeat(STEPS, 5, 0), 0)])[:NUM_FRAMES]
    whole = texture(HEIGHT + 80, WIDTH + 80).astype(np.uint8)
    frames = [whole[40 - y : 40 - y + HEIGHT, 40 - x : 40 - x + WIDTH] for x, y in places]
    frames = np.repeat(np.stack(frames)[..., None], 3, -1)
    path = tmp_path_factory.mktemp("flow") / "moves.mp4"
    return str(write_video(path, frames, options={"preset": "veryfast", "crf": "4", "g": "6"}))


def flow_config(*overrides: str):
    return load_config(
        "configs/nonlocal.yaml",
        ["READER.modality=flow", "READER.flow_short_side=64", "INPUT.num_frames=4", "INPUT.frame_stride=2",
         "INPUT.scales=[64,64]", "INPUT.crop_size=64", "TRAIN.batch_size=2", "TEST.num_test_clips=6", *overrides],
    )  # fmt: skip


def plain_flows(path: str, bound: float = 20.0, backwards: bool = False) -> np.ndarray:
    """Every flow of a video of short side 64 in a plain loop: float32 [n - 1, H, W, 2] in [-1, 1]."""
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in read_frames(path, range(NUM_FRAMES))]
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    pairs = [(b, a) if backwards else (a, b) for a, b in zip(grey, grey[1:])]
    return np.stack([np.minimum(np.maximum(dis.calc(*pair, None), -bound), bound) / bound for pair in pairs])


def all_flows(path: str, source=None, reader=None, choose=np.arange) -> decoding.Reading:
    source = source or ComputedFlow(FlowProvenance("dis", 20.0, 64, None))
    return source.read(path, choose, reader or ReaderSettings(), lambda flow: flow)


def batches_of(loader) -> list:
    try:
        return list(loader)
    finally:
        loader.close()


@pytest.mark.parametrize("method", ALL_METHODS)
def test_a_shifted_texture_has_the_flow_of_its_shift(method):
    shifts = [(3, 0), (0, -1)] if method == "tvl1" else [(3, 0), (0, -1), (-12, 5), (12, -12), (8, 8)]
    for shift in shifts:
        first, second = shifted(*shift)
        flow = compute_flow(method, first, second)
        assert (flow.dtype, flow.shape) == (np.float32, (160, 200, 2))
        inside = np.median(flow[16:-16, 16:-16], (0, 1))
        np.testing.assert_allclose(inside, shift, atol=0.2 if method == "dis_fast" else 0.1)
        assert np.array_equal(flow, compute_flow(method, first, second))


@pytest.mark.parametrize("method", ALL_METHODS)
def test_the_flow_of_mirrored_frames_is_the_mirrored_flow(method):
    pair = shifted(3, 1)
    of_mirrored = compute_flow(method, *(frame[:, ::-1] for frame in pair))  # DIS refuses such views as they are
    mirrored = transforms.mirror(compute_flow(method, *pair), "flow")
    assert np.abs(of_mirrored - mirrored).mean() < 0.02
    frame = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert transforms.mirror(frame, "rgb").tolist() == frame[:, ::-1].tolist()


@pytest.mark.parametrize("method", ALL_METHODS)
def test_equal_frames_have_no_flow(method):
    noise = np.random.default_rng(0).integers(0, 256, (48, 40), np.uint8)
    for frame in (noise, np.zeros_like(noise)):
        assert not compute_flow(method, frame, frame.copy()).any()


def test_flow_i_is_of_frames_i_and_i_plus_1_of_the_resized_frame(video):
    reading = all_flows(video)
    assert reading.num_frames == NUM_FRAMES - 1 and reading.frames.dtype == np.float32
    np.testing.assert_array_equal(reading.frames, plain_flows(video))
    medians = np.median(reading.frames[:, 16:-16, 16:-16], (1, 2)) * 20
    np.testing.assert_allclose(medians, np.repeat(STEPS, 5, 0)[: NUM_FRAMES - 1], atol=0.15)
    larger = all_flows(video, ComputedFlow(FlowProvenance("dis", 4.0, 128, None)), choose=lambda n: np.array([0, 18]))
    assert larger.frames.shape == (2, 128, 160, 2)
    np.testing.assert_allclose(np.median(larger.frames, (1, 2)), [(1, 0), (-1, -1)], atol=0.05)  # 6 px are cut to 4


def test_warping_a_frame_back_by_its_flow_gives_the_one_before(video):
    frames = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in read_frames(video, range(NUM_FRAMES))]
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    for i, flow in enumerate(all_flows(video).frames * np.float32(20)):
        warped = cv2.remap(frames[i + 1], x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR)
        errors = [
            np.abs(frame[8:-8, 8:-8] - frames[i][8:-8, 8:-8].astype(float)).mean() for frame in (warped, frames[i + 1])
        ]
        assert errors[0] < errors[1] / 2, i


def test_loaders_sample_flows_as_frames_of_a_video_with_one_fewer(video):
    """Random, centre and test clips; from the last flow on a clip continues with the first."""
    flows, items = plain_flows(video), [VideoItem(video, 1, 1)] * 2
    (batch,) = batches_of(build_valid_loader(flow_config(), items, num_workers=0))
    centre = flows[[5, 7, 9, 11]][:, :, 8:72]  # (19 - 4 * 2) // 2
    assert batch.clips.shape == (2, 2, 4, 64, 64)
    np.testing.assert_array_equal(batch.clips[0], centre.transpose(3, 0, 1, 2))
    (views,) = batches_of(build_view_loader(flow_config(), items[:1], num_workers=1))  # 2 clips x 3 crops, whole height
    assert views.clip_indices.tolist() == [[0, 2, 4, 6], [9, 11, 13, 15]] and views.num_frames == NUM_FRAMES - 1
    np.testing.assert_array_equal(views.clips([5])[0], flows[[9, 11, 13, 15]][:, :, 16:].transpose(3, 0, 1, 2))
    longer = flow_config("TEST.video_length=6")
    (views,) = batches_of(build_view_loader(longer, items[:1], num_workers=0, views="2x1"))
    assert views.clip_indices[1].tolist() == [9, 11, 13, 15, 17, 0]


def test_training_clips_are_resized_without_scaling_and_mirrored_with_x_negated(video):
    config = flow_config("INPUT.scales=[72,90]")
    items, seen = [VideoItem(video, 1, 1)] * 8, set()
    flows = plain_flows(video)
    for batch in batches_of(build_train_loader(config, items, seed=3, num_workers=0)):
        for clip, used in zip(batch.clips, batch.transforms):
            seen.add(used.mirrored)
            starts = [
                start
                for start in range(NUM_FRAMES - 1 - 8 + 1)
                if np.allclose(clip, _cut(flows[start : start + 8 : 2], used), atol=1e-6)
            ]
            assert len(starts) == 1, used
    assert seen == {True, False}


def _cut(flows: np.ndarray, used) -> np.ndarray:
    """By OpenCV and slices alone: [T, H, W, 2] -> [2, T, S, S]."""
    resized = np.stack([cv2.resize(flow, (used.width, used.height)) for flow in flows])
    x, y = np.moveaxis(
        resized[:, used.top : used.top + used.crop_height, used.left : used.left + used.crop_width], -1, 0
    )
    return np.stack([-x[..., ::-1], y[..., ::-1]] if used.mirrored else [x, y])


def test_mirrored_views_negate_x(video):
    config = flow_config("TEST.use_multi_crop=2")
    (views,) = batches_of(build_view_loader(config, [VideoItem(video, 1, 1)], num_workers=0, views="1x1"))
    plain, mirrored = views.clips([0, 1])
    np.testing.assert_array_equal(mirrored, plain[..., ::-1] * np.float32([-1, 1])[:, None, None, None])


def test_a_video_played_backwards_has_the_flow_of_swapped_frames(video):
    (views,) = batches_of(
        build_view_loader(flow_config(), [VideoItem(video, 1, 1)], num_workers=0, views="1x1", reverse_frames=True)
    )
    swapped = plain_flows(video, backwards=True)[[6, 4, 2, 0]][:, :, 8:72]
    np.testing.assert_array_equal(views.clips([0])[0], swapped.transpose(3, 0, 1, 2))
    assert np.abs(swapped + plain_flows(video)[[6, 4, 2, 0]][:, :, 8:72]).mean() * 20 < 0.2  # about the negated flow


def test_resampling_takes_the_frames_nearest_in_time():
    at_30 = np.arange(60) / 30
    nearest = [min(range(60), key=lambda i: (abs(at_30[i] - k / 25), i)) for k in range(50)]
    assert resampled_frames(at_30, 2.0, 25.0).tolist() == nearest
    at_25 = np.round(np.arange(40) / 25 + 0.3, 3)
    assert resampled_frames(at_25, at_25[-1] + 0.04, 25.0).tolist() == list(range(40))
    assert resampled_frames(np.arange(4) / 10, 0.4, 20.0).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]  # each but for ties
    uneven = np.array([0.0, 0.1, 0.5, 0.6])
    assert resampled_frames(uneven, 1.0, 5.0).tolist() == [0, 1, 2, 3, 3]
    assert resampled_frames(np.zeros(1), 0.01, 5.0).tolist() == [0]


@pytest.mark.parametrize("choose", [np.arange, lambda n: np.array([[9, 0], [4, 4]])])
def test_frames_and_flow_are_of_the_resampled_video(tmp_path, choose):
    path, reader = str(draw_video(tmp_path / "30.mp4", 24, fps=30)), ReaderSettings(frame_rate=15.0)
    frames = RGB.read(path, choose, reader, lambda frame: frame)
    assert frames.num_frames == 12
    assert (
        frame_numbers(frames.taken()) == (resampled_frames(np.arange(24) / 30, 0.8, 15.0)[choose(12)]).ravel().tolist()
    )
    flow = all_flows(path, reader=reader, choose=choose)
    assert flow.num_frames == 11
    first, second = (
        cv2.cvtColor(f, cv2.COLOR_RGB2GRAY)
        for f in RGB.read(path, lambda n: np.array([4, 5]), reader, lambda f: f).frames
    )
    expected = np.clip(compute_flow("dis", first, second) / 20, -1, 1)
    np.testing.assert_array_equal(flow.frames[flow.numbers.tolist().index(4)], expected)


@pytest.mark.parametrize("overrides", [(), ("READER.frame_rate=12.5",)])
def test_windows_slide_over_flow(video, overrides):
    config = flow_config("INFER.num_reader_threads=0", *overrides)
    source, every = configured_source(config), np.arange
    reader = ReaderSettings(frame_rate=config.READER.frame_rate)
    flows = all_flows(video, source, reader, every).frames
    (windows,) = build_window_loader(config, [VideoItem(video, -1, 1)], views="1x1")
    assert windows.source_times.num_frames == len(flows) == (9 if overrides else 19)
    assert windows.end_seconds[-1] == pytest.approx(NUM_FRAMES / 25)
    for part, views in windows.batches(2):
        for clip, start in zip(views.clips(range(len(views))), windows.starts[part]):
            expected = flows[(start + np.arange(4) * 2) % len(flows)][:, :, 8:72]
            np.testing.assert_array_equal(clip, expected.transpose(3, 0, 1, 2))
            assert windows.start_seconds[0] == 0


def test_windows_of_frames_follow_the_frame_rate(tmp_path):
    path = str(draw_video(tmp_path / "a.mp4", 40))
    config = flow_config("READER.modality=rgb", "READER.frame_rate=5", "INFER.num_reader_threads=0")
    (windows,) = build_window_loader(config, [VideoItem(path, -1, 1)])
    (_, views), *_ = windows.batches(1)
    assert windows.source_times.num_frames == 8
    assert frame_numbers(views.frames) == [0, 10, 20, 30]


def test_videos_without_flow_are_broken(tmp_path, video):
    one = str(draw_video(tmp_path / "one.mp4", 1))
    loader = build_valid_loader(flow_config(), [VideoItem(one, 0, 1), VideoItem(video, 1, 2)], num_workers=1)
    (batch,) = batches_of(loader)
    assert batch.failures == [Failure(one, 0, "one frame has no motion")] and len(batch) == 1
    (windows,) = build_window_loader(flow_config("INFER.num_reader_threads=0"), [VideoItem(one, 0, 1)])
    assert windows == Failure(one, 0, "one frame has no motion")
    thin = str(write_video(tmp_path / "thin.avi", np.zeros((3, 1, 4000, 3), np.uint8), codec="ffv1", pix_fmt="bgr0"))
    with pytest.raises(VideoError, match="4000x1 px scaled to a short side of 256 px would be 1024000x256"):
        all_flows(thin, ComputedFlow(FlowProvenance("dis", 20.0, 256, None)))
    odd = str(write_video(tmp_path / "odd.avi", np.zeros((3, 5, 7, 3), np.uint8), codec="ffv1", pix_fmt="bgr0"))
    black = all_flows(odd).frames
    assert black.shape == (2, 64, 90, 2) and not black.any()
    slow = ReaderSettings(limits=decoding.Limits(seconds=0.0))
    with pytest.raises(VideoError, match="READER.seconds_per_video"):
        all_flows(video, reader=slow)
    small = ReaderSettings(limits=decoding.Limits(max_bytes=HEIGHT * WIDTH * 8 * 10))
    with pytest.raises(VideoError, match="19 frames of 80x64 px take"):
        all_flows(video, reader=small)


@pytest.mark.skipif(hasattr(cv2, "optflow"), reason="this OpenCV has TV-L1")
def test_tvl1_without_its_package_is_refused_before_any_video_is_opened():
    with pytest.raises(UserError, match=r"pip uninstall opencv-python-headless.*opencv-contrib-python-headless"):
        build_valid_loader(flow_config("READER.flow_method=tvl1"), [VideoItem("no such file", 0, 1)])
    assert [check_method(name) for name in ("dis", "dis_fast", "farneback")] == [None] * 3


def test_inputs_keys_follow_from_the_modality(tmp_path):
    config = flow_config()
    assert (config.INPUT.channels, config.INPUT.mean, config.INPUT.std) == (2, [0, 0], [1, 1])
    back = flow_config("READER.modality=rgb")
    assert (back.INPUT.channels, back.INPUT.mean) == (3, [114.75] * 3)
    for override in ("INPUT.mean=114.75", "INPUT.channels=3", "MODEL.image_std=2"):
        with pytest.raises(UserError, match=r"INPUT\.\w+ .* contradicts READER.modality flow, whose clips have"):
            flow_config(override)
    from configs import save_config

    (tmp_path / "saved.yaml").write_text(save_config(config))
    assert load_config(tmp_path / "saved.yaml") == config
    (tmp_path / "s3d.yaml").write_text("MODEL: {name: S3D}\nREADER: {modality: flow}")
    assert load_config(tmp_path / "s3d.yaml").INPUT.std == [1, 1]
    assert load_config(tmp_path / "s3d.yaml", ["READER.modality=rgb"]).INPUT.std == [127.5] * 3
