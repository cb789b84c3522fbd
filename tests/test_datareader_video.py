import os
import shutil
import subprocess
import sys
import time

import av
import imageio_ffmpeg
import numpy as np
import pytest
from video_factory import (
    draw_video,
    ffmpeg_frames,
    frame_numbers,
    set_pixel_aspect,
    set_rotation,
    truncate,
    write_video,
)

from datareader.decoding import pixel_aspect
from datareader.decoding.packet_index import PacketIndex, plan
from datareader.video import Limits, VideoError, display_size, probe, read_chosen, read_frames
from utils.errors import UserError

ENCODINGS = {
    "h264_b.mp4": {},
    "h264_no_b.mp4": {"options": {"preset": "ultrafast", "g": "10", "bf": "0"}},
    "open_group.mkv": {"options": {"preset": "veryfast", "x264-params": "keyint=9:open-gop=1:bframes=3"}},
    "one_key.mp4": {"options": {"preset": "veryfast", "x264-params": "keyint=infinite:bframes=3"}},
    "refresh.mp4": {"options": {"preset": "veryfast", "x264-params": "keyint=10:intra-refresh=1:bframes=0"}},
    "h264.ts": {},
    "h264_b.avi": {},
    "ten_bit.mp4": {"pix_fmt": "yuv420p10le"},
    "full.mp4": {"pix_fmt": "yuv444p"},
    "hevc.mp4": {
        "codec": "libx265",
        "options": {"preset": "ultrafast", "x265-params": "log-level=none:keyint=9:pools=1"},
    },
    "mpeg4.avi": {"codec": "mpeg4"},
    "mpeg4_b.avi": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}},
    "vp8.webm": {"codec": "libvpx", "options": {"g": "12", "deadline": "realtime", "cpu-used": "8"}},
    "vp9.webm": {
        "codec": "libvpx-vp9",
        "options": {"g": "12", "deadline": "good", "cpu-used": "8", "lag-in-frames": "8"},
    },
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("videos")


def selections(num_frames):
    rng = np.random.default_rng(7)
    yield np.arange(num_frames)
    yield np.array([num_frames - 1])
    yield np.array([5, 5, 3])
    for _ in range(6):
        yield rng.integers(0, num_frames, (2, 3))
        yield (int(rng.integers(num_frames)) + np.arange(5) * 8) % num_frames


@pytest.mark.parametrize("name", ENCODINGS)
def test_any_selection_equals_ffmpegs_frames(folder, name):
    encoding = ENCODINGS[name]
    if encoding.get("codec", "libx264") not in av.codecs_available:
        pytest.skip("this FFmpeg cannot draw it")
    path = draw_video(folder / name, num_frames=40, **encoding)
    truth = ffmpeg_frames(path)
    assert frame_numbers(truth) == list(range(40))
    assert probe(path).num_frames == 40
    for indices in selections(40):
        difference = np.abs(read_frames(path, indices).astype(int) - truth[indices])
        limit = 2 if encoding.get("codec") == "mpeg4" else 0  # its inverse transform was changed between FFmpeg 7 and 8
        assert difference.max() <= limit
        assert difference.mean() < 0.001


@pytest.mark.parametrize("decoder", ["decord", "opencv"])
@pytest.mark.parametrize("name", ["h264_b.mp4", "h264_no_b.mp4", "mjpeg.avi"])
def test_other_decoders_on_plain_files(folder, decoder, name):
    pytest.importorskip({"decord": "decord", "opencv": "cv2"}[decoder])
    path = draw_video(folder / f"{decoder}_{name}", num_frames=40, **ENCODINGS[name])
    truth = ffmpeg_frames(path)
    for indices in selections(40):
        difference = read_frames(path, indices, decoder).astype(int) - truth[indices]
        assert np.abs(difference).mean() < 1
        assert frame_numbers(read_frames(path, indices, decoder)) == indices.reshape(-1).tolist()


def test_only_what_is_needed_is_decoded(folder, monkeypatch):
    import datareader.decoding.pyav_backend as backend

    path = draw_video(folder / "skips.mp4", num_frames=60)
    decoded = []
    monkeypatch.setattr(backend, "_read_all", lambda *_: pytest.fail("fell back to decoding everything"))
    whole = backend._decode_span

    def counting(context, span, packets, *rest):
        decoded.extend(packets)
        whole(context, span, packets, *rest)

    monkeypatch.setattr(backend, "_decode_span", counting)
    assert frame_numbers(read_frames(path, [2, 50])) == [2, 50]
    assert 0 < len(decoded) < 25  # a key frame every 12


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_upright(folder, degrees):
    path = set_rotation(draw_video(folder / f"turned{degrees}.mp4", num_frames=20), degrees)
    info, truth = probe(path), ffmpeg_frames(path)
    assert (info.height, info.width) == truth.shape[1:3] == ((64, 84) if degrees % 180 == 0 else (84, 64))
    np.testing.assert_array_equal(read_frames(path, [3, 11]), truth[[3, 11]])


@pytest.mark.parametrize(
    ("name", "encoding"),
    [("wide.mp4", {}), ("wide.mkv", {}), ("wide.ts", {}), ("wide.avi", {"codec": "mpeg4"}), ("wide.mov", {})],
)
@pytest.mark.parametrize("ratio", [(64, 51), (8, 9)])
def test_probe_tells_the_shape_in_which_players_show_pixels_that_are_not_square(folder, name, encoding, ratio):
    path = draw_video(folder / name, num_frames=8, height=128, width=170, sample_aspect_ratio=ratio, **encoding)
    info = probe(path)
    assert info.sample_aspect_ratio == ratio and (info.height, info.width) == (128, 170)
    assert info.display_size == {(64, 51): (128, 213), (8, 9): (144, 170)}[ratio]
    assert probe(draw_video(folder / f"plain_{name}", num_frames=8, **encoding)).sample_aspect_ratio == (1, 1)


def test_the_pixels_of_a_turned_video_are_turned_with_it(folder):
    for degrees in (0, 90, 180, 270):
        path = draw_video(folder / f"turned_wide{degrees}.mp4", num_frames=4, sample_aspect_ratio=(4, 3))
        info = probe(set_rotation(path, degrees))
        turned = degrees % 180 == 90
        assert info.sample_aspect_ratio == ((3, 4) if turned else (4, 3))
        assert info.display_size == ((112, 64) if turned else (64, 112))
        assert pixel_aspect(str(path), Limits()) == info.sample_aspect_ratio


def test_an_impossible_pixel_shape_is_taken_for_square_and_a_display_size_has_a_limit(folder):
    path = draw_video(folder / "odd.mp4", num_frames=4, sample_aspect_ratio=(200, 1))
    assert probe(path).sample_aspect_ratio == (1, 1) == pixel_aspect(str(path), Limits())
    assert display_size(4096, 8192, (2, 1)) == (2048, 8192) and display_size(8192, 4096, (1, 2)) == (8192, 2048)


@pytest.mark.parametrize("decoder", ["pyav", "opencv", "decord"])
def test_frames_are_the_stored_pixels_whatever_their_shape(folder, decoder):
    pytest.importorskip({"decord": "decord", "opencv": "cv2", "pyav": "av"}[decoder])
    wide, square = folder / f"anamorphic_{decoder}.mp4", folder / f"square_{decoder}.mp4"
    draw_video(wide, num_frames=20, sample_aspect_ratio=(64, 51))
    shutil.copy(wide, square)  # not drawn twice: two encodings of x264 may differ by a few bytes
    set_pixel_aspect(square, (1, 1))
    assert (probe(wide).sample_aspect_ratio, probe(square).sample_aspect_ratio) == ((64, 51), (1, 1))
    frames = read_frames(wide, [0, 7, 19], decoder)
    np.testing.assert_array_equal(frames, read_frames(square, [0, 7, 19], decoder))
    if decoder == "pyav":
        np.testing.assert_array_equal(frames, ffmpeg_frames(wide)[[0, 7, 19]])


def test_probe_tells_rate_and_length(folder):
    info = probe(draw_video(folder / "rate.mp4", num_frames=50, fps=10))
    assert info.num_frames == 50
    assert info.fps == pytest.approx(10)
    assert info.duration_seconds == pytest.approx(5)
    assert (info.codec, info.variable_rate, info.warning) == ("h264", False, "")


def test_indices_are_chosen_again_when_the_count_was_wrong(folder):
    path = draw_video(folder / "cut.avi", num_frames=60, codec="mpeg4", options={"g": "12", "bf": "2"})
    truncate(path, 0.6)
    asked = []

    def choose(num_frames):
        asked.append(num_frames)
        return np.array([0, num_frames // 2, num_frames - 1])

    reading = read_chosen(path, choose)
    truth = ffmpeg_frames(path)
    assert reading.num_frames == asked[-1] == len(truth) < 60
    assert reading.warning
    np.testing.assert_array_equal(reading.taken(), truth[[0, len(truth) // 2, len(truth) - 1]])


def copy_packets(source_path, target_path, options):
    with av.open(str(source_path)) as source, av.open(str(target_path), "w", options=options) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)


def test_a_cut_mp4_gives_what_is_whole_and_says_so(folder):
    path = draw_video(folder / "cut.mp4", num_frames=60, options={"preset": "veryfast", "g": "12", "bf": "2"})
    moved = folder / "cut_fast.mp4"
    copy_packets(path, moved, {"movflags": "faststart"})
    truncate(moved, 0.6)
    reading = read_chosen(moved, lambda n: np.arange(n))
    truth = ffmpeg_frames(moved)
    assert 10 < len(truth) < 60
    assert "damaged or cut off" in reading.warning
    np.testing.assert_array_equal(reading.taken(), truth)


def test_frames_beyond_the_end_are_refused(folder):
    path = draw_video(folder / "short.mp4", num_frames=8)
    with pytest.raises(VideoError, match=r"frame 8 is wanted, the video has 8"):
        read_frames(path, [0, 8])
    with pytest.raises(VideoError):
        read_frames(path, [-1])


def bad_files(folder):
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("no video\n" * 50)
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "list.mp4").write_text("#EXTM3U\n#EXTINF:3,\nh264_b.mp4\n#EXT-X-ENDLIST\n")
    (folder / "concat.mp4").write_text("ffconcat version 1.0\nfile h264_b.mp4\n")
    (folder / "net.sdp").write_text("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n")
    os.mkdir(folder / "dir.mp4")
    os.mkfifo(folder / "fifo.mp4")
    os.symlink("nowhere", folder / "dangling.mp4")
    os.symlink("loop.mp4", folder / "loop.mp4")
    os.symlink("/dev/zero", folder / "zero.mp4")
    names = ["empty", "text", "noise", "list", "concat", "dir", "fifo", "dangling", "loop", "zero", "missing"]
    return [folder / f"{name}.mp4" for name in names] + [folder / "net.sdp"]


@pytest.mark.parametrize("decoder", ["pyav", "decord", "opencv"])
def test_what_is_no_video_is_told_in_one_line_at_once(tmp_path, decoder):
    pytest.importorskip({"decord": "decord", "opencv": "cv2", "pyav": "av"}[decoder])
    draw_video(tmp_path / "h264_b.mp4", num_frames=8)
    for path in bad_files(tmp_path):
        if decoder == "decord" and path.name in ("noise.mp4", "text.mp4"):
            continue  # decord writes to stderr about these
        with pytest.raises(VideoError) as caught:
            read_frames(path, [0], decoder)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)


NAMES = ["with space.mp4", "视频 é.mp4", "-dash.mp4", "new\nline.mp4", "http:x.mp4", "concat:a.mp4", "pct%03d.mp4"]


@pytest.mark.parametrize("name", [*NAMES, "#hash?.mp4", "[glob]*.mp4", "no_extension"])
def test_any_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    draw_video("plain.mp4", num_frames=8)
    os.rename("plain.mp4", name)
    assert frame_numbers(read_frames(name, [3])) == [3]


def test_bytes_that_are_no_utf8_in_a_name(tmp_path):
    draw_video(tmp_path / "plain.mp4", num_frames=8)
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.mp4")
    os.rename(tmp_path / "plain.mp4", name)
    assert frame_numbers(read_frames(name, [3])) == [3]
    with pytest.raises(VideoError) as caught:
        read_frames(name, [99])
    str(caught.value).encode()


def test_a_cover_picture_is_passed_over(tmp_path):
    path = tmp_path / "cover.mp4"
    draw_video(tmp_path / "plain.mp4", num_frames=8)
    write_video(tmp_path / "cover.avi", np.zeros((1, 32, 32, 3), np.uint8), codec="mjpeg", pix_fmt="yuvj420p")
    sources = [av.open(str(tmp_path / name)) for name in ("cover.avi", "plain.mp4")]
    with av.open(str(path), "w") as target:
        streams = [target.add_stream_from_template(source.streams.video[0]) for source in sources]
        streams[0].disposition = av.stream.Disposition.attached_pic.value
        for source, stream in zip(sources, streams):
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    target.mux(packet)
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 2
    assert frame_numbers(read_frames(path, [3])) == [3]


def test_limits(folder):
    path = draw_video(folder / "limits.mp4", num_frames=30)
    with pytest.raises(VideoError, match="the limit is"):
        read_frames(path, [0], limits=Limits(max_pixels=1000))
    with pytest.raises(VideoError, match="the limit is"):
        read_frames(path, [0], limits=Limits(max_packets=20))
    with pytest.raises(VideoError, match="the limit is"):
        read_frames(path, [0, 1], limits=Limits(max_bytes=20000))
    with pytest.raises(VideoError, match="took longer than"):
        read_frames(path, [0], limits=Limits(seconds=1e-9))


def test_a_header_that_promises_too_much_is_refused_before_room_is_made(folder):
    path = draw_video(folder / "bomb.mp4", num_frames=10)
    data = bytearray(path.read_bytes())
    place = data.index(b"stsz") + 12
    data[place - 4 : place] = (1).to_bytes(4, "big")
    data[place : place + 4] = (0x10000000).to_bytes(4, "big")
    path.write_bytes(data)
    start = time.monotonic()
    with pytest.raises(VideoError, match="promises 268435456"):
        read_frames(path, [0])
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("seconds_later", ["0", "3"])  # with times that repeat, and with times that allow seeking
def test_a_frame_of_another_size_is_brought_to_the_first_ones(folder, seconds_later):
    large = draw_video(folder / "large.ts", num_frames=20)
    small = draw_video(folder / "small.ts", num_frames=20, height=32, width=42)
    later, both = folder / "later.ts", folder / "both.ts"
    copy_packets(small, later, {"output_ts_offset": seconds_later})
    both.write_bytes(large.read_bytes() + later.read_bytes())
    frames = read_chosen(both, lambda n: np.array([2, n - 2])).taken()
    assert frames.shape == (2, 64, 84, 3)
    assert frame_numbers(frames) == [2, 18]
    alone = read_chosen(both, lambda n: np.array([n - 2])).taken()  # whatever else is wanted
    assert np.array_equal(alone[0], frames[1])
    assert np.array_equal(alone[0], ffmpeg_frames(both)[-2])


def test_long_streams_are_read_from_the_file_a_second_time(folder, monkeypatch):
    import datareader.decoding.packet_index

    path = draw_video(folder / "long.mp4", num_frames=60)
    monkeypatch.setattr(datareader.decoding.packet_index, "KEPT_BYTES", 1000)
    assert frame_numbers(read_frames(path, [50, 2, 31])) == [50, 2, 31]


def test_an_unknown_decoder_and_a_missing_package(folder, monkeypatch):
    path = draw_video(folder / "any.mp4", num_frames=8)
    with pytest.raises(UserError, match="unknown decoder"):
        read_frames(path, [0], "ffms2")
    monkeypatch.setitem(sys.modules, "decord", None)
    monkeypatch.delitem(sys.modules, "datareader.decoding.decord_backend", raising=False)
    with pytest.raises(UserError, match="pip install decord"):
        read_frames(path, [0], "decord")


def test_the_package_does_not_import_paddle():
    code = "import sys, datareader; sys.exit(any(m in sys.modules for m in ('paddle', 'av', 'decord')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=os.path.dirname(os.path.dirname(__file__))).returncode == 0


def test_a_leading_picture_is_decoded_from_the_key_frame_before_its_own():
    """An open group: the packets after its key frame that are shown before it refer to the group before."""
    pts = np.array([0, 2, 1, 6, 4, 5, 7])  # packet 3 is a key frame, 4 and 5 are its leading pictures
    index = PacketIndex(np.argsort(pts), pts, np.array([0, 3]), "", False, None, 1)
    for frame, packet, first in ((0, 0, 0), (3, 4, 0), (4, 5, 0), (5, 3, 3), (6, 6, 3)):
        (span,) = plan(index, np.array([frame]))
        assert (span.first, span.last, span.wanted) == (first, packet, {pts[packet]})
    assert plan(PacketIndex(np.argsort(pts[3:]), pts[3:], np.array([0]), "", False, None, 1), np.array([0])) is None


def test_damage_that_a_decoder_could_paint_over_is_told(folder):
    path = draw_video(folder / "damaged.mpg", 60, codec="mpeg2video")
    data, told = path.read_bytes(), 0
    for seed in range(20):
        rng, changed = np.random.default_rng(seed), bytearray(data)
        for place in rng.integers(0, 40, 4) + rng.integers(len(data) // 4, len(data) - 50):
            changed[place] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        reading = read_chosen(path, lambda count: np.arange(0, count, 7))
        told += reading.warning.startswith("damaged")
    assert told >= 10  # some changes make another video that is as good


def test_frames_that_an_edit_list_cuts_off_are_not_there(folder, tmp_path):
    """FFmpeg cuts without encoding: the packets from the key frame before stay in the file and are not shown."""
    path, cut = draw_video(folder / "whole.mp4", 60), tmp_path / "cut.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-ss", "0.6", "-i", str(path), "-c", "copy", str(cut)]
    subprocess.run(command, check=True)
    truth = ffmpeg_frames(cut)
    assert frame_numbers(truth[:1]) == [15] and probe(cut).num_frames == len(truth) == 45
    reading = read_chosen(cut, lambda count: np.arange(0, count, 4))
    np.testing.assert_array_equal(reading.frames, truth[::4])
    assert (reading.num_frames, reading.warning) == (45, "")  # nothing about packets without a frame
