"""The documentation: its commands run, its links lead somewhere."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from tests.script_runs import ROOT, make_videos

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "data/dataset/*/README.md", "examples/**/*.md")
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page):
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, heading = target.partition("#")
        if path.startswith(("http://", "https://")):
            continue
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page}: {target}"
        if heading and file.suffix == ".md":
            assert heading in headings(file), f"{page}: {target}"


def test_the_page_of_models_is_current():
    from tools.model_page import page

    assert (ROOT / "docs/models.md").read_text(encoding="utf-8") == page(), "run python -m tools.model_page"


def test_the_network_of_its_page_is_the_tested_one():
    shown = blocks("docs/add-a-network.md", "python")[0]
    assert shown == (ROOT / "tests/toy_network.py").read_text(encoding="utf-8")


def test_the_task_of_its_page_computes_its_formula():
    import numpy as np
    import paddle

    module: dict = {"__name__": "focal"}
    exec(blocks("docs/add-a-task.md", "python")[0], module)
    logits = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    targets = np.eye(3, dtype=np.float32)[[0, 2, 1, 1, 0]]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = -np.mean([(1 - q) ** 2 * np.log(q) for q in p[targets == 1]])
    task = module["Focal"](num_classes=3)
    found = float(task.loss(paddle.to_tensor(logits), paddle.to_tensor(targets)))
    assert found == pytest.approx(expected, rel=1e-5) and task.best_metric == "top1"


def test_the_list_generator_of_its_page_writes_lists(monkeypatch, tmp_path, capsys):
    (tmp_path / "make_lists.py").write_text(blocks("docs/add-a-data-set.md", "python")[0], encoding="utf-8")
    videos = make_videos(tmp_path / "videos", 4, 2)
    rows = [
        f"{path.name},class {label},{part}" for (path, label), part in zip(videos, ("train", "train", "test", "test"))
    ]
    (tmp_path / "all.csv").write_text("\n".join(["video,class,part", *rows]), encoding="utf-8")
    flags = f"--video_dir {tmp_path / 'videos'} --csv {tmp_path / 'all.csv'} --output_dir {tmp_path / 'lists'}"
    run_command(monkeypatch, f"python {tmp_path / 'make_lists.py'} {flags}")
    assert "2 training and 2 validation videos" in capsys.readouterr().out
    assert (tmp_path / "lists/class_names.txt").read_text() == "class 0\nclass 1\n"


def headings(file: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    lines = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.replace("`", "").lower()).replace(" ", "-") for line in lines}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def test_the_commands_of_getting_started_run(monkeypatch, tmp_path, capfd):
    """All of them, as they stand, on videos of a second and for two steps."""
    for path in ROOT.iterdir():  # a copy of the repository without what earlier runs wrote
        if path.name not in ("data", "output", ".git") and not path.name.startswith("my_"):
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/dataset").symlink_to(ROOT / "data/dataset")
    monkeypatch.chdir(tmp_path)
    names = ("opening a door", "closing a door")
    for path, label in make_videos(tmp_path / "all", 7, 2):
        (tmp_path / "my_videos" / names[label]).mkdir(parents=True, exist_ok=True)
        path.rename(tmp_path / "my_videos" / names[label] / path.name)
    (config,) = blocks("docs/getting-started.md", "yaml")
    assert "max_iter: 300" in config
    (tmp_path / "my.yaml").write_text(config.replace("max_iter: 300", "max_iter: 2"), encoding="utf-8")
    commands = [line for block in blocks("docs/getting-started.md", "bash") for line in block.splitlines() if line]
    assert sum(line.startswith("python ") for line in commands) == 7
    for line in commands:
        if line.startswith("python "):
            run_command(monkeypatch, line)
        else:
            assert line in ("bash run.sh setup", "source .venv/bin/activate")  # tests/test_run_script.py
    assert re.search(r"1  rise +0\.97\d\d", capfd.readouterr().out)
    for file in ("clips.png", "mine/curves.png", "mine/NONLOCAL.pdparams", "mine_eval/confusion_matrix.png"):
        assert (tmp_path / "output" / file).stat().st_size > 1000


def run_command(monkeypatch, line: str) -> None:
    """Run a line `python SCRIPT FLAGS` in this process; it must not fail."""
    script, *flags = shlex.split(line)[1:]
    monkeypatch.setattr(sys, "argv", [script, *flags])
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ending:
        assert ending.code in (None, 0), line
