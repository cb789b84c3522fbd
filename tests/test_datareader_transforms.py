import dataclasses

import cv2
import numpy as np
import pytest

from datareader import transforms
from datareader.views import Crop, ViewProtocol, find_crops
from utils.boxes import iou


def bilinear(frame, height, width):
    """Bilinear interpolation with aligned pixel centres, in floats."""
    y = np.clip((np.arange(height) + 0.5) * frame.shape[0] / height - 0.5, 0, frame.shape[0] - 1)
    x = np.clip((np.arange(width) + 0.5) * frame.shape[1] / width - 0.5, 0, frame.shape[1] - 1)
    y0, x0 = np.floor(y).astype(int), np.floor(x).astype(int)
    y1, x1 = np.minimum(y0 + 1, frame.shape[0] - 1), np.minimum(x0 + 1, frame.shape[1] - 1)
    fy, fx, frame = (y - y0)[:, None, None], (x - x0)[None, :, None], frame.astype(float)
    top = frame[y0][:, x0] * (1 - fx) + frame[y0][:, x1] * fx
    return top * (1 - fy) + (frame[y1][:, x0] * (1 - fx) + frame[y1][:, x1] * fx) * fy


@pytest.mark.parametrize(
    "height, width, short_side",
    [(60, 80, 33), (80, 60, 90), (50, 50, 25), (30, 31, 32), (60, 81, 33), (81, 60, 33)],
)
def test_resizing_is_bilinear_to_one_grey_level(height, width, short_side):
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    resized = transforms.resize_short_side(frame[None], short_side)[0]
    ratio = short_side / min(height, width)
    assert resized.shape == (round(height * ratio), round(width * ratio), 3)
    assert np.abs(resized - bilinear(frame, *resized.shape[:2])).max() <= 1


def test_rows_with_padding_give_the_same_picture():
    wide = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        transforms.resize_frame(wide[:, :50], 32, 40),
        transforms.resize_frame(np.ascontiguousarray(wide[:, :50]), 32, 40),
    )


def test_the_short_side_is_never_smaller_than_asked():
    for height, width in [(1, 1000), (255, 341), (997, 3), (2, 3)]:
        assert min(transforms.scaled_size(height, width, 256)) == 256


def test_a_marked_square_is_where_its_box_says_after_any_transform():
    rng = np.random.default_rng(0)
    for _ in range(200):
        height, width = rng.integers(120, 200, 2)
        side = int(rng.integers(60, 90))
        top, left = int(rng.integers(0, height - side)), int(rng.integers(0, width - side))
        frame = np.zeros((height, width, 3), np.uint8)
        frame[top : top + side, left : left + side] = 255
        crop_px = 256
        transform = transforms.RandomTransform((256, 320), crop_px, True, bool(rng.integers(2)))
        (cut,), used = transform(frame[None], rng)
        (box,) = np.clip(used.map_boxes([[left, top, left + side, top + side]]), 0, crop_px)
        ys, xs = np.nonzero(cut[..., 0] > 127)
        if len(ys):
            shown = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], float)
            assert iou(box, shown) > 0.95 or min(shown[2:] - shown[:2]) < 40


def test_a_mirrored_box_is_counted_from_the_other_side_and_mirrored_twice_is_itself():
    used = transforms.TransformParameters(48, 64, 48, 64, 0, 0, 48, 64, mirrored=True)
    boxes = np.array([[3.25, 4, 20.5, 30], [0, 0, 64, 48]])
    mirrored = used.map_boxes(boxes)
    assert mirrored.tolist() == [[64 - 20.5, 4, 64 - 3.25, 30], [0, 0, 64, 48]]
    assert used.map_boxes(mirrored).tolist() == boxes.tolist()


@pytest.mark.parametrize("height, width", [(60, 80), (80, 60), (31, 400), (48, 48)])
def test_without_the_aspect_ratio_frames_become_squares(height, width):
    """Against the bilinear formula, then the crop that the parameters name."""
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected = bilinear(frame, 48, 48)
    cut, used = transforms.CentreTransform(48, 32, keep_aspect_ratio=False)(frame[None])
    assert (used.height, used.width, used.top, used.left) == (48, 48, 8, 8)
    assert np.abs(cut[0] - expected[8:40, 8:40]).max() <= 1
    np.testing.assert_allclose(used.map_boxes(np.array([[0, 0, width, height]])), [[-8, -8, 40, 40]])
    random, sides = transforms.RandomTransform((40, 48), 32, keep_aspect_ratio=False), set()
    for seed in range(60):
        cut, used = random(frame[None], np.random.default_rng(seed))
        assert used.height == used.width and cut.shape == (1, 32, 32, 3)
        part = bilinear(frame, used.height, used.width)[used.top : used.top + 32, used.left : used.left + 32]
        assert np.abs(cut[0] - (part[:, ::-1] if used.mirrored else part)).max() <= 1
        sides.add(used.height)
    assert sides == set(range(40, 49))


def test_scales_include_both_ends():
    rng = np.random.default_rng(0)
    assert {transforms.random_short_side([5, 8], rng) for _ in range(200)} == {5, 6, 7, 8}


def test_crops_reach_every_place_and_fit_exactly():
    rng = np.random.default_rng(0)
    assert {transforms.random_offset(6, 5, 4, rng) for _ in range(300)} == {(y, x) for y in range(3) for x in range(2)}
    assert transforms.random_offset(4, 4, 4, rng) == (0, 0)
    with pytest.raises(ValueError, match="does not fit"):
        transforms.random_offset(4, 3, 4, rng)


def test_three_crops_along_the_longer_side():
    assert transforms.spread_offsets(256, 341, 256, 3) == [(0, 0), (0, 42), (0, 85)]
    assert transforms.spread_offsets(341, 256, 256, 3) == [(0, 0), (42, 0), (85, 0)]
    assert transforms.spread_offsets(256, 256, 256, 3) == [(0, 0)] * 3
    assert transforms.spread_offsets(256, 356, 256, 1) == [(0, 50)]
    assert transforms.spread_offsets(288, 356, 256, 5) == [(16, 0), (16, 25), (16, 50), (16, 75), (16, 100)]


def test_normalising_puts_the_channels_in_front():
    frames = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    clip = transforms.normalise(frames, 114.75, 57.375)
    assert clip.shape == (3, 2, 4, 5)
    assert clip.dtype == np.float32
    for c, t, y, x in np.ndindex(3, 2, 4, 5):
        assert clip[c, t, y, x] == pytest.approx((float(frames[t, y, x, c]) - 114.75) / 57.375, abs=1e-6)
    mirrored = transforms.mirror(transforms.crop(frames, (1, 1), 2, 3), "rgb")
    np.testing.assert_array_equal(
        mirrored, cv2.flip(frames[0, 1:3, 1:4], 1)[None].repeat(2, 0) * 0 + frames[:, 1:3, 3:0:-1]
    )


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((256, 340), Crop(0, 10, 256, 320)),
        ((300, 256), Crop(6, 0, 288, 256)),
        ((350, 271), Crop(15, 7, 320, 256)),
        ((20, 70), Crop(0, 3, 20, 64)),
    ],
)
def test_the_whole_frame_is_cut_around_its_centre_to_multiples_of_32_px(size, expected):
    assert find_crops(*size, 256, ViewProtocol(1, 0)) == (expected,)
    mirrored = find_crops(*size, 256, ViewProtocol(1, 0, mirrored=True))
    assert mirrored == (expected, dataclasses.replace(expected, mirrored=True))
