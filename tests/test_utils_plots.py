import os
import warnings

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes

from utils.errors import RunError
from utils.plots import draw_answers, draw_bars, draw_confusion_matrix, draw_curves


def ink(path):
    """Fraction of the picture that is not white."""
    picture = cv2.imread(str(path))
    assert picture is not None and min(picture.shape[:2]) > 100
    return float((picture.min(axis=2) < 250).mean())


def history(num_rows=100):
    rows = [
        {"iteration": i, "kind": "train", "loss": 2 - i / 100, "top1": i, "top5": 100, "learning_rate": 0.1}
        for i in range(num_rows)
    ]
    rows += [{"iteration": i, "kind": "valid", "loss": 2.0, "top1": i / 2} for i in range(0, num_rows, 25)]
    return rows


def test_curves_draw_what_is_in_the_log(tmp_path):
    draw_curves([], tmp_path / "none.png")
    draw_curves(history(), tmp_path / "all.png", "übung $x 跳舞")
    draw_curves([{"iteration": 1, "kind": "train", "loss": float("nan"), "other": "text"}], tmp_path / "one.png")
    assert ink(tmp_path / "none.png") > 0.001 and ink(tmp_path / "one.png") > 0.001
    assert ink(tmp_path / "all.png") > ink(tmp_path / "none.png") + 0.003


@pytest.mark.parametrize("num_classes", [1, 2, 20, 60, 130])
def test_confusion_matrix_shows_the_diagonal(tmp_path, num_classes):
    names = [f"class number {index}" for index in range(num_classes)]
    matrix = np.eye(num_classes, dtype=np.int64) * 9
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_confusion_matrix(matrix, names, tmp_path / "right.png", "all right")
        draw_confusion_matrix(np.roll(matrix, 1, axis=1), names, tmp_path / "wrong.png", "all wrong")
    right, wrong = cv2.imread(str(tmp_path / "right.png")), cv2.imread(str(tmp_path / "wrong.png"))
    assert ink(tmp_path / "right.png") > 0.01
    if num_classes > 1:
        assert right.shape != wrong.shape or (right != wrong).any()


def test_confusion_is_told_from_the_true_class(tmp_path, monkeypatch):
    """Six videos of class 0, two of them taken for class 1; one of class 1."""
    drawn, imshow = [], Axes.imshow
    monkeypatch.setattr(Axes, "imshow", lambda self, data, **style: drawn.append(data) or imshow(self, data, **style))
    draw_confusion_matrix(np.array([[4, 2], [0, 1]]), None, tmp_path / "a.png")
    np.testing.assert_allclose(drawn, [[[4 / 6, 2 / 6], [0, 1]]])
    words, text = [], Axes.text
    monkeypatch.setattr(Axes, "text", lambda self, x, y, s, **style: words.append(s) or text(self, x, y, s, **style))
    matrix = np.eye(100, dtype=int)
    matrix[7, 9] = 3
    draw_confusion_matrix(matrix, [f"name{i}" for i in range(100)], tmp_path / "b.png")
    assert [line.split() for line in words[-1].splitlines()] == [
        ["3", "of", "4", "name7", "(7)"],
        ["taken", "for", "name9", "(9)"],
    ]


def test_names_of_every_kind(tmp_path):
    names = ["$x_1^$ {$", "Größe", "跳舞", "скользить", "\ud83d", "line\nbreak", "", "a" * 300, "😀", "\\frac{"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_confusion_matrix(np.eye(10, dtype=int), names, tmp_path / "names.png", "$\\nothing$")
        draw_confusion_matrix(np.zeros((3, 3), int), None, tmp_path / "empty.png")
        draw_bars(names, {"跳$": np.arange(10.0)}, tmp_path / "bars.png", "$", "跳舞")
    assert all(ink(tmp_path / f"{name}.png") > 0.01 for name in ("names", "empty", "bars"))


def test_bars_grow_with_their_values_and_skip_missing_ones(tmp_path):
    draw_bars(["a", "b"], {"x": [1.0, None], "y": [float("nan"), 0.1]}, tmp_path / "few.png", reference=1.0)
    draw_bars(["a", "b"], {"x": [1.0, 1.0], "y": [1.0, 1.0]}, tmp_path / "full.png", reference=1.0)
    assert ink(tmp_path / "full.png") > 1.3 * ink(tmp_path / "few.png")


@pytest.mark.parametrize("num_series", [1, 6, 7, 20, 150])
def test_no_two_series_of_bars_look_alike_however_many_there_are(tmp_path, monkeypatch, num_series):
    from matplotlib.figure import Figure

    drawn, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *args, **more: drawn.append(figure) or save(figure, *args, **more)
    )
    series = {f"side {i}": [1.0 + i, 2.0] for i in range(num_series)}
    draw_bars(["a", "b"], series, tmp_path / "bars.png")
    (axes,) = drawn[0].axes
    assert len(axes.containers) == num_series
    looks = [{(bar.get_facecolor(), bar.get_hatch()) for bar in bars} for bars in axes.containers]
    assert all(len(look) == 1 for look in looks)  # one look a series
    assert len(set().union(*looks)) == num_series
    for legend in drawn[0].legends:
        handles = [(handle.get_facecolor(), handle.get_hatch()) for handle in legend.get_patches()]
        assert handles == [look.pop() for look in looks]
    assert len(drawn[0].legends) == (num_series > 1)


def test_drawing_leaves_matplotlib_as_it_was(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    draw_curves(history(5), tmp_path / "curves.png")
    after = dict(matplotlib.rcParams)
    assert {key for key in before if before[key] != after[key]} <= {"backend"}


def test_bad_input(tmp_path):
    with pytest.raises(ValueError):
        draw_confusion_matrix(np.zeros((2, 3)), ["a", "b"], tmp_path / "x.png")
    with pytest.raises(ValueError):
        draw_confusion_matrix(np.zeros((2, 2)), ["a"], tmp_path / "x.png")
    with pytest.raises(ValueError):
        draw_bars(["a"], {"x": [1.0, 2.0]}, tmp_path / "x.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        draw_curves(history(3), tmp_path / "file" / "curves.png")
    assert os.listdir(tmp_path) == ["file"]


def test_an_answer_shows_frames_and_classes(tmp_path):
    frames = [np.full((60, 80, 3), 40 * number, np.uint8) for number in range(4)]
    classes = {"跳 $舞": 0.7, "b": 0.3}
    draw_answers({"forwards": (frames, classes), "reversed": (frames[:2], classes)}, tmp_path / "a.png", "title")
    draw_answers({"forwards": (frames, {"a": 1.0})}, tmp_path / "one.png")
    assert ink(tmp_path / "a.png") > 0.1 and ink(tmp_path / "one.png") > 0.1
    for rows in ({}, {"a": ([], classes)}, {"a": (frames, {})}):
        with pytest.raises(ValueError):
            draw_answers(rows, tmp_path / "b.png")
