"""Shards made of a list, and the clips that come out of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tarfile
import time

import numpy as np
import pytest
from script_runs import run_script
from video_factory import draw_video

from configs.schema import Config
from datareader import build_train_loader, build_valid_loader, build_view_loader, read_list
from datareader.loaders import Failure
from tools import index_shards, pack_dataset
from utils.errors import RunError

LABELS = [2, 0, 1, 2, 1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five videos, the fourth of them broken, and list.txt."""
    folder = tmp_path_factory.mktemp("loose")
    names = ["v 0.mp4", "v1.MKV", "视频.avi", "broken.mp4", "v4.mp4"]
    for number, name in enumerate(names):
        options = {"codec": "mpeg4"} if name.endswith("avi") else {}
        draw_video(folder / name, num_frames=20 + 10 * number, height=64, width=84, hue=number, **options)
    (folder / "broken.mp4").write_bytes(b"no video" * 5000)
    (folder / "list.txt").write_text("".join(f"{name} {label}\n" for name, label in zip(names, LABELS)))
    return folder


def pack(monkeypatch, *arguments) -> int:
    return run_script(monkeypatch, "tools.pack_dataset", *arguments)


def small_shards(monkeypatch, folder, target) -> list[str]:
    """The shards of the five videos, several of them; --shard_mb counts bytes here."""
    sizes = [os.path.getsize(item.path) for item in read_list(folder / "list.txt")]
    cut = pack_dataset.cut
    with monkeypatch.context() as patch:
        patch.setattr(pack_dataset, "cut", lambda entries, limit: cut(entries, limit >> 20))
        assert pack(patch, folder / "list.txt", "--out", target, "--shard_mb", sizes[0] + sizes[1]) == 0
    return sorted(path.name for path in target.glob("*.tar"))


@pytest.fixture(scope="module")
def packed(folder, tmp_path_factory):
    target = tmp_path_factory.mktemp("packed")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert len(small_shards(monkeypatch, folder, target)) > 1
    return target


def test_clips_from_shards_are_those_from_files(folder, packed):
    config = Config()
    for section in (config.TRAIN, config.VALID, config.TEST):
        section.crop_size, section.jitter_scales, section.video_length, section.sample_rate = 32, [32, 40], 4, 2
    config.TEST.jitter_scales, config.TEST.num_test_clips = [32, 32], 6
    config.TRAIN.batch_size = config.VALID.batch_size = 2
    loose, shards = (read_list(path / "list.txt", 3) for path in (folder, packed))
    train = [
        build_train_loader(config, loose, seed=3, num_workers=0),
        build_train_loader(config, shards, seed=3, num_workers=2),
    ]
    valid = [build_valid_loader(config, items, num_workers=0) for items in (loose, shards)]
    for first, second in (train, valid):
        batches = list(first), list(second)
        assert len(batches[0]) == len(batches[1])
        for a, b in zip(*batches):
            np.testing.assert_array_equal(a.clips, b.clips)
            np.testing.assert_array_equal(a.label, b.label)
            np.testing.assert_array_equal(a.video_id, b.video_id)
            assert [(f.video_id, f.reason) for f in a.failures] == [(f.video_id, f.reason) for f in b.failures]
        second.close()
    videos = [list(build_view_loader(config, items, num_workers=0)) for items in (loose, shards)]
    assert [isinstance(a, Failure) for a in videos[0]] == [isinstance(b, Failure) for b in videos[1]]
    for a, b in zip(*videos):
        if not isinstance(a, Failure):
            np.testing.assert_array_equal(a.frames, b.frames)


def test_webdataset_reads_the_shards(folder, packed):
    wds = pytest.importorskip("webdataset")
    paths = sorted(str(path) for path in packed.glob("*.tar"))
    samples = list(wds.WebDataset(paths, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [f"{place:09d}" for place in range(5)]
    for sample, item, suffix in zip(samples, read_list(folder / "list.txt"), ["mp4", "mkv", "avi", "mp4", "mp4"]):
        with open(item.path, "rb") as video:
            assert sample[suffix] == video.read()
        assert int(sample["cls"]) == item.label
        assert json.loads(sample["json"]) == {"path": item.path, "labels": [item.label]}


def test_indexes_and_checksums_are_true(packed):
    for shard in packed.glob("*.tar"):
        with tarfile.open(shard) as tar:
            found = {info.name: (info.offset_data, info.size) for info in tar}
        samples = [line.split(" ") for line in shard.with_suffix(".idx").read_text().splitlines()[1:]]
        listed = {s[i + 3]: (int(s[i + 1]), int(s[i + 2])) for s in samples for i in range(0, len(s), 4)}
        assert listed == found
        assert all(line[0] == line[3].partition(".")[2] for line in samples)
        assert (packed / f"{shard.name}.sha256").read_text() == (
            f"{hashlib.sha256(shard.read_bytes()).hexdigest()}  {shard.name}\n"
        )


def test_a_stopped_run_continues_and_makes_the_same_bytes(monkeypatch, folder, packed, tmp_path):
    names = small_shards(monkeypatch, folder, tmp_path)
    first = (tmp_path / names[0]).stat().st_ino
    (tmp_path / names[1]).with_suffix(".idx").unlink()
    (tmp_path / names[-1]).unlink()
    (tmp_path / "list.txt").unlink()
    for name, age_hours in ((".shard-000001.tar.old.part", 25), (".shard-000001.tar.new.part", 23)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - 3600 * age_hours,) * 2)
    assert small_shards(monkeypatch, folder, tmp_path) == names
    assert (tmp_path / names[0]).stat().st_ino == first
    assert [path.name for path in tmp_path.glob("*.part")] == [".shard-000001.tar.new.part"]
    for path in packed.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_what_does_not_fit_the_folder_is_refused(monkeypatch, capsys, folder, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text(f"{folder}/v 0.mp4 1\n")
    assert pack(monkeypatch, listed, "--out", tmp_path / "out") == 0
    listed.write_text(f"{folder}/v 0.mp4 2\n")
    assert pack(monkeypatch, listed, "--out", tmp_path / "out") == 2
    assert "out holds shards of another list" in capsys.readouterr().err
    (tmp_path / "out/pack.json").unlink()
    assert pack(monkeypatch, listed, "--out", tmp_path / "out") == 2
    assert "out holds shards of another origin" in capsys.readouterr().err
    listed.write_text(f"{folder}/v 0.mp4 2\n{folder}/gone.mp4 2\n{folder} 1\n")
    assert pack(monkeypatch, listed, "--out", tmp_path / "new") == 2
    assert f"2 of 3 videos cannot be packed, the first: {folder}/gone.mp4: no such" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_video_that_changes_meanwhile_stops_the_run(folder, tmp_path):
    entries = pack_dataset.examine(read_list(folder / "list.txt")[:1], False)
    changed = dataclasses.replace(entries[0], size=entries[0].size + 1)
    with pytest.raises(RunError, match="v 0.mp4 has changed since the start"):
        pack_dataset.pack(tmp_path, [[changed]])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "flags", "packed_fields"),
    [
        (["", "", ""], [], ["", "", ""]),
        (["two_words", "1", "One"], ["--class_names", "names.txt"], [" 1", " 1", " 0"]),
        (["0,1", "-", "1"], ["--multi_label"], [" 0,1", " -", " 1"]),
    ],
)
def test_labels_of_every_form(monkeypatch, folder, tmp_path, fields, flags, packed_fields):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text("one\ntwo words\n")
    (tmp_path / "list.txt").write_text("".join(f"{folder}/v4.mp4 {field}\n" for field in fields))
    assert pack(monkeypatch, "list.txt", "--out", "out", *flags) == 0
    lines = (tmp_path / "out/list.txt").read_text().splitlines()
    assert lines == [f"shard-000000.tar#{place:09d}.mp4{field}" for place, field in enumerate(packed_fields)]
    with tarfile.open("out/shard-000000.tar") as tar:
        classes = [name for name in tar.getnames() if name.endswith(".cls")]
    assert len(classes) == (3 if "--class_names" in flags else 0)


def test_packed_lists_can_be_packed_again(monkeypatch, packed, tmp_path):
    assert pack(monkeypatch, packed / "list.txt", "--out", tmp_path) == 0
    with tarfile.open(tmp_path / "shard-000000.tar") as whole:
        for shard in sorted(packed.glob("*.tar")):
            with tarfile.open(shard) as tar:
                for info in tar:
                    if not info.name.endswith(".json"):
                        assert whole.extractfile(info.name).read() == tar.extractfile(info).read()


def test_other_peoples_tars_get_an_index_and_a_list(monkeypatch, folder, packed, tmp_path):
    for shard in packed.glob("*.tar"):
        os.link(shard, tmp_path / shard.name)
    with tarfile.open(tmp_path / "other.tar", "w") as tar:  # with what a folder of Unix holds
        os.makedirs(tmp_path / "sub dir")
        tar.add(tmp_path / "sub dir", "sub dir")
        for name, content in {
            "x.y.CLS": b"no",
            "x.y.cls": b"7",
            "x.cls": b"Riding a  bike\n",
            "sub dir/x.cls": b"5",
        }.items():
            (tmp_path / "text").write_bytes(content)
            tar.add(tmp_path / "text", name)
        tar.add(folder / "v 0.mp4", "x.mp4")
        tar.add(folder / "v 0.mp4", "sub dir/x.mp4")
        tar.add(folder / "v 0.mp4", "unlabelled.mp4")
    shards = sorted(tmp_path.glob("*.tar"))
    assert run_script(monkeypatch, "tools.index_shards", *shards, "--list", tmp_path / "list.txt") == 0
    for shard in packed.glob("*.tar"):
        assert (tmp_path / shard.name).with_suffix(".idx").read_bytes() == shard.with_suffix(".idx").read_bytes()
    lines = (tmp_path / "list.txt").read_text().splitlines()
    assert lines == [
        "other.tar#x.mp4 Riding_a_bike", "other.tar#sub dir/x.mp4 5", "other.tar#unlabelled.mp4",
        *(packed / "list.txt").read_text().splitlines(),
    ]  # fmt: skip
    items = read_list(tmp_path / "list.txt", None, ["Riding a bike", *map(str, range(9))], labels_required=False)
    assert len(list(build_view_loader(Config(), items[:1], "INFER", num_workers=0, views="1x1"))) == 1


def test_tars_without_an_unmistakable_index_are_refused(monkeypatch, capsys, packed, tmp_path):
    shard = next(iter(packed.glob("*.tar")))
    (tmp_path / "cut.tar").write_bytes(shard.read_bytes()[:-15000])
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as tar:
        tar.add(shard, "a.mp4")
    with tarfile.open(tmp_path / "twice.tar", "w") as tar:
        tar.add(shard, "a.mp4")
        tar.add(shard, "a.mp4")
    with tarfile.open(tmp_path / "line.tar", "w") as tar:
        tar.add(shard, "a\nb.mp4")
    (tmp_path / "a.zip").write_bytes(b"")
    reasons = {
        "cut.tar": "is no whole, uncompressed tar", "packed.tar": "is no whole, uncompressed tar",
        "twice.tar": "holds 2 files called a.mp4", "line.tar": "cannot hold the name", "gone.tar": "No such file",
        "a.zip": "ends in .tar",
    }  # fmt: skip
    for name, reason in reasons.items():
        assert run_script(monkeypatch, "tools.index_shards", tmp_path / name) == 2
        assert reason in capsys.readouterr().err
    assert not list(tmp_path.glob("*.idx"))
    assert index_shards.examine(str(shard))[0]
