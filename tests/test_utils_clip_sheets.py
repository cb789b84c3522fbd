from __future__ import annotations

import numpy as np

from utils.clip_sheets import CAPTION_PX, GAP_PX, clip_sheet, write_picture


def test_a_row_a_clip_and_the_frames_from_left_to_right_in_their_colours(tmp_path):
    import cv2

    clips = np.zeros((2, 3, 4, 20, 30), np.float32)
    colours = np.random.default_rng(0).integers(0, 256, (2, 3, 4))
    clips[:] = ((colours - 114.75) / 57.375)[..., None, None]
    sheet = clip_sheet(clips, 114.75, 57.375, ["one", "两"])
    assert sheet.shape == (2 * (CAPTION_PX + 20 + GAP_PX), 4 * (30 + GAP_PX), 3)
    write_picture(tmp_path / "a.png", sheet)
    back = cv2.imread(str(tmp_path / "a.png"))[:, :, ::-1]
    for n in range(2):
        for t in range(4):
            y, x = n * (CAPTION_PX + 20 + GAP_PX) + CAPTION_PX + 10, t * (30 + GAP_PX) + 15
            np.testing.assert_array_equal(back[y, x], colours[n, :, t])


def test_long_and_large_clips_are_thinned_out():
    sheet = clip_sheet(np.zeros((1, 3, 32, 224, 224), np.float32), 0.0, 1.0, ["x"])
    assert sheet.shape == (CAPTION_PX + 112 + GAP_PX, 8 * (112 + GAP_PX), 3)


def test_clips_are_shown_in_the_shape_of_their_pixels():
    clips = np.zeros((3, 3, 2, 20, 30), np.float32)
    clips[:, 0] = 1  # red
    sheet = clip_sheet(clips, 0.0, 255.0, ["wide", "square", "high"], [1.5, 1.0, 0.5])
    assert sheet.shape == (3 * (CAPTION_PX + GAP_PX) + 20 + 20 + 40, 2 * (45 + GAP_PX), 3)
    top = CAPTION_PX
    for height, width in ((20, 45), (20, 30), (40, 30)):
        expected = np.zeros((height + GAP_PX, sheet.shape[1]), bool)
        expected[:height, :width] = expected[:height, width + GAP_PX : 2 * width + GAP_PX] = True
        np.testing.assert_array_equal(sheet[top : top + height + GAP_PX, :, 0] == 255, expected)
        top += height + GAP_PX + CAPTION_PX
