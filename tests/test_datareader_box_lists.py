"""Csv files of boxes, lists of frames, label maps."""

from __future__ import annotations

import numpy as np
import pytest

from datareader.box_lists import (
    FrameIndex,
    read_detections,
    read_frame_list,
    read_label_map,
    read_truth,
    write_boxes,
    write_label_map,
)
from utils.errors import UserError

ROW = "v1,902,0.1,0.2,0.3,0.4,12,7"


def file_of(tmp_path, text, name="boxes.csv") -> str:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def truth_of(tmp_path, text, index=None):
    return read_truth(file_of(tmp_path, text), index or FrameIndex())


def test_avas_rows_are_read(tmp_path):
    index = FrameIndex()
    path = file_of(tmp_path, f"{ROW}\nv1,0902,0.1,0.2,0.3,0.4,80,7\nv2,1798,-0.005,0,1,1.005,1\nv2,1000\n")
    found = read_truth(path, index)
    assert found.rows["label"].tolist() == [12, 80, 1] and found.rows["person"].tolist() == [7, 7, -1]
    assert found.rows["box"][0].tolist() == [0.1, 0.2, 0.3, 0.4] and found.rows["score"].tolist() == [1, 1, 1]
    assert found.rows["frame"].tolist() == [0, 0, 1] and found.frames.tolist() == [0, 1, 2]
    assert index.videos == ["v1", "v2"] and index.video.tolist() == [0, 1, 1]
    assert index.time.tolist() == [902, 1798, 1000] and index.counts_frames is False
    assert (found.unit, found.notes) == ("relative", ())
    detected = read_detections(file_of(tmp_path, "v1,902.0,0,0,1,1,3,0.25\nv3,1,0,0,1,1,3,-2e1\n", "d.csv"), index)
    assert detected.rows["score"].tolist() == [0.25, -20] and detected.rows["frame"].tolist() == [0, 3]
    assert index.videos == ["v1", "v2", "v3"]


@pytest.mark.parametrize(
    "text",
    [
        "video_id,timestamp,x1,y1,x2,y2,action_id,person_id\n" + ROW,
        "\ufeff" + ROW,
        ROW.replace(",", ", ") + "\r\n\r\n",
        '"v1","0902","0.1","0.2","0.3","0.4","12","7"\n',
        "# made by hand\n# boxes: relative\n" + ROW,
        ROW.replace("902", "902.0004"),
    ],
)
def test_other_spellings_are_understood(tmp_path, text):
    index = FrameIndex()
    found = truth_of(tmp_path, text, index)
    assert found.rows.tobytes() == truth_of(tmp_path, ROW).rows.tobytes()
    assert index.videos == ["v1"] and index.time.tolist() == [902]


def test_pixels_and_numbered_frames(tmp_path):
    index = FrameIndex()
    found = truth_of(tmp_path, "# boxes: pixels\nv1,#1,10,20,300,40,12,0\nv1,#017,10,20,30,40,12,0\n", index)
    assert found.unit == "pixels" and index.counts_frames and index.time.tolist() == [1, 17]
    with pytest.raises(UserError, match=r"d.csv: none of the rows can be used; line 1: seconds and #frames are mixed"):
        read_detections(file_of(tmp_path, "v1,1,10,20,300,40,12,0.5", "d.csv"), index)


def test_a_box_of_one_pixel_is_none_that_is_empty(tmp_path):
    assert len(truth_of(tmp_path, "# boxes: pixels\nv1,#1,10,20,10,20,12,0\n").rows) == 1
    with pytest.raises(UserError, match="boxes.csv:2: the box is inverted or empty"):
        truth_of(tmp_path, "# boxes: pixels\nv1,#1,10,20,9,40,12,0\n")


def test_what_is_written_is_read_back(tmp_path):
    for text in (
        f'{ROW}\n"a,""b",1798.05,0.077,0,1,0.3333,1,-1\nv1,3\n',
        "# boxes: pixels\nv1,#12,10.5,20,100,40,1,0\n",
    ):
        index = FrameIndex()
        found = truth_of(tmp_path, text, index)
        empty = np.setdiff1d(found.frames, found.rows["frame"])
        write_boxes(tmp_path / "out.csv", found.rows, index, found.unit, "person", empty)
        assert (tmp_path / "out.csv").read_text() == text
    rows = read_detections(file_of(tmp_path, "v1,902,0,0,1,1,3,0.25"), index := FrameIndex()).rows
    write_boxes(tmp_path / "out.csv", rows, index, "relative", "score")
    assert (tmp_path / "out.csv").read_text() == "v1,902,0,0,1,1,3,0.25\n"


def test_a_repeated_row_of_truth_counts_once_and_is_noted(tmp_path):
    found = truth_of(tmp_path, f"{ROW}\n{ROW}\n{ROW.replace('12,7', '13,7')}\n{ROW[:-1]}8\n")
    assert found.rows["label"].tolist() == [12, 13] and found.rows["person"].tolist() == [7, 7]
    assert "2 rows repeat an earlier one" in found.notes[0]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("v1,902,0.1", "expected 2, 7 or 8 columns"),
        ("v1,902,0.1,0.2,0.3,0.4,12,7,8", "expected 2, 7 or 8 columns"),
        ("v1,902,0.1,0.2,0.3,abc,12,7", "a field is not a number"),
        ("v1,9o2,0.1,0.2,0.3,0.4,12,7", "a field is not a number"),
        ("v1,nan,0.1,0.2,0.3,0.4,12,7", "not a number of 0 or more"),
        ("v1,-1,0.1,0.2,0.3,0.4,12,7", "not a number of 0 or more"),
        ("v1,#1.5,0.1,0.2,0.3,0.4,12,7", "not a whole number"),
        ("v1,#5,0.1,0.2,0.3,0.4,12,7", "seconds and #frames are mixed"),
        (",902,0.1,0.2,0.3,0.4,12,7", "no name of a video"),
        ("v1,902,0.1,0.2,0.3,0.4,1.5,7", "not a whole number"),
        ("v1,902,0.1,0.2,0.3,0.4,0,7", "there is no action"),
        ("v1,902,0.1,0.2,0.3,0.4,,7", "there is no action"),
        ("v1,902,0.1,0.2,0.3,0.4,99999999999999999999,7", "not a whole number"),
        ("v1,902,0.1,0.2,0.3,0.4,12,x", "not a whole number"),
        ("v1,902,nan,0.2,0.3,0.4,12,7", "not finite"),
        ("v1,902,0.1,0.2,inf,0.4,12,7", "not finite"),
        ("v1,902,0.1,0.2,0.3,1e300,12,7", "not finite"),
        ("v1,902,0.3,0.2,0.1,0.4,12,7", "inverted or empty"),
        ("v1,902,0.1,0.2,0.3,0.2,12,7", "inverted or empty"),
        ("v1,902,0.1,0.2,0.3,1.02,12,7", "leaves the picture"),
        ("v1,902,-0.02,0.2,0.3,0.4,12,7", "leaves the picture"),
    ],
)
def test_a_row_of_truth_that_cannot_be_used_is_named(tmp_path, row, reason):
    with pytest.raises(UserError) as error:
        truth_of(tmp_path, f"{ROW}\n\n{row}\n")
    assert "boxes.csv:3: " in str(error.value) and reason in str(error.value)


def test_detections_that_cannot_be_used_are_dropped_and_counted(tmp_path):
    text = f"{ROW[:-1]}0.5\nv1,902\nv1,902,x,0,1,1,3,0.5\nv1,902,0,0,1,1,-1,0.5\nv1,902,0,0,1,1,,0.5\n"
    text += "v1,902,0,nan,1,1,3,0.5\nv1,903,0,0,1,1,3,inf\nv1,903,0.5,0,0.2,3,3,0.5\nv1,903,0,0,1,1,3\n"
    found = read_detections(file_of(tmp_path, text), FrameIndex())
    assert found.rows["score"].tolist() == [0.5, 0.5, 1] and found.rows["box"][1].tolist() == [0.5, 0, 0.2, 3]
    assert [note.partition(": ")[2] for note in found.notes] == [
        "1 rows are dropped, the first in line 3: a field is not a number",
        "2 rows are dropped, the first in line 4: there is no action (a number from 1)",
        "2 rows are dropped, the first in line 6: a coordinate or score is not finite",
        "1 rows have no score; it is taken as 1",
    ]


def test_an_empty_file_of_detections_is_one_without_detections(tmp_path):
    found = read_detections(file_of(tmp_path, ""), FrameIndex())
    assert len(found.rows) == len(found.frames) == 0 and found.notes == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no box"),
        ("v1,902\n", "holds no box"),
        ("v1,902,10,20,300,40,12,7\n", "look like pixels"),
        (f"# boxes: pixels\n{ROW}\n", "look like fractions"),
        (f"# boxes: percent\n{ROW}\n", ":1: expected `# boxes: relative`"),
        (f"{ROW}\n# boxes: pixels\n", ":2: expected `# boxes: relative`"),
        (b"\0\1\2" * 9, ":1: "),
        (b'v1,902,"' + b"0" * 200000, "not csv"),
    ],
)
def test_a_file_of_truth_that_cannot_be_used_is_refused(tmp_path, text, reason):
    with pytest.raises(UserError) as error:
        truth_of(tmp_path, text)
    assert "boxes.csv" in str(error.value) and reason in str(error.value)


def test_files_that_are_not_there_are_named(tmp_path):
    for read in (read_truth, read_detections, read_frame_list):
        with pytest.raises(UserError, match=r"cannot read .*none.csv: No such file"):
            read(str(tmp_path / "none.csv"), FrameIndex())
    with pytest.raises(UserError, match=r"cannot read .*: Is a directory"):
        read_label_map(str(tmp_path))


def test_a_list_of_frames(tmp_path):
    index = FrameIndex()
    truth_of(tmp_path, ROW, index)
    assert read_frame_list(file_of(tmp_path, "v1,0903\nv1,902\nv1,903\n"), index).tolist() == [0, 1]
    assert read_frame_list(file_of(tmp_path, ""), index).dtype == np.int64
    with pytest.raises(UserError, match=r":2: expected 2 columns"):
        read_frame_list(file_of(tmp_path, f"v1,902\n{ROW}\n"), index)


def test_label_maps_in_both_of_avas_forms(tmp_path):
    text = (
        'item {\n  name: "sit" # often\n  id: 11\n}\nitem {\n  name: "bend/bow (at \\"the\\" waist) #1"\n  id: 1\n}\n'
    )
    assert list(read_label_map(file_of(tmp_path, text)).items()) == [(1, 'bend/bow (at "the" waist) #1'), (11, "sit")]
    text = "# 2019\r\nlabel {\r\n  name: 'stand'\r\n  label_id: 12\r\n  label_type: PERSON_MOVEMENT\r\n}\r\n"
    assert read_label_map(file_of(tmp_path, text)) == {12: "stand"}
    names = {2: 'say "hi" {\\o/}', 5: "站立"}
    write_label_map(tmp_path / "map", names)
    assert read_label_map(str(tmp_path / "map")) == names


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", ":1: expected entries"),
        ('item { name: "a" id: 1 }\nitem { name: "b" }\n', ":2: expected entries"),
        ('item { name: "a" id: 1 }\nsit\n', ":2: expected entries"),
        ('item { name: "a" id: 1 }\n\nitem { name: "b" id: 1 }\n', ":3: id 1 is there twice"),
        ('item { name: "a" id: 0 }', ":1: id 0 is not in 1 .. 1000000"),
        ('item { name: "a" id: 1000001 }', "is not in 1 .. 1000000"),
        ('item { name: "a" id: 1', "expected entries"),
        ('item { name: "say "hi"" id: 1 }', "expected entries"),
        ("item { " + "id:1" * 5000, "expected entries"),
        (b"\xff\xfe", "not UTF-8"),
        ("word " * 50000, ":1: expected entries"),
    ],
)
def test_a_label_map_that_cannot_be_used_is_refused(tmp_path, text, reason):
    with pytest.raises(UserError) as error:
        read_label_map(file_of(tmp_path, text, "map.pbtxt"))
    assert "map.pbtxt" in str(error.value) and reason in str(error.value)
