"""run.sh: which Python it takes, what it makes, and that each mode asks for what its script imports and no more."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.script_runs import ROOT, make_videos, tiny_config, write_list

# Finds modules as the real Python does, but for those of $HIDDEN; says how it is called for all else.
STUB = f"""#!/bin/sh
case "$0" in *.venv*) HIDDEN="$HIDDEN_IN_VENV" ;; esac
export HIDDEN
case "$*" in
*find_spec*) exec {sys.executable} "$@" ;;
*"-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python && ln -sf python .venv/bin/python3 && echo "made .venv" ;;
*"pip install"*) for word in $NO_WHEELS; do case "$*" in *"$word"*) exit 1 ;; esac; done; echo "installed" ;;
*) echo "called $0 $*" ;;
esac
"""
HIDING = """
import importlib.util, os
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in os.environ["HIDDEN"].split() else find_spec(name, *rest)
"""
BLOCKING = """
import os, sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in os.environ["BLOCKED"].split():
            raise ModuleNotFoundError(f"{name} is not in the list of this mode", name=name)
sys.meta_path.insert(0, Blocked())
"""
OPTIONAL = {"tabulate", "matplotlib", "visualdl", "decord", "sklearn", "imageio_ffmpeg"}  # Paddle needs the rest itself


@pytest.fixture
def clone(tmp_path):
    """A folder with what run.sh reads, and in bin/ a stub in place of python3."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for path in (ROOT / "run.sh", ROOT / "pyproject.toml", *ROOT.glob("requirements*")):
        shutil.copy(path, folder)
    for name, text in (("bin/python3", STUB), ("site/sitecustomize.py", HIDING)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    (tmp_path / "bin/python3").chmod(0o755)
    return folder


def run_sh(
    clone: Path, *arguments: str, hidden: str = "", hidden_in_venv: str = "", python_folder: Path | None = None,
    no_wheels: str = "",
):  # fmt: skip
    env = {
        **os.environ,
        "PATH": f"{python_folder or clone.parent / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(clone.parent / "site"),
        "HIDDEN": hidden,
        "HIDDEN_IN_VENV": hidden_in_venv,
        "NO_WHEELS": no_wheels,
    }
    return subprocess.run(["bash", "run.sh", *arguments], cwd=clone, env=env, capture_output=True, text=True)


ZOO_LINE = ("NONLOCAL", "configs/x.yaml")


@pytest.mark.parametrize(
    ("mode", "hidden", "packages"),
    [
        ("train", "visualdl", ["'visualdl>=2.5,<3'"]),
        ("eval", "tabulate", ["'tabulate>=0.9,<1'"]),
        ("predict", "cv2 yaml", ["'opencv-python-headless>=4.5,<6'", "'PyYAML>=6,<7'"]),
        ("inference", "av", ["'av>=15,<19'"]),
        ("demo", "tabulate", ["'tabulate>=0.9,<1'"]),
        ("study", "matplotlib", ["'matplotlib>=3.5,<4'"]),
        ("classify", "pyarrow", ["'pyarrow>=19,<27'"]),
        ("test", "xdist ruff", ["'pytest-xdist>=3.8,<4'", "'ruff>=0.15,<1'"]),
    ],
)
def test_an_environment_with_paddle_that_lacks_a_module_is_told_so_with_the_pip_line(clone, mode, hidden, packages):
    done = run_sh(clone, mode, *(ZOO_LINE if mode not in ("classify", "demo", "study", "test") else ()), hidden=hidden)
    assert (done.returncode, done.stdout) == (2, "") and not (clone / ".venv").exists()
    (line,) = done.stderr.splitlines()
    python = clone.parent / "bin/python3"
    assert line.startswith(f"error: {python} has Paddle, but lacks {hidden}; ")
    assert f"{python} -m pip install {' '.join(packages)} " in line


@pytest.mark.parametrize("hidden", ["paddle", "paddle tabulate visualdl"])
def test_without_paddle_an_environment_is_made_and_used(clone, hidden):
    for is_there in (False, True):
        done = run_sh(clone, "train", *ZOO_LINE, hidden=hidden)
        assert done.returncode == 0, done.stderr
        *steps, call = done.stdout.splitlines()
        installing = "installing the packages of pyproject.toml into .venv ..."
        expected = [] if is_there else ["made .venv", installing, *["installed"] * 3]  # pip, packages, fast
        assert steps == expected
        assert call == f"called {clone}/.venv/bin/python train.py --model_name=NONLOCAL --config=configs/x.yaml"


@pytest.mark.parametrize(
    ("no_wheels", "num_installed", "notes"),
    [("", 3, []), ("openvino", 3, ["openvino"]), ("paddle2onnx", 2, ["openvino", "onnxruntime", "Paddle Inference"])],
)
def test_the_fastest_backend_with_wheels_is_installed_and_the_rest_is_told_once(clone, no_wheels, num_installed, notes):
    done = run_sh(clone, "setup", no_wheels=no_wheels)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines.count("installed") == num_installed
    told = [line for line in lines if line.startswith("note: ")]
    assert len(told) == len(notes) and all(word in line for word, line in zip(notes, told))
    assert "note: " not in run_sh(clone, "setup", no_wheels=no_wheels).stdout


def test_a_complete_environment_is_used_as_it_is(clone):
    done = run_sh(clone, "eval", *ZOO_LINE, "--views=1x1")
    arguments = "--model_name=NONLOCAL --config=configs/x.yaml --views=1x1"
    assert done.stdout == f"called {clone.parent}/bin/python3 eval.py {arguments}\n" and not (clone / ".venv").exists()


@pytest.mark.parametrize("flags", [[], ["--video_path=a.mp4"]])
def test_predict_alone_leaves_network_and_configuration_to_the_script(clone, flags):
    done = run_sh(clone, "predict", *flags)
    assert done.stdout.splitlines() == [" ".join([f"called {clone.parent}/bin/python3 predict.py", *flags])]


@pytest.mark.parametrize(("mode", "arguments"), [("train", []), ("eval", ["--views=1x1"]), ("predict", ["NONLOCAL"])])
def test_a_missing_network_or_configuration_is_told_with_the_usage(clone, mode, arguments):
    done = run_sh(clone, mode, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: usage: bash run.sh {mode} NONLOCAL ./configs/nonlocal.yaml [flags]\n"


def test_an_incomplete_environment_of_its_own_is_completed(clone):
    """Active or not: .venv lost a module, or its installation was stopped."""
    assert run_sh(clone, "train", *ZOO_LINE, hidden="paddle").returncode == 0
    for folder, hidden in ((None, "paddle"), (clone / ".venv/bin", "")):
        done = run_sh(
            clone, "train", *ZOO_LINE, hidden=hidden, hidden_in_venv="tabulate visualdl", python_folder=folder
        )
        assert done.returncode == 0, done.stderr
        assert "installed" in done.stdout.splitlines() and "called" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("mode", "hidden", "flags"),
    [("train", "tabulate", []), ("eval", "visualdl", []), ("predict", "visualdl matplotlib", ["--segments"]),
     ("export", "visualdl matplotlib", [])],
)  # fmt: skip
def test_a_mode_does_not_ask_for_what_only_others_need(clone, mode, hidden, flags):
    done = run_sh(clone, mode, *ZOO_LINE, *flags, hidden=hidden)
    assert done.returncode == 0 and f"{mode}.py" in done.stdout, done.stderr


@pytest.mark.parametrize("flags", [["--draw=a.mp4"], ["--draw", "a.mp4"]])
def test_labels_on_a_video_need_the_fonts_of_matplotlib(clone, flags):
    done = run_sh(clone, "predict", *ZOO_LINE, *flags, hidden="matplotlib")
    assert done.returncode == 2 and "lacks matplotlib;" in done.stderr


def modules_of(mode: str) -> set[str]:
    """The list of a mode in run.sh."""
    text = (ROOT / "run.sh").read_text(encoding="utf-8")
    lists = dict(re.findall(r'^(\w+)="(.*)"$', text, re.MULTILINE))
    return set(lists[f"modules_of_{mode}"].replace("$core", lists["core"]).split())


@pytest.fixture(scope="module")
def run_blocked(tmp_path_factory):
    """Runs a mode's script in a process that can import no optional module outside of the mode's list."""
    folder = tmp_path_factory.mktemp("blocked")
    (folder / "sitecustomize.py").write_text(BLOCKING)
    videos = make_videos(folder / "videos", 2, 2)
    config = tiny_config(folder, write_list(folder / "list.txt", videos))

    def run(mode: str, *flags: object) -> subprocess.CompletedProcess:
        env = {**os.environ, "PYTHONPATH": str(folder), "BLOCKED": " ".join(OPTIONAL - modules_of(mode))}
        command = [sys.executable, f"{mode}.py", f"--config={config}", f"--save_dir={folder / mode}", *map(str, flags)]
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)

    done = run("train", "--epoch=1")
    assert done.returncode == 0, done.stderr
    run.weights, run.video = f"--weights={folder / 'train/NONLOCAL.pdparams'}", f"--video_path={videos[0][0]}"
    return run


@pytest.mark.parametrize("mode", ["eval", "predict", "export"])
def test_the_list_of_a_mode_is_enough_for_its_script(run_blocked, mode):
    """The fixture shows it for train."""
    flags = {"eval": [], "predict": [run_blocked.video], "export": [run_blocked.video, "--crop_size=32"]}[mode]
    done = run_blocked(mode, run_blocked.weights, *flags)
    assert done.returncode == 0, done.stderr
