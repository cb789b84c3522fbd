import json
import os

import pytest

from datareader.lists import VideoItem, read_class_names, read_list
from utils.errors import UserError


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_paths_labels_comments_and_line_numbers(tmp_path):
    path = write(tmp_path / "l.txt", "\ufeff# comment\n\na b.mp4 3\r\n视频 é.mp4\t0\n  /abs/c 1.mp4   12  \n")
    items = read_list(path, 13)
    assert items == [
        VideoItem(f"{tmp_path}/a b.mp4", 3, 3, (3,)),
        VideoItem(f"{tmp_path}/视频 é.mp4", 0, 4, (0,)),
        VideoItem("/abs/c 1.mp4", 12, 5, (12,)),
    ]


def test_beside_the_list_first_then_the_working_directory(tmp_path, monkeypatch):
    touch(tmp_path / "lists/a.mp4", tmp_path / "a.mp4", tmp_path / "b.mp4")
    path = write(tmp_path / "lists/l.txt", "a.mp4 0\nb.mp4 1\nnowhere.mp4 2\n")
    monkeypatch.chdir(tmp_path)
    assert [item.path for item in read_list(path)] == [
        f"{tmp_path}/lists/a.mp4",
        "b.mp4",
        f"{tmp_path}/lists/nowhere.mp4",
    ]


@pytest.mark.parametrize("line, message", [
    ("only_a_path.mp4", "no label"),
    ("a.mp4 x", "no number"),
    ("a.mp4 -1", "outside 0 to 3"),
    ("a.mp4 4", "outside 0 to 3"),
    ("a.mp4 1.0", "no number"),
    ("a\0.mp4 1", "NUL"),
])  # fmt: skip
def test_a_malformed_line_is_named(tmp_path, line, message):
    path = write(tmp_path / "l.txt", f"fine.mp4 0\n\n{line}\n")
    with pytest.raises(UserError, match=message) as caught:
        read_list(path, 4)
    assert str(caught.value).startswith(f"{path}:3: ")


def test_missing_and_empty_lists(tmp_path):
    with pytest.raises(UserError, match="cannot read the list"):
        read_list(tmp_path / "no.txt")
    with pytest.raises(UserError, match="cannot read the list"):
        read_list(tmp_path)
    with pytest.raises(UserError, match="holds no video"):
        read_list(write(tmp_path / "l.txt", "# nothing\n\n"))


def test_names_in_place_of_numbers(tmp_path):
    path = write(tmp_path / "l.txt", "a.mp4 arm_wrestling\nb.mp4 0\n")
    names = ["abseiling", "arm wrestling"]
    assert [item.label for item in read_list(path, class_names=names)] == [1, 0]
    with pytest.raises(UserError, match="no class name"):
        read_list(write(tmp_path / "l.txt", "a.mp4 juggling\n"), class_names=names)


def test_several_labels(tmp_path):
    path = write(tmp_path / "l.txt", "a.mp4 3,1\nb.mp4 2\nc.mp4 -\n")
    assert [item.labels for item in read_list(path, 4, multi_label=True)] == [(3, 1), (2,), ()]
    with pytest.raises(UserError, match="no number"):
        read_list(path, 4)


def test_labels_may_be_missing_for_prediction(tmp_path):
    touch(tmp_path / "my clip 7", tmp_path / "b.mp4")
    path = write(tmp_path / "l.txt", "a.mp4\nb.mp4 2\nmy clip 7\nwith space.mp4\n")
    items = read_list(path, 4, labels_required=False)
    assert [(os.path.basename(item.path), item.label) for item in items] == [
        ("a.mp4", -1), ("b.mp4", 2), ("my clip 7", -1), ("with space.mp4", -1),
    ]  # fmt: skip


def zoo_list(tmp_path, names, indices):
    lines = [f"{n} {i} {clip} {crop}" for n, i in zip(names, indices) for clip in range(10) for crop in range(3)]
    return write(tmp_path / "test.txt", "\n".join(lines) + "\n")


def test_the_zoos_four_columns_become_one_item_a_video(tmp_path):
    truth = write(tmp_path / "val.txt", "x/a b.mp4 3\nx/b.mp4 1\nx/c.mp4 2\n")
    items = read_list(zoo_list(tmp_path, ["a b.mp4", "c.mp4"], [0, 2]), 4, filename_gt=truth)
    assert [(os.path.basename(item.path), item.label) for item in items] == [("a b.mp4", 3), ("c.mp4", 2)]
    assert [item.line for item in items] == [1, 31]


def test_the_four_columns_need_labels_that_belong_to_them(tmp_path):
    truth = write(tmp_path / "val.txt", "a.mp4 3\nb.mp4 1\n")
    with pytest.raises(UserError, match="filename_gt"):
        read_list(zoo_list(tmp_path, ["a.mp4"], [0]), 4)
    with pytest.raises(UserError, match="holds 2"):
        read_list(zoo_list(tmp_path, ["a.mp4"], [2]), 4, filename_gt=truth)
    with pytest.raises(UserError, match="do not belong together"):
        read_list(zoo_list(tmp_path, ["a.mp4"], [1]), 4, filename_gt=truth)
    items = read_list(zoo_list(tmp_path, ["a.mp4"], [0]), 4, labels_required=False)
    assert items[0].label == -1


def test_a_name_that_ends_in_numbers_is_no_fourth_column(tmp_path):
    touch(tmp_path / "clip 10 2")
    items = read_list(write(tmp_path / "l.txt", "clip 10 2 1\n"), 4)
    assert (os.path.basename(items[0].path), items[0].label) == ("clip 10 2", 1)


@pytest.mark.parametrize("content", [
    {"arm_wrestling": 1, '"abseiling"': 0},
    {"1": "arm_wrestling", "0": "abseiling"},
    {"arm_wrestling": "1", "abseiling": "0"},
    ["abseiling", "arm_wrestling"],
])  # fmt: skip
def test_class_names_from_json(tmp_path, content):
    path = write(tmp_path / "names.json", json.dumps(content))
    assert read_class_names(path, 2) == ["abseiling", "arm_wrestling"]


@pytest.mark.parametrize(
    "text", ["abseiling\narm wrestling\n", "0 abseiling\n1 arm wrestling", "1 abseiling\n2 arm wrestling\n"]
)
def test_class_names_from_text(tmp_path, text):
    assert read_class_names(write(tmp_path / "names.txt", text), 2) == ["abseiling", "arm wrestling"]


@pytest.mark.parametrize("name, text, message", [
    ("n.txt", "a\nb\n", "names 2 classes, but MODEL.num_classes is 3"),
    ("n.txt", "a\nb c\nb_c\n", "both called"),
    ("n.json", '{"a": 0, "b": 2, "c": 3}', "are not 0 to 2"),
    ("n.json", '{"a": [0]}', "expected"),
    ("n.json", "{", "no json"),
])  # fmt: skip
def test_wrong_class_names(tmp_path, name, text, message):
    with pytest.raises(UserError, match=message):
        read_class_names(write(tmp_path / name, text), 3)
