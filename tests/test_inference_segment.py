"""Segments of videos whose content changes at known times, with a backend that sees colours."""

from __future__ import annotations

import csv
import io
import json
import re
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from configs.schema import Config
from datareader import VideoItem, build_window_loader, probe
from inference.classify import PredictOptions, output_names
from inference.overlay import write_overlay
from inference.segment import (
    Segment,
    SegmentMerger,
    csv_text,
    predict_segments,
    segment_row,
    srt_text,
    srt_time,
    vtt_text,
    window_scores,
    write_segments,
)
from tests.video_factory import (
    add_stream_like,
    copy_video,
    draw_video,
    ffmpeg_frames,
    set_pixel_aspect,
    set_rotation,
    write_video,
)
from utils.errors import UserError
from utils.log import Progress

COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]], np.uint8)
NAMES = ["red, or \"rouge\"", "green 绿", "blue"]  # fmt: skip


class ColourBackend:
    """Scores the fraction of each primary colour in the brightness above the darkest one."""

    name, precision, precision_choice = "stub", "float32", None

    def build(self):
        return self

    def outputs(self, clips):
        sums = np.maximum(clips.mean((2, 3, 4)) * 57.375 + 114.75 - 39.0, 0).astype(np.float32)
        return sums / sums.sum(1, keepdims=True), sums


def colour_video(path: Path, stretches, fps: int = 25, size=(48, 64), **encoding) -> Path:
    """Stretches of (colour index, frames), one after the other."""
    frames = [np.broadcast_to(COLOURS[index], (*size, 3)) for index, count in stretches for _ in range(count)]
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_video(path, np.ascontiguousarray(frames), fps, **encoding)


@pytest.fixture
def config():
    config = Config()
    infer = config.INFER
    infer.crop_size, infer.jitter_scales, infer.video_length, infer.sample_rate = 32, [32, 32], 4, 2
    infer.num_reader_threads, infer.batch_size = 0, 4
    return config


def run(config, paths, folder, **options):
    items = [VideoItem(str(path), -1, 1) for path in paths]
    chosen = PredictOptions(folder, options.pop("topk", 2), log_interval=0, **options)
    return list(predict_segments(config, items, ColourBackend(), NAMES, chosen, Progress(len(items), 0, "video")))


# ------------------------------------------------------------------------------------------------ merging


def scores_at(t, windows):
    """The formula, moment by moment."""
    covering = [scores for start, end, scores in windows if start <= t < end]
    if not covering:
        distances = [max(start - t, t - end) for start, end, _ in windows]
        covering = [windows[int(np.argmin(distances))][2]]
    return np.mean(covering, 0)


def segments_of(windows):
    """The formula piece by piece: between two breaks p(t) does not change. (start, end, class, mean scores) each."""
    starts, ends = ([window[side] for window in windows] for side in (0, 1))
    breaks = sorted({*starts, *ends, *((end + start) / 2 for end, start in zip(ends, starts[1:]))})
    pieces = []
    for a, b in zip(breaks, breaks[1:]):
        scores = scores_at((a + b) / 2, windows)
        best = int(scores.argmax())
        if pieces and pieces[-1][2] == best:
            pieces[-1][1], pieces[-1][3] = b, pieces[-1][3] + scores * (b - a)
        else:
            pieces.append([a, b, best, scores * (b - a)])
    return [(a, b, best, total / (b - a)) for a, b, best, total in pieces]


@pytest.mark.parametrize(
    ("seed", "span", "stride"), [(0, 2.0, 1.0), (1, 2.0, 0.3), (2, 1.0, 1.0), (3, 1.0, 2.5), (4, 2.0, 0.7)]
)
def test_merging_is_the_formula_to_the_last_digits(seed, span, stride):
    rng = np.random.default_rng(seed)
    jumps = stride * rng.uniform(0.6, 1.4, 30).cumsum() if seed == 4 else stride * np.arange(30)
    windows = [(0.5 + t, 0.5 + t + span, rng.dirichlet(np.full(3, 0.4))) for t in jumps]
    merger = SegmentMerger(topk=3)
    for window in windows:
        merger.add(*window)
        assert len(merger.windows) <= span / (0.6 * stride) + 2  # no more than overlap
    found, expected = merger.finish(), segments_of(windows)
    assert found[0].start == windows[0][0] and found[-1].end == windows[-1][1]
    assert all(a.end == b.start for a, b in zip(found, found[1:]))
    assert len(found) == len(expected) > 5
    for segment, (start, end, best, scores) in zip(found, expected):
        assert (segment.start, segment.end) == pytest.approx((start, end), abs=1e-12)
        assert segment.indices[0] == best
        assert segment.indices.tolist() == sorted(range(3), key=lambda index: -scores[index])
        np.testing.assert_allclose(segment.probabilities, np.sort(scores)[::-1], rtol=0, atol=1e-12)


def test_a_single_window_is_a_segment_and_none_are_none():
    merger = SegmentMerger(topk=1)
    assert merger.finish() == []
    merger.add(0.25, 0.75, np.array([0.2, 0.8]))
    (segment,) = merger.finish()
    assert (segment.start, segment.end, segment.indices.tolist()) == (0.25, 0.75, [1])


# ------------------------------------------------------------------------------------------------ files


def segments():
    return [
        Segment(0.0, 61.0404, np.array([0, 1]), np.array([0.9, 0.1])),
        Segment(61.0404, 3725.9996, np.array([1, 2]), np.array([0.5, 0.25])),
        Segment(3725.9996, 3725.99999, np.array([2, 0]), np.array([1.0, 0.0])),
    ]


def test_subtitles_are_what_players_read(tmp_path):
    """The grammar of SubRip, and FFmpeg's own reader."""
    text = srt_text([segment_row(segment, NAMES) for segment in segments()])
    time = r"\d{2,}:[0-5]\d:[0-5]\d,\d{3}"
    block = rf"(\d+)\r\n({time}) --> ({time})\r\n([^\r\n]+)\r\n\r\n"
    blocks = re.findall(block, text)
    assert re.fullmatch(f"(?:{block})*", text) and [int(number) for number, *_ in blocks] == [1, 2, 3]
    assert [b[1:3] for b in blocks[:2]] == [("00:00:00,000", "00:01:01,040"), ("00:01:01,040", "01:02:06,000")]
    assert blocks[2][1:3] == ("01:02:06,000", "01:02:06,001")  # below a millisecond, but not of no length
    assert blocks[1][3] == "green 绿 (50 %)"
    assert srt_time(360_000_000) == "100:00:00,000"
    (tmp_path / "a.srt").write_text(text, encoding="utf-8", newline="")
    with av.open(str(tmp_path / "a.srt")) as container:
        packets = [packet for packet in container.demux(subtitles=0) if packet.size]
        seen = [(packet.pts, packet.duration, bytes(packet).decode()) for packet in packets]
    assert seen[0] == (0, 61040, f"{NAMES[0]} (90 %)") and seen[1][0] == 61040


def test_browser_subtitles_are_escaped_and_read_by_ffmpeg(tmp_path):
    rows = [segment_row(segment, ['<b> & "x" --> y', *NAMES[1:]]) for segment in segments()]
    text = vtt_text(rows)
    assert text.startswith(
        'WEBVTT\n\n00:00:00.000 --> 00:01:01.040\n&lt;b&gt; &amp; "x" --&gt; y (90 %)\n\n00:01:01.040'
    )
    (tmp_path / "a.vtt").write_text(text, encoding="utf-8", newline="")
    with av.open(str(tmp_path / "a.vtt")) as container:
        packets = [packet for packet in container.demux(subtitles=0) if packet.size]
    assert [(packet.pts, packet.duration) for packet in packets] == [(0, 61040), (61040, 3664960), (3726000, 1)]


def test_a_table_comes_back_as_it_was():
    rows = list(csv.DictReader(io.StringIO(csv_text([segment_row(s, NAMES) for s in segments()]), newline="")))
    assert [row["class"] for row in rows] == NAMES
    assert [float(row["end_seconds"]) for row in rows] == [61.0404, 3725.9996, 3725.99999]
    assert [int(row["index"]) for row in rows] == [0, 1, 2] and float(rows[1]["probability"]) == 0.5


def test_all_files_or_none(tmp_path, monkeypatch):
    files = write_segments(tmp_path / "deep/er/v.1", {"path": "x"}, segments(), NAMES)
    assert [file.name for file in files] == ["v.1.json", "v.1.csv", "v.1.srt", "v.1.vtt"]
    told = json.loads(files[0].read_text())
    assert told["path"] == "x" and told["segments"][1]["top"][1] == {"class": "blue", "index": 2, "probability": 0.25}
    before = files[0].read_bytes()
    monkeypatch.setattr("inference.segment.srt_text", lambda rows: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_segments(tmp_path / "deep/er/v.1", {"path": "y"}, segments(), NAMES)
    assert files[0].read_bytes() == before and len(list((tmp_path / "deep/er").iterdir())) == 4


def test_no_two_videos_share_a_name(tmp_path):
    folder = str(tmp_path)
    names = ["a.mp4", "a.avi", "A.mkv", "a.mp4.avi", "sub/a.mp4", "b", "b.mp4", "c.d.mp4"]
    outputs = [str(name) for name in output_names([f"{folder}/{name}" for name in names])]
    assert len({name.casefold() for name in outputs}) == len(names)
    assert outputs[4] == "sub/a" and outputs[7] == "c.d"
    assert [str(name) for name in output_names(["x/v.mp4"])] == ["v"]
    long = output_names([f"{folder}/{'n' * 250}.mp4", f"{folder}/{'n' * 249}m.mp4", f"{folder}/{'频' * 80}.mp4"])
    assert len(set(long)) == 3 and all(len(str(name).encode()) < 200 for name in long)


def test_the_segments_so_far_are_those_of_the_windows_so_far():
    """And asking for them changes nothing."""
    rng = np.random.default_rng(0)
    windows = [(start, start + 1.5, rng.random(3)) for start in (0.0, 0.5, 1.0, 3.5, 4.0)]
    asked, merger = SegmentMerger(2), SegmentMerger(2)
    for count, window in enumerate(windows, 1):
        asked.add(*window)
        fresh = SegmentMerger(2)
        for earlier in windows[:count]:
            fresh.add(*earlier)
        assert list(map(repr, asked.so_far())) == list(map(repr, fresh.finish()))
        merger.add(*window)
    assert list(map(repr, asked.finish())) == list(map(repr, merger.finish()))


# ------------------------------------------------------------------------------------------------ videos


@pytest.mark.parametrize("num_workers", [0, 1])
def test_boundaries_lie_where_the_video_changes(tmp_path, config, num_workers):
    """Changes at 1.28 and 2.56 s; a window is 8 frames, so a boundary is at most half of it away."""
    config.INFER.num_reader_threads = num_workers
    path = colour_video(tmp_path / "v.mp4", [(0, 32), (2, 32), (1, 26)])
    (record,) = run(config, [path], tmp_path / "out")
    told = json.loads(Path(record["files"][0]).read_text())
    assert [row["index"] for row in told["segments"]] == [0, 2, 1]
    assert [row["class"] for row in told["segments"]] == [NAMES[0], NAMES[2], NAMES[1]]
    assert told["segments"][0]["start_seconds"] == 0 and told["segments"][-1]["end_seconds"] == pytest.approx(3.6)
    found = [row["start_seconds"] for row in told["segments"][1:]]
    assert found == pytest.approx([1.28, 2.56], abs=4 / 25 + 1e-6)
    assert all(row["probability"] > 0.8 and len(row["top"]) == 2 for row in told["segments"])
    assert (told["num_frames"], told["fps"], told["duration_seconds"]) == (90, 25.0, 3.6)
    assert told["window"] == {"num_frames": 4, "frame_stride": 2, "count": 22} and told["stride_seconds"] == 0.16


def test_a_window_s_scores_are_the_mean_over_its_crops(tmp_path, config):
    """The left crop sees red, the centre and the right one blue."""
    frame = np.empty((48, 192, 3), np.uint8)
    frame[:, :64], frame[:, 64:] = COLOURS[0], COLOURS[2]
    path = write_video(tmp_path / "v.mp4", np.stack([frame] * 24))
    (record,) = run(config, [path], tmp_path / "out", views="1x3")
    (row,) = json.loads(Path(record["files"][0]).read_text())["segments"]
    assert [(top["index"], top["probability"]) for top in row["top"]] == [
        (2, pytest.approx(2 / 3, abs=0.05)),
        (0, pytest.approx(1 / 3, abs=0.05)),
    ]


@pytest.mark.parametrize("num_frames", [1, 3, 8])
def test_a_short_video_is_one_segment(tmp_path, config, num_frames):
    (record,) = run(config, [colour_video(tmp_path / "v.mp4", [(1, num_frames)])], tmp_path / "out")
    (row,) = json.loads(Path(record["files"][0]).read_text())["segments"]
    assert (row["index"], row["start_seconds"]) == (1, 0)
    assert row["end_seconds"] == pytest.approx(num_frames / 25, abs=1e-3)


def test_a_broken_video_of_several_is_named_and_the_rest_is_done(tmp_path, config):
    good = colour_video(tmp_path / "in/good.mp4", [(0, 20)])
    (tmp_path / "in/bad.mp4").write_text("only words and more words")
    broken, record = run(config, [tmp_path / "in/bad.mp4", good], tmp_path / "out")
    assert set(broken) == {"path", "error"} and record["num_segments"] == 1
    assert sorted(p.name for p in (tmp_path / "out/segments").iterdir()) == [
        "good.csv",
        "good.json",
        "good.srt",
        "good.vtt",
    ]


def test_what_was_seen_before_the_reading_ends_is_kept(tmp_path, config, monkeypatch):
    import datareader.windows as windows
    from datareader.video import VideoError

    path = colour_video(tmp_path / "v.mp4", [(0, 200)])
    whole = windows.stream_frames

    def ends_early(pool, path, *rest):
        for number, piece in enumerate(whole(pool, path, *rest)):
            if number == 2:
                raise VideoError(path, "crashed the decoder, twice")
            yield piece

    monkeypatch.setattr(windows, "stream_frames", ends_early)
    (record,) = run(config, [path], tmp_path / "out")
    told = json.loads(Path(record["files"][0]).read_text())
    assert record["error"] == told["error"] == "crashed the decoder, twice"
    assert 1.0 < told["segments"][-1]["end_seconds"] < 8.0


# ------------------------------------------------------------------------------------------------ overlay videos


def mean_colours(frames):
    return frames[:, frames.shape[1] // 2 :].reshape(len(frames), -1, 3).mean(1)


def test_the_overlay_shows_the_video_with_its_labels(tmp_path, config):
    path = colour_video(tmp_path / "v.mp4", [(0, 30), (2, 30)], size=(95, 121), pix_fmt="yuv444p")  # odd sides
    (record,) = run(config, [path], tmp_path / "out", overlay_video=str(tmp_path / "overlay.mp4"))
    frames, truth = ffmpeg_frames(record["overlay_video"]), ffmpeg_frames(path)
    assert frames.shape == (60, 96, 122, 3)
    assert np.abs(mean_colours(frames) - mean_colours(truth)).max() < 6  # the colours stay
    corner = frames[:, 3:10, 3:40].astype(int) - truth[:, 3:10, 3:40]
    assert np.abs(corner).mean((1, 2, 3)).min() > 15  # a label on each frame
    assert np.abs(frames[10, :14].astype(int) - frames[50, :14]).max() > 100  # another one after the change
    assert [p.name for p in tmp_path.glob("*.part")] == []


def test_the_label_changes_with_the_frame_that_begins_the_segment(tmp_path, config):
    (windows,) = build_window_loader(config, [VideoItem(str(colour_video(tmp_path / "v.mp4", [(0, 20)])), -1, 1)])
    times = windows.timeline.times
    ends = (times[8], times[9] + 0.01, times[19])
    segments = [Segment(0.0, end, np.array([i, 0]), np.array([1.0, 0.0])) for i, end in enumerate(ends)]
    write_overlay(tmp_path / "overlay.mp4", windows, segments, ["a", "WWWWWWWWWW", "c"])
    light = ffmpeg_frames(tmp_path / "overlay.mp4")[:, :14, 16:].reshape(20, -1).astype(int)
    jumps = np.abs(np.diff(light, axis=0)).mean(1)
    assert sorted(np.argsort(jumps)[-2:] + 1) == [8, 10]


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize(
    ("ratio", "degrees", "shape"), [((5, 4), 0, (96, 160)), ((5, 4), 90, (160, 96)), ((3, 4), 0, (128, 128))]
)
def test_the_overlay_has_square_pixels_and_the_shape_that_players_show(
    tmp_path, config, num_workers, ratio, degrees, shape
):
    config.INFER.num_reader_threads = num_workers
    path = draw_video(tmp_path / "v.mp4", 20, height=96, width=128, sample_aspect_ratio=ratio)
    set_rotation(path, degrees)
    (record,) = run(config, [path], tmp_path / "out", overlay_video=str(tmp_path / "overlay.mp4"))
    overlay, stored = ffmpeg_frames(record["overlay_video"]), ffmpeg_frames(path)
    assert overlay.shape == (20, *shape, 3) and probe(record["overlay_video"]).sample_aspect_ratio == (1, 1)
    shown = [cv2.resize(frame, shape[::-1], interpolation=cv2.INTER_CUBIC) for frame in stored]
    below = slice(shape[0] // 3, None)  # the label is above
    assert np.abs(overlay[:, below].mean(-1) - np.array(shown)[:, below].mean(-1)).mean() < 8  # brightness
    times = [
        [float(f.pts * f.time_base) for f in av.open(str(f)).decode(video=0)] for f in (path, record["overlay_video"])
    ]
    np.testing.assert_allclose(times[1], times[0], atol=1e-4)


def test_the_network_is_given_the_same_windows_whatever_the_shape_of_pixels(tmp_path, config):
    clips = []
    path = draw_video(tmp_path / "v.mp4", 20, height=48, width=64, sample_aspect_ratio=(64, 51))
    for ratio in ((64, 51), (1, 1)):
        assert probe(set_pixel_aspect(path, ratio)).sample_aspect_ratio == ratio
        (windows,) = build_window_loader(config, [VideoItem(str(path), -1, 1)])
        clips.append(np.concatenate([views.clips(range(len(views))) for _, views in windows.batches(2)]))
    np.testing.assert_array_equal(*clips)


def packet_times(path, kind: str) -> list[float]:
    """When the packets of a file's first stream of a kind are shown or heard, ascending, in seconds."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(**{kind: 0}) if packet.size]
        return sorted(float(packet.pts * packet.time_base) for packet in packets)


@pytest.mark.parametrize(("suffix", "begin_seconds"), [("mp4", 0), ("mkv", 2)])
def test_the_overlay_keeps_times_and_audio(tmp_path, config, suffix, begin_seconds):
    silent, path = colour_video(tmp_path / "silent.mp4", [(0, 50)]), tmp_path / f"v.{suffix}"
    with av.open(str(silent)) as source, av.open(str(path), "w") as output:
        pictures = source.streams.video[0]
        video, audio = add_stream_like(output, pictures), output.add_stream("aac", rate=16000)
        for packet in source.demux(pictures):
            if packet.dts is not None:
                packet.stream = video
                packet.pts += 10 * packet.pts // packet.duration * (packet.duration // 4)  # 3.5 times slower
                packet.dts = min(packet.dts, packet.pts)
                delay = round(begin_seconds / packet.time_base)
                packet.pts, packet.dts = packet.pts + delay, packet.dts + delay
                output.mux(packet)
        tone = (np.sin(np.arange(32000) / 16000 * 440 * 6.28) * 8000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        frame.rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
        for packet in (*audio.encode(frame), *audio.encode(None)):
            delay = round(begin_seconds / packet.time_base)
            packet.pts, packet.dts = packet.pts + delay, packet.dts + delay
            output.mux(packet)
    (record,) = run(config, [path], tmp_path / "out", overlay_video=str(tmp_path / "overlays") + "/")
    assert Path(record["overlay_video"]) == tmp_path / "overlays/v.mp4"
    with av.open(str(path)) as before, av.open(record["overlay_video"]) as after:
        times = [[float(f.pts * f.time_base) for f in c.decode(video=0)] for c in (before, after)]
        np.testing.assert_allclose(times[1], np.array(times[0]) - times[0][0], atol=2e-3)
    heard = [
        packet_times(file, "audio")[0] - packet_times(file, "video")[0] for file in (path, record["overlay_video"])
    ]
    assert heard[1] == pytest.approx(heard[0], abs=2e-3)
    tracks = []
    for file in (path, record["overlay_video"]):
        with av.open(str(file)) as container:
            tracks.append(np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)]))
    np.testing.assert_array_equal(tracks[0], tracks[1])


def test_the_overlay_s_last_frame_is_shown_as_long_as_it_was(tmp_path, config):
    even = colour_video(tmp_path / "even.mp4", [(0, 20)], options={"preset": "ultrafast", "bf": "0"})

    def let_last(packets):
        packets[-1].duration = round(1 / packets[-1].time_base)

    path = copy_video(even, tmp_path / "v.mp4", let_last)
    (record,) = run(config, [path], tmp_path / "out", overlay_video=str(tmp_path / "overlay.mp4"))
    with av.open(record["overlay_video"]) as container:
        last = max((p for p in container.demux(video=0) if p.size), key=lambda packet: packet.pts)
        assert float(last.duration * last.time_base) == pytest.approx(1.0, abs=1e-3)


def test_an_overlay_does_not_replace_its_video(tmp_path, config):
    path = colour_video(tmp_path / "v.mp4", [(0, 20)])
    before = path.read_bytes()
    with pytest.raises(UserError, match="the video itself"):
        run(config, [path], tmp_path / "out", overlay_video=str(path))
    assert path.read_bytes() == before


def test_a_font_of_boxes_does_not_stand_for_one_that_has_the_characters():
    from matplotlib import font_manager

    from inference import overlay

    boxes = {font.fname for font in font_manager.fontManager.ttflist if "Last Resort" in font.name}
    assert not boxes & set(overlay._known_fonts())
    nobody_has = "\U000e0fff"
    assert overlay.find_font(nobody_has) == "" and overlay.drawable_names([nobody_has]) == {nobody_has: "?"}


def test_names_that_no_font_has_are_told_and_still_drawn(tmp_path, config, monkeypatch):
    from inference import overlay

    own = overlay._known_fonts()[:1]
    monkeypatch.setattr(overlay, "_known_fonts", lambda: own)
    assert overlay.drawable_names(["green 绿", "blue"]) == {"green 绿": "green ?", "blue": "blue"}
    assert overlay.find_font("naïve Ж") == own[0]
    wide = np.zeros((40, 60, 3), np.uint8)
    overlay.draw_label(wide, "a very long class name " * 5)
    assert wide.max() > 100


@pytest.mark.parametrize("views", ["1x1", "1x3"])
def test_scores_from_a_later_group_on_are_those_of_the_whole_video(tmp_path, config, views):
    """Bit for bit, and no frame before the group is read."""
    path = colour_video(tmp_path / "v.mp4", [(0, 30), (1, 30), (2, 40)])
    config.INFER.batch_size = 6
    (windows,) = build_window_loader(config, [VideoItem(str(path), -1, 1)], views=views)
    groups = list(window_scores(windows, ColourBackend(), 6))
    size = 6 if views == "1x1" else 2
    assert [part.start for part, _ in groups] == list(range(0, len(windows), size)) and len(groups) > 3
    rest = list(window_scores(windows, ColourBackend(), 6, first_group=2))
    assert [part for part, _ in rest] == [part for part, _ in groups[2:]]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(rest, groups[2:]))
    assert windows.numbers(2 * size)[0] == windows.starts[2 * size] > windows.numbers()[0] == 0
