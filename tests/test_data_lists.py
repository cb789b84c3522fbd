import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from video_factory import draw_video, frame_numbers

from data.dataset.lists_writer import Sample, find_videos, write_lists
from datareader import read_frames
from datareader.lists import read_class_names, read_list
from utils.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


def touch(folder, *names, content="x"):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def generate(script, *arguments, cwd):
    """Run a generator as its users do, from another folder."""
    command = [sys.executable, str(ROOT / "data" / "dataset" / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=60)


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def refuses(done, *words):
    """The run ended with status 2 and one line that says all the words."""
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert all(word in done.stderr for word in words), done.stderr


def test_folder_lists(tmp_path):
    videos = [f"my videos/{name}/{i}.mp4" for name in ("b b", "ähm", "a") for i in range(10)]
    touch(tmp_path, *videos, "my videos/a/deep/er/11.WEBM", "my videos/a/notes.txt", "my videos/.hidden/1.mp4")
    touch(tmp_path, "my videos/a/empty.mp4", content="")
    arguments = ("--video_dir", "my videos", "--output_dir", "lists", "--valid_share", 0.3, "--seed", 3)
    done = generate("nonlocal/make_folder_lists.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    train, valid = (read_list(tmp_path / "lists" / name, 3) for name in ("trainlist.txt", "vallist.txt"))
    assert read_class_names(tmp_path / "lists/class_names.txt") == ["a", "b b", "ähm"]
    assert len(train) == 22 and [sum(item.label == k for item in valid) for k in range(3)] == [3, 3, 3]
    every = {os.path.realpath(item.path) for item in train + valid}
    assert every == {os.path.realpath(tmp_path / name) for name in [*videos, "my videos/a/deep/er/11.WEBM"]}
    for item in train + valid:
        assert ["a", "b b", "ähm"][item.label] in Path(item.path).parts
    assert lines(tmp_path / "lists/testlist.txt") == lines(tmp_path / "lists/vallist.txt")
    again = generate("nonlocal/make_folder_lists.py", *arguments[:3], "again", *arguments[4:], cwd=tmp_path)
    assert again.returncode == 0 and lines(tmp_path / "again/vallist.txt") == lines(tmp_path / "lists/vallist.txt")


def test_folder_lists_inside_the_folder_can_move_with_it(tmp_path):
    touch(tmp_path, *(f"set/{name}/{i}.mp4" for name in "ab" for i in range(2)))
    assert (
        generate("nonlocal/make_folder_lists.py", "--video_dir=set", "--output_dir=set", cwd=tmp_path).returncode == 0
    )
    (tmp_path / "set").rename(tmp_path / "moved")
    assert all(os.path.isfile(item.path) for item in read_list(tmp_path / "moved/trainlist.txt", 2))


def test_folder_lists_with_a_validation_folder(tmp_path):
    touch(tmp_path, "train/a/1.mp4", "train/b/1.mp4", "val/a/2.mp4", "val/b/2.mp4", "other/a/2.mp4", "other/c/2.mp4")
    script, common = "nonlocal/make_folder_lists.py", ("--video_dir", "train", "--output_dir", "lists")
    assert generate(script, *common, "--valid_dir", "val", cwd=tmp_path).returncode == 0
    assert [line.rpartition("/")[2] for line in lines(tmp_path / "lists/vallist.txt")] == ["2.mp4 0", "2.mp4 1"]
    refuses(generate(script, *common, "--valid_dir", "other", cwd=tmp_path), "same classes", "'b'")
    refuses(generate(script, *common, cwd=tmp_path), "only video of its class", "--valid_dir")


def test_folder_lists_refuse_what_they_cannot_use(tmp_path):
    script = "nonlocal/make_folder_lists.py"
    touch(tmp_path, "one/a/1.mp4", "two/a/1.mp4", "two/b/1.txt")
    refuses(generate(script, "--video_dir", "nowhere", cwd=tmp_path), "no folder nowhere")
    refuses(generate(script, "--video_dir", "one", cwd=tmp_path), "1 sub-folders")
    refuses(generate(script, "--video_dir", "two", cwd=tmp_path), "two/b holds no video")
    refuses(generate(script, "--video_dir", "two", "--valid_fraction", "1", cwd=tmp_path), "--valid_fraction")
    assert not (tmp_path / "trainlist.txt").exists()


KINETICS_HEADER = "label,youtube_id,time_start,time_end,split\n"


def kinetics(tmp_path, *more):
    arguments = ["--train_csv", "t.csv", "--train_dir", "train", "--valid_csv", "v.csv", "--valid_dir", "val"]
    return generate("nonlocal/make_kinetics_lists.py", *arguments, "--output_dir", "lists", *more, cwd=tmp_path)


def test_kinetics_lists(tmp_path):
    train = 'abseiling,-abc_1,1,11,train\nair drumming,xyz,20,30,train\n"petting animal (not cat)",only,0,10,train\n'
    train += "zumba,lost,5,15,train\nzumba,twice,5,15,train\nzumba,twice,5,15,train\nzumba,empty,5,15,train\n"
    touch(tmp_path, "t.csv", content=KINETICS_HEADER + train)
    touch(tmp_path, "v.csv", content=KINETICS_HEADER + "air drumming,vid,100,110.0,validate\n")
    touch(tmp_path, "train/-abc_1_000001_000011.mp4", "train/air_drumming/xyz_20_30.mkv", "train/x/only.webm")
    touch(tmp_path, "train/a/twice_000005_000015.mp4", "train/Zumba/twice_000005_000015.mp4")
    touch(tmp_path, "val/vid_000100_000110.mp4")
    touch(tmp_path, "train/empty_000005_000015.mp4", content="")
    done = kinetics(tmp_path)
    assert done.returncode == 0, done.stderr
    found = {
        Path(item.path).relative_to(tmp_path / "train").as_posix(): item.label
        for item in read_list(tmp_path / "lists/trainlist.txt", 400)
    }
    assert len(lines(tmp_path / "lists/trainlist.txt")) == 4  # a segment annotated twice is one video
    names = read_class_names(ROOT / "data/dataset/nonlocal/kinetics400_labels.txt", 400)
    assert {name: names[label] for name, label in found.items()} == {
        "-abc_1_000001_000011.mp4": "abseiling",
        "air_drumming/xyz_20_30.mkv": "air drumming",
        "x/only.webm": "petting animal (not cat)",
        "Zumba/twice_000005_000015.mp4": "zumba",
    }
    assert [item.label for item in read_list(tmp_path / "lists/testlist.txt", 400)] == [1]
    assert "2 annotated videos have no file" in done.stdout
    assert lines(tmp_path / "lists/missing.txt") == ["zumba/lost_000005_000015", "zumba/empty_000005_000015"]


def test_kinetics_with_other_classes_and_both_splits_in_one_table(tmp_path):
    rows = "zz top,a,1,11,train\nadam,b,1,11,train\nadam,c,1,11,validate\n"
    touch(tmp_path, "t.csv", "v.csv", content=KINETICS_HEADER + rows)
    touch(tmp_path, *(f"{folder}/{i}_000001_000011.mp4" for folder in ("train", "val") for i in "abc"))
    refuses(kinetics(tmp_path), "unknown class 'zz top'", "--names_from_csv", "t.csv:2")
    assert kinetics(tmp_path, "--names_from_csv").returncode == 0
    assert lines(tmp_path / "lists/class_names.txt") == ["adam", "zz top"]
    assert len(lines(tmp_path / "lists/trainlist.txt")) == 2 and len(lines(tmp_path / "lists/vallist.txt")) == 1


def test_kinetics_refuses_what_it_cannot_use(tmp_path):
    touch(tmp_path, "train/a.mp4", "val/a.mp4")
    touch(tmp_path, "v.csv", content=KINETICS_HEADER + "zumba,a,1,11,validate\n")
    for content, words in [
        ("", ["t.csv is empty"]),
        ("youtube_id,time_start,time_end,split\na,1,11,test\n", ["no column 'label'"]),
        (KINETICS_HEADER + ",a,1,11,test\n", ["t.csv:2", "no label"]),
        (KINETICS_HEADER + "zumba,a,one,11,train\n", ["t.csv:2", "seconds"]),
        (KINETICS_HEADER + "zumba,a\n", ["t.csv:2", "fewer fields"]),
        (KINETICS_HEADER + "zumba,nothere,1,11,train\n", ["none of the annotated videos", "zumba/nothere_000001"]),
    ]:
        touch(tmp_path, "t.csv", content=content)
        refuses(kinetics(tmp_path), *words)
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    refuses(kinetics(tmp_path), "not UTF-8")
    assert not (tmp_path / "lists/trainlist.txt").exists()


def test_the_kinetics_names_are_400_in_alphabetical_order():
    names = read_class_names(ROOT / "data/dataset/nonlocal/kinetics400_labels.txt", 400)
    assert names == sorted(names, key=str.casefold)


@pytest.mark.parametrize("split", [1, 3])
def test_ucf101_lists(tmp_path, split):
    classes = ["ApplyEyeMakeup", "HandstandPushups", "YoYo"]
    touch(tmp_path, "s/classInd.txt", content="".join(f"{i + 1} {name}\r\n" for i, name in enumerate(classes)))
    train = "ApplyEyeMakeup/v_A_g08_c01.avi 1\r\nYoYo/v_Y_g08_c01.avi 3\r\nYoYo/v_gone.avi 3\r\n"
    touch(tmp_path, f"s/trainlist0{split}.txt", content=train)
    touch(tmp_path, f"s/testlist0{split}.txt", content="HandstandPushups/v_H_g01_c01.avi\nYoYo/v_Y_g01_c01.avi\n")
    touch(tmp_path, "v/ApplyEyeMakeup/v_A_g08_c01.avi", "v/YoYo/v_Y_g08_c01.avi", "v/v_H_g01_c01.mp4")
    touch(tmp_path, "v/YoYo/v_Y_g01_c01.avi")
    arguments = ("--video_dir", "v", "--split_dir", "s", "--split", split, "--output_dir", "lists")
    done = generate("ucf101/make_lists.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [item.label for item in read_list(tmp_path / "lists/trainlist.txt", 3)] == [0, 2]
    valid = read_list(tmp_path / "lists/vallist.txt", 3)
    assert [(Path(item.path).name, item.label) for item in valid] == [("v_H_g01_c01.mp4", 1), ("v_Y_g01_c01.avi", 2)]
    assert lines(tmp_path / "lists/missing.txt") == ["YoYo/v_gone"]
    assert lines(tmp_path / "lists/class_names.txt") == classes
    touch(tmp_path, f"s/trainlist0{split}.txt", content="YoYo/v_Y_g08_c01.avi 2\n")
    refuses(generate("ucf101/make_lists.py", *arguments, cwd=tmp_path), ":1:", "YoYo is class 3")
    touch(tmp_path, f"s/trainlist0{split}.txt", content="v_Y_g08_c01.avi 2\n")
    refuses(generate("ucf101/make_lists.py", *arguments, cwd=tmp_path), "Class/file.avi")
    arguments = (*arguments[:5], 2, *arguments[6:])
    refuses(generate("ucf101/make_lists.py", *arguments, cwd=tmp_path), "cannot read", "trainlist02.txt")


def test_hmdb51_lists(tmp_path):
    touch(tmp_path, "s/brush_hair_test_split1.txt", content="A b(1)_x.avi 1 \nB_x.avi 2 \nC_x.avi 0 \n")
    touch(tmp_path, "s/wave_test_split1.txt", content="D.avi 1\nE.avi 2\nF.avi 2\n")
    touch(tmp_path, "s/wave_test_split2.txt", content="D.avi 2\n")
    touch(
        tmp_path, *(f"v/brush_hair/{name}.avi" for name in ("A b(1)_x", "B_x", "C_x")), "v/wave/D.avi", "v/wave/E.avi"
    )
    arguments = ("--video_dir", "v", "--split_dir", "s", "--output_dir", "lists")
    done = generate("hmdb51/make_lists.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    train, valid = (read_list(tmp_path / "lists" / name, 2) for name in ("trainlist.txt", "vallist.txt"))
    assert [(Path(item.path).name, item.label) for item in train] == [("A b(1)_x.avi", 0), ("D.avi", 1)]
    assert [(Path(item.path).name, item.label) for item in valid] == [("B_x.avi", 0), ("E.avi", 1)]
    assert lines(tmp_path / "lists/class_names.txt") == ["brush hair", "wave"]
    assert lines(tmp_path / "lists/missing.txt") == ["wave/F"]
    refuses(generate("hmdb51/make_lists.py", *arguments, "--split", 3, cwd=tmp_path), "_test_split3.txt")
    touch(tmp_path, "s/wave_test_split1.txt", content="D.avi 1\nE.avi 7\n")
    refuses(generate("hmdb51/make_lists.py", *arguments, cwd=tmp_path), "wave_test_split1.txt:2", "0, 1 or 2")


def test_charades_lists(tmp_path):
    touch(tmp_path, "a/Charades_v1_classes.txt", content="c000 Holding some clothes\nc001 Putting clothes somewhere\n")
    header = "id,subject,scene,script,actions,length\n"
    rows = 'AA,H,Kitchen,"A person, ""x""",c001 11.90 21.20;c000 0.00 12.60;c001 3.0 4.0,24.8\nBB,H,Attic,none,,3.1\n'
    touch(tmp_path, "a/Charades_v1_train.csv", content=header + rows)
    touch(
        tmp_path, "a/Charades_v1_test.csv", content=header + "CC,H,Attic,text,c001 0 1,3\nDD,H,Attic,text,c001 0 1,3\n"
    )
    touch(tmp_path, *(f"v/{name}.mp4" for name in ("AA", "BB", "CC")))
    arguments = ("--video_dir", "v", "--annotation_dir", "a", "--output_dir", "lists")
    done = generate("charades/make_lists.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    train = read_list(tmp_path / "lists/trainlist.txt", 2, multi_label=True)
    assert [item.labels for item in train] == [(0, 1), ()]
    assert [item.labels for item in read_list(tmp_path / "lists/vallist.txt", 2, multi_label=True)] == [(1,)]
    assert lines(tmp_path / "lists/missing.txt") == ["DD"]
    assert read_class_names(tmp_path / "lists/class_names.txt") == [
        "Holding some clothes",
        "Putting clothes somewhere",
    ]
    touch(tmp_path, "a/Charades_v1_train.csv", content=header + "AA,H,K,s,c999 1 2,3\n")
    refuses(generate("charades/make_lists.py", *arguments, cwd=tmp_path), "Charades_v1_train.csv:2", "c999")
    touch(tmp_path, "a/Charades_v1_classes.txt", content="Holding\n")
    refuses(generate("charades/make_lists.py", *arguments, cwd=tmp_path), "Charades_v1_classes.txt:1")


@pytest.mark.parametrize("prefix", ["", "something-something-v2-"])
def test_something_lists(tmp_path, prefix):
    labels = {"Holding something next to something": "0", "Moving something up": "1"}
    train = [{"id": "7", "label": "holding a pot", "template": "Holding [something] next to [something]"}]
    valid = [
        {"id": "8", "label": "x", "template": "Moving [something] up"},
        {"id": "9", "template": "Moving [something] up"},
    ]
    for name, content in (("labels", labels), ("train", train), ("validation", valid)):
        touch(tmp_path, f"a/{prefix}{name}.json", content=json.dumps(content))
    touch(tmp_path, "v/7.webm", "v/8.webm")
    arguments = ("--video_dir", "v", "--annotation_dir", "a", "--output_dir", "lists")
    done = generate("something/make_lists.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [item.label for item in read_list(tmp_path / "lists/trainlist.txt", 2)] == [0]
    assert [item.label for item in read_list(tmp_path / "lists/vallist.txt", 2)] == [1]
    assert lines(tmp_path / "lists/missing.txt") == ["9"]
    touch(tmp_path, f"a/{prefix}train.json", content=json.dumps([{"id": 7, "template": "Eating [something]"}]))
    refuses(generate("something/make_lists.py", *arguments, cwd=tmp_path), "unknown class 'Eating something'")
    touch(tmp_path, f"a/{prefix}train.json", content='[{"id": 7}]')
    refuses(generate("something/make_lists.py", *arguments, cwd=tmp_path), "train.json", "id and template")


def test_a_something_v2_list_leads_to_the_frames_of_its_webm_files(tmp_path):
    names = ["Holding [something]", "Moving [something] up"]
    touch(tmp_path, "a/labels.json", content=json.dumps({"Holding something": "0", "Moving something up": "1"}))
    for place, name in enumerate(("train", "validation")):
        touch(tmp_path, f"a/{name}.json", content=json.dumps([{"id": str(place), "template": names[place]}]))
        draw_video(tmp_path / f"v/{place}.webm", 12, fps=12, codec="libvpx-vp9", options={"deadline": "realtime"})
    arguments = ("--video_dir", "v", "--annotation_dir", "a", "--output_dir", "lists")
    assert generate("something/make_lists.py", *arguments, cwd=tmp_path).returncode == 0
    for place, name in enumerate(("trainlist.txt", "vallist.txt")):
        (item,) = read_list(tmp_path / "lists" / name, 2)
        assert item.label == place and frame_numbers(read_frames(item.path, [1, 7, 11])) == [1, 7, 11]


def test_something_v1_lists(tmp_path):
    """Made-up files in the official form: `id;label text`, a label a line, folders of JPEG frames."""
    names = ["Holding something", "Pouring something, or pretending to", "Moving something up"]
    prefix = "a/something-something-v1-"
    touch(tmp_path, f"{prefix}labels.csv", content="\n".join(names) + "\n")
    touch(
        tmp_path, f"{prefix}train.csv", content="100218;Moving something up\n5;Holding something\n6;Holding something\n"
    )
    touch(
        tmp_path, f"{prefix}validation.csv", content="7;Pouring something, or pretending to\r\n8;Holding something\r\n"
    )
    touch(tmp_path, *(f"v/{video}/{i:05d}.jpg" for video in (100218, 5, 7) for i in (1, 2)), "v/6/notes.txt")
    arguments = ("--video_dir", "v", "--annotation_dir", "a", "--output_dir", "lists")
    script = "something_v1/make_lists.py"
    done = generate(script, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 annotated videos have no file" in done.stdout and "3 classes" in done.stdout
    train = read_list(tmp_path / "lists/trainlist.txt", 3)
    assert [(Path(item.path).name, item.label) for item in train] == [("100218", 2), ("5", 0)]
    assert [item.label for item in read_list(tmp_path / "lists/vallist.txt", 3)] == [1]
    assert read_class_names(tmp_path / "lists/class_names.txt") == names
    assert lines(tmp_path / "lists/missing.txt") == ["6", "8"]
    for line, words in (("9 Holding", "id;label text"), ("9;Eating", "unknown class 'Eating'"), ("../9;x", "id;label")):
        touch(tmp_path, f"{prefix}train.csv", content=f"5;Holding something\n{line}\n")
        refuses(generate(script, *arguments, cwd=tmp_path), "v1-train.csv:2", words)
    (tmp_path / f"{prefix}labels.csv").unlink()
    refuses(
        generate(script, *arguments, cwd=tmp_path), "holds neither labels.csv nor something-something-v1-labels.csv"
    )
    refuses(generate(script, "--video_dir", "no", *arguments[2:], cwd=tmp_path), "no folder no")


def kinetics_csv(folder, name, rows):
    header = "label,youtube_id,time_start,time_end,split\n"
    touch(folder, name, content=header + "".join(f"{label},{video},1,11,x\n" for label, video in rows))


def test_mini_kinetics_lists(tmp_path):
    """200 of the 400 classes under their own labels; without the authors' ids, with them, with unknown ones."""
    mini = read_class_names(ROOT / "data/dataset/mini_kinetics/mini_kinetics200_labels.txt", 200)
    kinetics = read_class_names(ROOT / "data/dataset/nonlocal/kinetics400_labels.txt", 400)
    assert [name for name in kinetics if name in set(mini)] == mini  # all of them, in Kinetics' order
    outside = next(name for name in kinetics if name not in mini)
    rows = [(mini[0], "aaaaaaaaaaa"), (outside, "bbbbbbbbbbb"), (mini[199], "-cccccccccc"), (mini[7], "ddddddddddd")]
    kinetics_csv(tmp_path, "t.csv", rows)
    kinetics_csv(tmp_path, "v.csv", [(mini[3], "eeeeeeeeeee")])
    touch(tmp_path, *(f"t/{video}_000001_000011.mp4" for _, video in rows[:3]), "v/eeeeeeeeeee.webm")
    script = "mini_kinetics/make_lists.py"
    arguments = ("--train_csv=t.csv", "--train_dir=t", "--valid_csv=v.csv", "--valid_dir=v", "--output_dir=lists")
    done = generate(script, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [item.label for item in read_list(tmp_path / "lists/trainlist.txt", 200)] == [0, 199]
    assert [item.label for item in read_list(tmp_path / "lists/vallist.txt", 200)] == [3]
    assert read_class_names(tmp_path / "lists/class_names.txt") == mini
    assert "1 annotated videos have no file" in done.stdout and "2 of 200 classes have training videos" in done.stdout
    touch(tmp_path, "ids.txt", content="-cccccccccc\nfffffffffff\nbbbbbbbbbbb\n")
    done = generate(script, *arguments, "--train_ids=ids.txt", cwd=tmp_path)
    assert done.returncode == 0 and "2 of 3 ids of ids.txt are in no row of t.csv" in done.stdout
    assert [item.label for item in read_list(tmp_path / "lists/trainlist.txt", 200)] == [199]
    refuses(generate(script, *arguments, "--train_ids=no.txt", cwd=tmp_path), "cannot read no.txt")
    kinetics_csv(tmp_path, "t.csv", [("no class of Kinetics", "aaaaaaaaaaa")])
    refuses(generate(script, *arguments, cwd=tmp_path), "t.csv:2", "unknown class")


def test_paths_that_would_be_misread(tmp_path):
    touch(tmp_path, "#1.mp4", " x.mp4", "a 1 2.mp4", "ok.mp4")
    found = find_videos(tmp_path)
    samples = [Sample(path, "1") for path in found]
    write_lists(tmp_path, samples, samples, None)
    assert sorted(os.path.normpath(item.path) for item in read_list(tmp_path / "trainlist.txt", 2)) == found
    with pytest.raises(UserError, match="rename the file"):
        write_lists(tmp_path, [Sample("a\nb.mp4", "0")], samples, None)
    with pytest.raises(UserError, match="no video for the training list"):
        write_lists(tmp_path, [], samples, None)


def test_folders_of_frames_count_as_videos(tmp_path):
    touch(
        tmp_path, *(f"set/{name}/{video}/0000{i}.jpg" for name in "ab" for video in "xy" for i in (1, 2)), "set/a/z.mp4"
    )
    found = [os.path.relpath(path, tmp_path / "set") for path in find_videos(tmp_path / "set")]
    assert found == ["a/x", "a/y", "a/z.mp4", "b/x", "b/y"]
    done = generate("nonlocal/make_folder_lists.py", "--video_dir=set", "--output_dir=lists", cwd=tmp_path)
    assert done.returncode == 0 and len(read_list(tmp_path / "lists/trainlist.txt", 2)) == 3, done.stderr


def test_linked_folders_are_followed_once(tmp_path):
    touch(tmp_path, "real/a/1.mp4")
    os.symlink(tmp_path / "real", tmp_path / "real/a/loop", target_is_directory=True)
    os.symlink(tmp_path / "real", tmp_path / "link", target_is_directory=True)
    assert [Path(path).name for path in find_videos(tmp_path / "link")] == ["1.mp4"]


def test_a_rerun_removes_the_stale_report_of_missing_videos(tmp_path):
    touch(tmp_path, "a.mp4")
    samples = [Sample(str(tmp_path / "a.mp4"), "0")]
    write_lists(tmp_path / "lists", samples, samples, None, ["b"])
    assert lines(tmp_path / "lists/missing.txt") == ["b"]
    write_lists(tmp_path / "lists", samples, samples, None)
    assert not (tmp_path / "lists/missing.txt").exists()
