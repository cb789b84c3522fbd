"""Clips that slide over a video: where they start, which frames they hold, and what damage does."""

from __future__ import annotations

import subprocess
from fractions import Fraction

import av
import numpy as np
import pytest

from configs.schema import Config
from datareader import VideoItem, build_view_loader, build_window_loader, read_frames
from datareader.loaders import Failure
from datareader.requests import ReaderSettings
from datareader.video import Limits, VideoError
from datareader.windows import limits_for, read_timeline, stream_frames, window_starts
from datareader.workers import ReaderPool
from tests.video_factory import copy_video, draw_frame, draw_video, ffmpeg_frames, frame_numbers, set_rotation
from utils.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("windows")


@pytest.fixture
def config():
    config = Config()
    infer = config.INFER
    infer.crop_size, infer.jitter_scales, infer.video_length, infer.sample_rate = 64, [64, 64], 4, 3
    infer.num_reader_threads = 0
    return config


def windows_of(config, path, **options):
    (windows,) = build_window_loader(config, [VideoItem(str(path), -1, 1)], **options)
    return windows


def write_variable_rate(path, ticks):
    """A numbered video whose frame i is shown at ticks[i] milliseconds."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"preset": "veryfast", "g": "12", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 84, 64, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for number, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(draw_frame(number), format="rgb24")
            frame.pts, frame.time_base = int(tick), Fraction(1, 1000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def test_starts_are_the_formula_s():
    times = np.arange(100) / 25
    assert window_starts(times, 8, 4).tolist() == [0, 16, 32, 48, 64, 68]  # half of 32 frames; 68 + 32 = 100
    assert window_starts(times, 8, 4, stride_seconds=1.0).tolist() == [0, 25, 50, 68]
    assert window_starts(times[:96], 8, 4).tolist() == [0, 16, 32, 48, 64]  # the last one ends with the video
    for short in (1, 31, 32):
        assert window_starts(times[:short], 8, 4).tolist() == [0]
    uneven = np.concatenate([np.arange(50) / 50, 1 + np.arange(50) / 5])  # 50 frames a second, then 5
    assert window_starts(uneven, 2, 4, stride_seconds=1.0).tolist() == [0, *range(50, 92, 5), 92]
    assert window_starts(uneven, 2, 4, stride_seconds=100.0).tolist() == [0, 92]


@pytest.mark.parametrize(
    ("fps", "stride_seconds", "frames"), [(30, 0.1, 3), (25, 0.2, 5), (50, 0.14, 7), (24, 0.5, 12)]
)
def test_a_stride_of_whole_frames_stays_one_where_times_and_products_are_rounded(fps, stride_seconds, frames):
    """Matroska keeps milliseconds, and 3 * 0.1 is more than 0.3: the frame at that moment must not be missed."""
    for times in (np.arange(400) / fps, np.round(np.arange(400) / fps, 3) + 0.0):
        starts = window_starts(times, 4, 2, stride_seconds=stride_seconds)
        assert starts.tolist() == [*range(0, 392, frames), 392][: len(starts)] and starts[-1] == 392


@pytest.mark.parametrize("stride_seconds", [None, 0.17])
def test_every_window_holds_its_frames_and_times(folder, config, stride_seconds):
    path = draw_video(folder / "constant.mp4", num_frames=75, fps=25)
    windows = windows_of(config, path, stride_seconds=stride_seconds)
    seen = []
    for part, views in windows.batches(3):
        assert len(views) == part.stop - part.start <= 3
        for view in range(len(views)):
            start = windows.starts[part.start + view]
            assert views.clip_indices[views.clip_of(view)].tolist() == [start, start + 3, start + 6, start + 9]
            shown = views.frames[views.clip_positions[views.clip_of(view)]]
            assert frame_numbers(shown) == [start, start + 3, start + 6, start + 9]
            seen.append(part.start + view)
    assert seen == list(range(len(windows)))
    np.testing.assert_allclose(windows.start_seconds, windows.starts / 25)
    np.testing.assert_allclose(windows.end_seconds, (windows.starts + 12) / 25)
    assert windows.timeline.end_seconds == pytest.approx(3.0) == windows.end_seconds[-1]
    assert windows.timeline.fps == pytest.approx(25) and windows.warning == ""


def test_windows_and_views_give_the_network_the_same(folder, config):
    """The first window is the first clip of the view loader, pixel for pixel, for every kind of crop."""
    path = draw_video(folder / "same.mp4", num_frames=40, height=80, width=120)
    for views in ("1x1", "1x3", "whole"):
        part, first = next(windows_of(config, path, views=views).batches(2))
        (truth,) = build_view_loader(config, [VideoItem(str(path), -1, 1)], "INFER", views=views, num_workers=0)
        crops = len(first.crops)
        np.testing.assert_array_equal(first.clips(range(crops)), truth.clips(range(crops)))
    with pytest.raises(UserError, match="one clip"):
        windows_of(config, path, views="10x3")


def test_times_are_the_container_s_at_a_variable_rate(folder, config):
    ticks = np.cumsum([0, *([40] * 20), *([200] * 10), *([10] * 20)])
    windows = windows_of(config, write_variable_rate(folder / "variable.mp4", ticks))
    np.testing.assert_allclose(windows.timeline.times, ticks / 1000, atol=1e-4)
    np.testing.assert_allclose(windows.start_seconds, ticks[windows.starts] / 1000, atol=1e-4)
    assert windows.starts[-1] == len(ticks) - 12
    np.testing.assert_allclose(windows.end_seconds[:-1], ticks[windows.starts[:-1] + 12] / 1000, atol=1e-4)


def test_a_video_ends_when_the_frame_shown_last_does(folder, config):
    """With B-frames that is not the last packet."""

    def let_last(packets):
        shown_last = max(packets, key=lambda packet: packet.pts)
        assert shown_last is not packets[-1]
        shown_last.duration = round(1 / shown_last.time_base)

    path = copy_video(draw_video(folder / "even.mp4", 29), folder / "lasting.mkv", let_last)
    with av.open(str(path)) as container:
        written = max((packet.pts, packet.duration) for packet in container.demux(video=0) if packet.pts is not None)
    if written[1] != 1000:
        pytest.skip(f"PyAV {av.__version__} does not write a packet's duration")
    timeline = windows_of(config, path).timeline
    assert timeline.end_seconds == pytest.approx(28 / 25 + 1, abs=1e-3)


@pytest.mark.parametrize("num_frames", [1, 2, 5, 11, 12, 13])
def test_a_video_shorter_than_a_clip_loops(folder, config, num_frames):
    windows = windows_of(config, draw_video(folder / f"short{num_frames}.mp4", num_frames=num_frames))
    batches = list(windows.batches(4))
    assert len(windows) == max(1, num_frames - 11)
    assert batches[0][1].clip_indices[0].tolist() == [0, 3 % num_frames, 6 % num_frames, 9 % num_frames]
    assert windows.start_seconds[0] == 0 and windows.end_seconds[-1] == pytest.approx(num_frames / 25, abs=1e-3)


@pytest.mark.parametrize("step", [1, 7])
def test_streamed_frames_are_ffmpeg_s(folder, step):
    """Turned, in two containers, with B-frames, from a process and from this one, across several pieces."""
    paths = [draw_video(folder / f"all{step}.mkv", 150, height=62, width=90), folder / f"turned{step}.mp4"]
    set_rotation(draw_video(paths[1], 150), 90)
    for num_workers in (0, 1):
        pool = ReaderPool(num_workers)
        for path in paths:
            timeline, truth = read_timeline(pool, str(path), ReaderSettings()), ffmpeg_frames(path)
            numbers = np.arange(3, 150, step)
            pieces = list(stream_frames(pool, str(path), ReaderSettings(), timeline, numbers))
            assert np.concatenate([some for some, _, _ in pieces]).tolist() == numbers.tolist()
            np.testing.assert_array_equal(np.concatenate([frames for _, frames, _ in pieces]), truth[numbers])
            assert len(pieces) > 1 and str(pieces[-1][2]) == ""
        pool.close()


@pytest.mark.parametrize("short_side", [None, 48])
def test_the_pieces_of_a_stream_are_decoded_in_one_pass(folder, monkeypatch, short_side):
    import datareader.decoding.pyav_backend as backend

    path = str(draw_video(folder / f"once{short_side}.mp4", 200))
    pool, started, whole = ReaderPool(0), [], backend._wanted
    monkeypatch.setattr(backend, "_wanted", lambda *rest: started.append(1) or whole(*rest))
    timeline = read_timeline(pool, path, ReaderSettings())
    pieces = list(stream_frames(pool, path, ReaderSettings(), timeline, np.arange(200), short_side))
    assert len(pieces) > 2 and len(started) == 1


def test_two_streams_in_one_process_do_not_disturb_each_other(folder):
    paths = [str(draw_video(folder / f"turns{hue}.mp4", 140, hue=hue)) for hue in (0, 4)]
    pool, settings, numbers = ReaderPool(0), ReaderSettings(), np.arange(140)
    streams = [stream_frames(pool, p, settings, read_timeline(pool, p, settings), numbers) for p in paths]
    for (_, first, _), (_, second, _) in zip(*streams):
        assert frame_numbers(first) == frame_numbers(second) and not np.array_equal(first, second)


def test_a_damaged_video_gives_what_is_there_and_says_what_is_not(folder, config):
    path = draw_video(folder / "damaged.mp4", num_frames=120)
    truth = read_frames(path, range(120))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 600] = bytes(600)
    path.write_bytes(data)
    windows = windows_of(config, path)
    clips = [views for _, views in windows.batches(4)]
    assert "damaged" in windows.warning
    good = clips[0].frames[0]
    np.testing.assert_array_equal(good, truth[0])
    assert sum(len(views) for views in clips) == len(windows)


def test_what_is_no_video_is_a_failure_and_what_does_not_decode_an_error(folder, config, tmp_path):
    (tmp_path / "text.mp4").write_text("only words, no video at all")
    assert isinstance(windows_of(config, tmp_path / "text.mp4"), Failure)
    assert "no such file" in windows_of(config, tmp_path / "none.mp4").reason
    path = draw_video(tmp_path / "zeros.mov", num_frames=90, codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(path.read_bytes())
    begin = data.index(b"mdat") + 900
    end = data.index(b"moov") - 4
    data[begin:end] = bytes(end - begin)
    path.write_bytes(data)
    with pytest.raises(VideoError, match="1 of 30 wanted"):
        list(windows_of(config, path).batches(4))


def test_a_stream_goes_on_where_a_crashed_process_left_it(folder):
    path = str(draw_video(folder / "killed.mp4", 200))
    pool = ReaderPool(1)
    timeline = read_timeline(pool, path, ReaderSettings())
    pieces = stream_frames(pool, path, ReaderSettings(), timeline, np.arange(200))
    seen = []
    for number, (_, frames, _) in enumerate(pieces):
        seen += frame_numbers(frames)
        if number == 1:
            pool.readers[0].process.kill()
    assert seen == list(range(200))
    pool.close()


def test_the_time_limit_is_a_piece_s(folder):
    path = str(draw_video(folder / "slow.mp4", 60))
    pool, settings = ReaderPool(0), ReaderSettings(limits=Limits(seconds=1e-9))
    with pytest.raises(VideoError, match="READER.seconds_per_video"):
        read_timeline(pool, path, settings)


def test_frames_in_a_file_without_times_are_counted(folder, config):
    """A raw stream has no times: they follow from its rate."""
    import imageio_ffmpeg

    raw = folder / "raw.h264"
    source = draw_video(folder / "source.mp4", num_frames=50)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", "-i", str(source), "-c", "copy", str(raw)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    windows = windows_of(config, raw)
    assert windows.timeline.num_frames == 50 and windows.timeline.is_counted
    assert windows.timeline.end_seconds == pytest.approx(2.0, abs=0.1)
    assert "frames a second" in windows.warning
    assert sum(len(views) for _, views in windows.batches(4)) == len(windows)


def test_pictures_that_have_been_read_do_not_stay_in_memory(folder):
    """Without help from Python's search for cycles, which comes hundreds of pictures late."""
    import gc

    path = str(draw_video(folder / "freed.mp4", 120))
    pool = ReaderPool(0)
    timeline = read_timeline(pool, path, ReaderSettings())
    gc.collect()
    gc.disable()
    try:
        for _ in stream_frames(pool, path, ReaderSettings(), timeline, np.arange(120)):
            pass
        alive = sum(isinstance(thing, av.VideoFrame) for thing in gc.get_objects())
    finally:
        gc.enable()
    assert alive < 10


def test_memory_follows_the_windows_not_the_video(folder, config):
    import tracemalloc

    peaks = []
    for num_frames in (600, 2400):
        windows = windows_of(config, draw_video(folder / f"long{num_frames}.mp4", num_frames, height=48, width=64))
        tracemalloc.start()
        for _ in windows.batches(2):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0], peaks


def test_a_long_video_has_as_much_time_for_each_part_as_a_short_one():
    limits = Limits(seconds=4.0)
    assert [limits_for(limits, n).seconds for n in (1, 1500, 3000, 15000)] == [4.0, 4.0, 8.0, 40.0]
