"""The cache of flow: codes, files, manifests, folders of other programs, and what happens to broken ones."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from video_factory import draw_frame, draw_video, truncate

from configs import load_config
from datareader import Reading, VideoError, VideoItem, build_view_loader, decoding
from datareader.flow import codes
from datareader.flow.cache import CachedFlow, cache_file, relative_path
from datareader.flow.extraction import ExtractFlow
from datareader.flow.manifest import manifest_path, read_manifest
from datareader.flow.methods import FlowProvenance, compute_flow
from datareader.flow.source import ComputedFlow, configured_source
from datareader.requests import ReaderSettings
from utils.errors import RunError, UserError

PROVENANCE = FlowProvenance("dis", bound=20.0, short_side=64, frame_rate=None)
READER = ReaderSettings()
HEIGHT, WIDTH, NUM_FLOWS = 31, 45, 30
STEP = 1 / 127  # of the codes
SIZES = ((64, 84), (96, 120))


class GivenFlow:
    """A source of flow that is given: float32 [n, h, w, 2]."""

    provenance = PROVENANCE

    def __init__(self, flow):
        self.flow = flow

    def read(self, path, choose, reader, prepare):
        indices = np.asarray(choose(len(self.flow)))
        numbers = np.unique(indices)
        frames = np.stack([prepare(self.flow[number]) for number in numbers])
        return Reading(frames, numbers, indices, len(self.flow))


@pytest.fixture(scope="module")
def flow():
    """A smooth field that moves, with a still part and values at both ends of the range."""
    t, y, x = np.mgrid[0:NUM_FLOWS, 0:HEIGHT, 0:WIDTH]
    field = np.stack([np.sin((x + t) / 9), np.cos((y - 2 * t) / 7)], -1).astype(np.float32)
    field[:, :8] = 0
    return field


@pytest.fixture
def video(tmp_path):
    return str(draw_video(tmp_path / "videos" / "a.mp4", NUM_FLOWS + 1))


def extract(video, cache, flow, crf=0):
    """The file, written."""
    file = cache_file(cache, "a.mp4", "dis", "npz" if crf is None else "h264")
    ExtractFlow(video, "a.mp4", str(file), GivenFlow(flow), crf, READER).read()
    return file


def read(cache, path, indices=range(NUM_FLOWS), provenance=PROVENANCE):
    return CachedFlow(str(cache), provenance).read(path, lambda n: np.array(indices), READER, lambda field: field)


@pytest.mark.parametrize("method", ["dis", "dis_fast", "farneback"])
def test_flow_depends_on_its_pair_alone(method):
    """Else the flow of a cache, computed in order, is not that of clips."""
    frames = {size: [cv2.cvtColor(draw_frame(i, *size), cv2.COLOR_RGB2GRAY) for i in range(6)] for size in SIZES}
    pairs = [(size, i) for size in SIZES for i in range(5)]
    flow = {(size, i): compute_flow(method, *frames[size][i : i + 2]) for size, i in pairs}
    for size, i in np.random.default_rng(0).permutation(np.array(pairs, object)):
        np.testing.assert_array_equal(compute_flow(method, *frames[size][i : i + 2]), flow[size, i])


def test_codes_are_symmetric_about_128_and_half_a_step_off_at_most():
    pixels = np.array([0.0, -0.0, 20.0, -20.0, 35.0, -35.0, 0.157, -0.157, 1e-4])
    assert codes.encode(pixels / 20).tolist() == [128, 128, 255, 1, 255, 1, 129, 127, 128]
    values = np.random.default_rng(0).uniform(-1, 1, 10000).astype(np.float32)
    coded = codes.encode(values)
    by_formula = [min(max(round(v * 127) + 128, 1), 255) for v in values.tolist()]
    assert (coded.dtype, coded.tolist()) == (np.uint8, by_formula)
    assert np.array_equal(codes.encode(-values), 256 - coded.astype(int))
    decoded = codes.decode(coded)
    assert decoded.dtype == np.float32 and np.abs(decoded - values).max() <= STEP / 2 + 1e-6
    assert codes.decode(np.array([0, 1, 128, 255], np.uint8)).tolist() == [-1, -1, 0, 1]
    assert np.array_equal(codes.encode(codes.decode(np.arange(1, 256, dtype=np.uint8))), np.arange(1, 256))


def test_luma_is_read_as_it_is_stored(tmp_path):
    """Also of a limited-range file, whose RGB is another: compared with the planes of PyAV's own decoder."""
    import av

    path = draw_video(tmp_path / "a.mp4", 20)
    with av.open(str(path)) as container:
        planes = [frame.to_ndarray()[: frame.height] for frame in container.decode(video=0)]
    reading = decoding.read_luma(str(path), lambda n: np.array([[13, 2], [2, n - 1]]))
    assert np.array_equal(reading.taken(), np.stack([[planes[13], planes[2]], [planes[2], planes[19]]]))


@pytest.mark.parametrize("crf", [0, None])
@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (1, 1)])
def test_lossless_files_hold_the_codes_exactly(video, tmp_path, flow, crf, size):
    flow = flow[:, : size[0], : size[1]]
    file = extract(video, tmp_path / "cache", flow, crf)
    reading = read(tmp_path / "cache", video, [[7, 3], [3, NUM_FLOWS - 1]])
    expected = codes.decode(codes.encode(flow))
    assert np.array_equal(reading.taken(), expected[[[7, 3], [3, NUM_FLOWS - 1]]])
    assert reading.taken().dtype == np.float32 and reading.num_frames == NUM_FLOWS
    assert np.array_equal(read(tmp_path, str(file)).taken(), expected)  # a list of the files themselves
    with pytest.raises(UserError, match="is flow already; set READER.flow_cache"):
        ComputedFlow(PROVENANCE).read(str(file), np.arange, READER, lambda field: field)


def test_a_lossy_file_is_smaller_and_near(video, tmp_path, flow):
    exact = extract(video, tmp_path / "cache", flow, 0).stat().st_size
    lossy = extract(video, tmp_path / "cache", flow, 10)
    error = np.abs(read(tmp_path / "cache", video).taken() - flow) * 20
    assert lossy.stat().st_size < exact and error.mean() < 0.1


def test_long_videos_are_computed_in_chunks_without_a_seam(video, tmp_path, flow, monkeypatch):
    monkeypatch.setattr("datareader.flow.extraction.CHUNK", 10)
    for num_flows in (1, 9, 10, 11, 30):
        extract(video, tmp_path / "cache", flow[:num_flows])
        expected = codes.decode(codes.encode(flow[:num_flows]))
        assert np.array_equal(read(tmp_path / "cache", video, range(num_flows)).taken(), expected)


CHANGES = {"8 flows, after 10 were computed": lambda flow: flow[:8], "another size": lambda flow: flow[:, 1:]}


@pytest.mark.parametrize("message", CHANGES)
def test_a_video_that_changes_while_it_is_computed_is_broken(video, tmp_path, flow, monkeypatch, message):
    monkeypatch.setattr("datareader.flow.extraction.CHUNK", 10)
    source = GivenFlow(flow)

    def read(path, choose, reader, prepare):
        reading = GivenFlow.read(source, path, choose, reader, prepare)
        source.flow = CHANGES[message](flow)
        return reading

    source.read = read
    with pytest.raises(VideoError, match=message):
        ExtractFlow(video, "a.mp4", str(tmp_path / "a"), source, 0, READER).read()
    assert not (tmp_path / "a").exists()


def test_a_manifest_says_what_was_computed_from_what(video, tmp_path, flow):
    file = extract(video, tmp_path / "cache", flow, 10)
    content = json.loads(Path(f"{file}.json").read_text())
    assert content["provenance"] == PROVENANCE.as_dict() and content["source"] == "a.mp4"
    assert (content["num_flows"], content["height"], content["width"]) == (NUM_FLOWS, HEIGHT, WIDTH)
    assert (content["format"], content["crf"]) == ("h264", 10)
    assert content["source_bytes"] == os.path.getsize(video)
    assert content["file_bytes"] == os.path.getsize(file)


@pytest.mark.parametrize(("name", "asked"), [("bound", 10.0), ("short_side", 256), ("frame_rate", 25.0)])
def test_flow_of_other_settings_is_an_error_that_names_both(video, tmp_path, flow, name, asked):
    extract(video, tmp_path / "cache", flow)
    with pytest.raises(UserError, match=rf"{name} {getattr(PROVENANCE, name)}, {name} {asked} is asked") as caught:
        read(tmp_path / "cache", video, provenance=replace(PROVENANCE, **{name: asked}))
    assert not isinstance(caught.value, VideoError)  # the whole cache is of them, not this video


def test_flow_of_another_method_or_of_none(video, tmp_path, flow):
    with pytest.raises(UserError, match="flow_cache .*cache is no folder"):
        read(tmp_path / "cache", video)
    extract(video, tmp_path / "cache", flow)
    with pytest.raises(UserError, match="a.mp4.dis.flow.mp4 is of another method than READER.flow_method tvl1"):
        read(tmp_path / "cache", video, provenance=replace(PROVENANCE, method="tvl1"))
    with pytest.raises(VideoError, match="b.mp4: no dis flow of it"):
        read(tmp_path / "cache", video.replace("a.mp4", "b.mp4"))


def test_flow_of_another_video_of_the_same_name(video, tmp_path, flow):
    extract(video, tmp_path / "cache", flow)
    draw_video(video, 5)
    with pytest.raises(
        VideoError, match=rf"another video: this one is {os.path.getsize(video)} bytes, it is \d+ bytes"
    ):
        read(tmp_path / "cache", video)
    os.unlink(video)  # a cache can travel without the videos
    assert read(tmp_path / "cache", video).num_frames == NUM_FLOWS


def damage(file, how):
    manifest = manifest_path(file)
    content = json.loads(manifest.read_text())
    if how in ("empty", "half"):
        truncate(file, {"empty": 0, "half": 0.5}[how])
    elif how == "middle":
        data = bytearray(file.read_bytes())
        data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
        file.write_bytes(data)
    elif how == "no manifest":
        manifest.unlink()
    elif how == "text":
        manifest.write_text("{")
    elif how == "list":
        manifest.write_text("[]")
    elif how == "counts":
        manifest.write_text(json.dumps({**content, "num_flows": NUM_FLOWS - 1}))
    elif how == "size":
        manifest.write_text(json.dumps({**content, "height": HEIGHT + 1}))


DAMAGES = {
    "empty": "0 bytes",
    "half": "cut off",
    "middle": "damaged|broken",
    "no manifest": "json is missing",
    "text": "no json",
    "list": "none of version 1",
    "counts": "30.*29",
    "size": "31.*32|62.*64",
}


@pytest.mark.parametrize("crf", [0, None])
@pytest.mark.parametrize("how", DAMAGES)
def test_a_broken_file_is_named_with_the_way_to_mend_it(video, tmp_path, flow, crf, how):
    file = extract(video, tmp_path / "cache", flow, crf)
    damage(file, how)
    with pytest.raises(VideoError, match=DAMAGES[how]) as caught:
        read(tmp_path / "cache", video)
    assert caught.value.path == video and str(file) in str(caught.value)
    assert "tools/extract_flow.py --overwrite" in str(caught.value)


def test_npz_with_objects_is_refused(video, tmp_path, flow):
    """Nothing is unpickled."""
    file = extract(video, tmp_path / "cache", flow, None)
    np.savez_compressed(file, flow=np.array([{"a": 1}] * NUM_FLOWS, object))
    manifest = json.loads(manifest_path(file).read_text())
    manifest_path(file).write_text(json.dumps({**manifest, "file_bytes": file.stat().st_size}))
    with pytest.raises(VideoError, match="holds object"):
        read(tmp_path / "cache", video)


def test_a_full_disk_leaves_no_part_of_a_file(video, tmp_path, flow, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("utils.files.os.fsync", full)
    with pytest.raises(RunError, match="cannot write .*a.mp4.dis.flow.mp4: No space left"):
        extract(video, tmp_path / "cache", flow)
    assert list((tmp_path / "cache").iterdir()) == []


def write_pairs(folder, planes, prefix=""):
    """As mmaction2 (prefix "") and denseflow ("flow_") name them: uint8 [n, h, w, 2]."""
    folder.mkdir(parents=True)
    for number, pair in enumerate(planes, 1):
        for plane, name in enumerate("xy"):
            cv2.imwrite(
                str(folder / f"{prefix}{name}_{number:05d}.jpg"), pair[..., plane], [cv2.IMWRITE_JPEG_QUALITY, 100]
            )


@pytest.mark.parametrize("prefix", ["", "flow_"])
def test_folders_of_other_programs_are_read_by_their_rule(tmp_path, flow, prefix):
    pixels = flow * 20
    planes = np.floor((np.clip(pixels, -20, 20) + 20) * 255 / 40).astype(np.uint8)
    write_pairs(tmp_path / "rawframes" / "class" / "a", planes, prefix)
    cv2.imwrite(str(tmp_path / "rawframes" / "class" / "a" / "img_00001.jpg"), np.zeros((8, 8, 3), np.uint8))
    for path in ("/somewhere/class/a.avi", str(tmp_path / "rawframes" / "class" / "a")):
        reading = read(tmp_path / "rawframes", path, [4, 20])
        error = np.abs(reading.taken() - (planes[[4, 20]] / 127.5 - 1))
        assert error.max() <= 1 / 127.5 + 1e-6
        assert reading.num_frames == NUM_FLOWS
        assert np.abs(reading.taken() - flow[[4, 20]]).mean() < 1 / 127.5


def test_broken_folders_of_other_programs(tmp_path, flow):
    planes = codes.encode(flow[:3])
    folder = tmp_path / "a"
    write_pairs(folder, planes)
    (folder / "y_00002.jpg").rename(folder / "kept")
    with pytest.raises(VideoError, match="frame 2 is missing"):
        read(tmp_path, "a.mp4", [0])
    (folder / "y_00003.jpg").rename(folder / "y_00002.jpg")
    with pytest.raises(VideoError, match="3 files of the x plane, 2 of the y plane"):
        read(tmp_path, "a.mp4", [0])
    (folder / "kept").rename(folder / "y_00003.jpg")
    for number in (1, 2, 3):
        cv2.imwrite(str(folder / f"y_0000{number}.jpg"), planes[0, 1:, :, 1])
    with pytest.raises(VideoError, match="x_00003.jpg and y_00003.jpg are of different sizes"):
        read(tmp_path, "a.mp4", [2])
    (folder / "x_00002.jpg").write_bytes(b"\xff\xd8 not a picture")
    with pytest.raises(VideoError, match="x_00002.jpg: a broken JPEG"):
        read(tmp_path, "a.mp4", [1])


def test_paths_in_the_cache_follow_the_list(tmp_path, flow, video):
    assert relative_path("lists/c/a.mp4", "lists") == "c/a.mp4"
    assert relative_path("/data/c/a.mp4", "/data/lists") == "data/c/a.mp4"
    assert relative_path("videos/a.mp4", "lists") == "videos/a.mp4"
    assert relative_path("a.mp4", "") == "a.mp4"
    # whatever the list said, the reader finds it: the longest end of the video's path that the cache holds
    for relative in (relative_path(video, str(tmp_path)), relative_path(video, "lists")):
        file = cache_file(tmp_path / relative[:3], relative, "dis", "h264")
        ExtractFlow(video, relative, str(file), GivenFlow(flow), 10, READER).read()
        assert read(tmp_path / relative[:3], video).num_frames == NUM_FLOWS
        assert read_manifest(file).source == relative


def test_videos_to_predict_need_no_cache(tmp_path, flow, video):
    """A new video, also one of a known name, is computed; what the cache holds is read."""
    extract(video, tmp_path / "cache", flow)
    config = load_config("configs/demo_flow.yaml", [f"READER.flow_cache={tmp_path / 'cache'}"])
    config.READER.flow_method, config.READER.flow_short_side = "dis", 64
    infer = configured_source(config, computes_missing=True)
    computed = ComputedFlow(infer.provenance)

    def fields(source, path):
        return source.read(str(path), lambda n: np.arange(3), READER, lambda field: field).frames

    new, same_name = draw_video(tmp_path / "b.mp4", 9), draw_video(tmp_path / "other" / "a.mp4", 12)
    for path in (new, same_name):
        np.testing.assert_array_equal(fields(infer, path), fields(computed, path))
        np.testing.assert_array_equal(fields(infer.reversed(), path), fields(computed.reversed(), path))
    np.testing.assert_allclose(fields(infer, video), flow[:3], atol=STEP / 2 + 1e-6)
    loaders = [build_view_loader(config, [VideoItem(video, 0, 1)], section=section) for section in ("INFER", "TEST")]
    assert [loader.source.computed for loader in loaders] == [computed, None]
