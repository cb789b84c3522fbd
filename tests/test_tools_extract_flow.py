"""tools/extract_flow.py: resumes, names broken videos, leaves whole files only, whatever ends it."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
from video_factory import draw_video

import tools.extract_flow
from configs import load_config
from datareader import build_train_loader, read_list
from datareader.flow.cache import CachedFlow
from datareader.flow.manifest import read_manifest
from datareader.flow.methods import FlowProvenance
from datareader.flow.source import ComputedFlow
from datareader.requests import ReaderSettings
from datareader.workers import ReaderPool
from tests.script_runs import ROOT, run_script

NAMES = ["c0/a.mp4", "c0/b 视频.mp4", "c1/c.mp4"]
SETTINGS = ("--method", "dis_fast", "--short_side", 64)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A folder with a list of three whole videos."""
    folder = tmp_path_factory.mktemp("videos")
    for i, name in enumerate(NAMES):
        draw_video(folder / name, 12 + i)
    (folder / "list.txt").write_text("".join(f"{name} 1,2\n" for name in NAMES), encoding="utf-8")
    return folder


def extract(monkeypatch, filelist, cache, *flags):
    """Its exit status; computed in this process."""
    monkeypatch.setattr(tools.extract_flow, "ReaderPool", lambda num_workers: ReaderPool(0))
    return run_script(monkeypatch, "tools.extract_flow", "--filelist", filelist, "--save_dir", cache, *SETTINGS, *flags)


def contents(cache):
    return {str(path.relative_to(cache)): path.read_bytes() for path in cache.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(videos, tmp_path_factory):
    """What a run that nothing disturbs writes."""
    cache = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert extract(monkeypatch, videos / "list.txt", cache) == 0
    return cache


def test_each_video_gets_a_file_beside_its_path_in_the_list(videos, whole):
    files = [f"{name}.dis_fast.flow.mp4" for name in NAMES]
    assert contents(whole).keys() == {*files, *(f"{file}.json" for file in files)}
    manifests = [read_manifest(whole / file) for file in files]
    assert [manifest.num_flows for manifest in manifests] == [11, 12, 13]
    assert {(manifest.height, manifest.width, manifest.crf) for manifest in manifests} == {(64, 84, 10)}


def test_lossless_files_hold_what_is_computed_while_reading(videos, tmp_path, monkeypatch):
    """At most half a code apart, and the lossy file 0.1 px in the mean."""
    path, reader = str(videos / NAMES[0]), ReaderSettings()
    choose, keep = (lambda n: np.arange(n)), (lambda field: field)
    for name, flags, largest in (
        ("exact", ["--lossless"], 0.5 / 127),
        ("npz", ["--format", "npz"], 0.5 / 127),
        ("lossy", [], 2),
    ):
        extract(monkeypatch, videos / "list.txt", tmp_path / name, *flags)
        manifest = read_manifest(next((tmp_path / name).glob("c0/a*.flow.*[4z]")))
        provenance = FlowProvenance(**manifest.provenance)
        flow = ComputedFlow(provenance).read(path, choose, reader, keep).taken()
        cached = CachedFlow(str(tmp_path / name), provenance).read(path, choose, reader, keep).taken()
        assert np.abs(cached - flow).max() <= largest + 1e-6
        assert np.abs(cached - flow).mean() * 20 < 0.1


def test_loaders_give_the_same_clips_from_the_cache(videos, tmp_path, monkeypatch):
    """Random crops and mirrored clips included; half a code apart at most, as resizing averages."""
    extract(monkeypatch, videos / "list.txt", tmp_path, "--lossless")
    config = load_config(ROOT / "configs/nonlocal.yaml", ["READER.modality=flow", "READER.flow_method=dis_fast"])
    config.READER.flow_short_side = 64
    config.TRAIN.crop_size, config.TRAIN.jitter_scales, config.TRAIN.batch_size = 48, [56, 80], 3
    items = read_list(videos / "list.txt", multi_label=True)
    batches = []
    for cache in ("", str(tmp_path)):
        config.READER.flow_cache = cache
        batches += build_train_loader(config, items, seed=8, num_workers=0)
    computed, cached = batches
    assert {used.mirrored for used in computed.transforms} == {True, False}
    assert computed.transforms == cached.transforms and computed.clips.shape == (3, 2, 8, 48, 48)
    assert 0 < np.abs(computed.clips - cached.clips).max() <= 0.5 / 127 + 1e-6


def test_a_run_continues_after_what_is_there(videos, tmp_path, monkeypatch, capsys):
    """What was cut off, or is of a video that has changed, is made again; --overwrite makes all of it."""
    copy = tmp_path / "videos"
    copy.mkdir()
    for name in NAMES:
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_bytes((videos / name).read_bytes())
    filelist, cache = copy / "list.txt", tmp_path / "cache"
    filelist.write_text("".join(f"{name}\n" for name in NAMES), encoding="utf-8")
    assert extract(monkeypatch, filelist, cache) == 0
    first = contents(cache)
    stamps = {path: path.stat().st_mtime_ns for path in cache.rglob("*.mp4")}
    capsys.readouterr()
    assert extract(monkeypatch, filelist, cache) == 0
    assert "3 of 3 videos have their flow already" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.mp4")} == stamps
    for damage in (lambda file: os.truncate(file, 100), os.unlink, lambda file: os.unlink(f"{file}.json")):
        damage(cache / f"{NAMES[1]}.dis_fast.flow.mp4")
        assert extract(monkeypatch, filelist, cache) == 0
        assert "2 of 3 videos" in capsys.readouterr().out
        assert contents(cache) == first
    os.utime(copy / NAMES[0], (0, 0))  # as a copy has another time
    assert extract(monkeypatch, filelist, cache) == 0
    assert "3 of 3 videos" in capsys.readouterr().out
    draw_video(copy / NAMES[2], 5)
    assert extract(monkeypatch, filelist, cache) == 0
    assert read_manifest(cache / f"{NAMES[2]}.dis_fast.flow.mp4").num_flows == 4
    assert extract(monkeypatch, filelist, cache, "--overwrite") == 0
    assert "3 videos, 27 flows" in capsys.readouterr().out


def test_other_settings_are_told_before_anything_is_computed(videos, whole, monkeypatch, capsys):
    before = contents(whole)
    for flags, message in (
        (["--bound", 10], "bound 20.0, bound 10.0 is asked for"),
        (["--lossless"], "crf 10, crf 0 is asked for"),
    ):
        assert extract(monkeypatch, videos / "list.txt", whole, *flags) == 2
        assert message in capsys.readouterr().err
    assert extract(monkeypatch, videos / "list.txt", whole, "--lossless", "--format", "npz") == 2
    assert contents(whole) == before


def test_labels_of_a_list_can_be_names(videos, whole, monkeypatch, capsys):
    (videos / "names.txt").write_text("kick ball\nrun\n")
    (videos / "named.txt").write_text("".join(f"{name} kick_ball\n" for name in NAMES), encoding="utf-8")
    assert extract(monkeypatch, videos / "named.txt", whole, "--class_names", videos / "names.txt") == 0
    assert "3 of 3 videos have their flow already" in capsys.readouterr().out


def test_broken_videos_are_named_and_the_others_are_written(videos, tmp_path, monkeypatch, capsys):
    draw_video(tmp_path / "one.mp4", 1)
    (tmp_path / "text.mp4").write_text("this is no video at all")
    lines = [videos / NAMES[0], tmp_path / "one.mp4", tmp_path / "text.mp4", tmp_path / "absent.mp4"]
    (tmp_path / "list.txt").write_text("".join(f"{line} 0\n" for line in lines))
    assert extract(monkeypatch, tmp_path / "list.txt", tmp_path / "cache") == 1
    out, err = capsys.readouterr()
    assert "1 videos, 11 flows" in out and "3 videos have no flow" in err
    for words in ("one.mp4: one frame has no motion", "text.mp4: ", "absent.mp4: no such file"):
        assert words in err
    assert len(list((tmp_path / "cache").rglob("*.flow.mp4"))) == 1


def test_videos_of_shards_have_flow_too(videos, whole, tmp_path, monkeypatch):
    shard = tmp_path / "0.tar"
    with tarfile.open(shard, "w") as tar:
        tar.add(videos / NAMES[0], "a.mp4")
    assert run_script(monkeypatch, "tools.index_shards", shard) == 0
    (tmp_path / "list.txt").write_text("0.tar#a.mp4 0\n")
    assert extract(monkeypatch, tmp_path / "list.txt", tmp_path / "cache") == 0
    file = tmp_path / "cache" / "0.tar#a.mp4.dis_fast.flow.mp4"
    assert file.read_bytes() == (whole / f"{NAMES[0]}.dis_fast.flow.mp4").read_bytes()
    manifest = read_manifest(file)
    cached = CachedFlow(str(tmp_path / "cache"), FlowProvenance(**manifest.provenance))
    reading = cached.read(f"{shard}#a.mp4", np.arange, ReaderSettings(), lambda field: field)
    assert reading.num_frames == 11 and manifest.source_bytes == (videos / NAMES[0]).stat().st_size


def test_stale_parts_of_killed_runs_are_removed(videos, whole, monkeypatch):
    old, new = whole / "c0" / ".a.old.part", whole / "c0" / ".a.new.part"
    for part in (old, new):
        part.write_bytes(b"x")
    os.utime(old, (0, 0))
    assert extract(monkeypatch, videos / "list.txt", whole) == 0
    assert not old.exists() and new.exists()
    new.unlink()


def test_kills_at_random_moments_leave_the_files_of_an_undisturbed_run(videos, whole, tmp_path):
    cache, rng = tmp_path / "cache", np.random.default_rng()
    command = [sys.executable, str(ROOT / "tools" / "extract_flow.py"), "--filelist", str(videos / "list.txt")]
    command += ["--save_dir", str(cache), "--workers", "1", *map(str, SETTINGS)]
    expected = contents(whole)
    for _ in range(5):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            time.sleep(rng.uniform(0.2, 0.5))
            process.kill()
        left = contents(cache) if cache.exists() else {}
        assert left.items() <= expected.items() or any(name.endswith(".part") for name in left)
    subprocess.run(command, check=True, capture_output=True)
    assert {name: data for name, data in contents(cache).items() if not name.endswith(".part")} == expected
