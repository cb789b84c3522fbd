from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import paddle
import pytest

from tests.script_runs import ROOT
from utils.errors import RunError, UserError
from utils.runtime import PaddleBuild, available_cores, choose_device, current_device, paddle_build, tensor_of

SAY = """
import os
from utils.runtime import prepare_environment
prepare_environment()
print(os.environ['OMP_NUM_THREADS'])
"""


def run_python(**environment):
    kept = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE")}
    command = [sys.executable, "-c", SAY]
    return subprocess.run(command, cwd=ROOT, env={**kept, **environment}, capture_output=True, text=True)


def test_all_cores_compute_by_default_without_a_word_on_stderr():
    done = run_python()
    assert int(done.stdout) == available_cores()
    assert "OMP_NUM_THREADS" not in done.stderr


def test_the_users_own_environment_stays():
    assert run_python(OMP_NUM_THREADS="1").stdout.strip() == "1"


def test_the_file_of_versions_says_what_paddle_itself_says():
    build = paddle_build()
    assert build.version == paddle.__version__
    has_others = paddle.device.is_compiled_with_cuda() or paddle.device.is_compiled_with_xpu()
    assert build.cpu_only != has_others and current_device() == paddle.device.get_device().partition(":")[0]


@pytest.mark.parametrize(
    ("versions", "cpu_only"),
    [
        ({}, True),
        ({"cuda_version": "'11.8'"}, False),
        ({"hip_version": "'5.2'"}, False),
        ({"xpu_version": "'2.0'"}, False),
        ({"hip_version": "None", "xpu_xre_version": "'False'"}, True),
    ],
)
def test_a_paddle_for_other_devices_is_told_by_its_versions(monkeypatch, tmp_path, versions, cpu_only):
    (tmp_path / "paddle/version").mkdir(parents=True)
    (tmp_path / "paddle/__init__.py").write_text("raise RuntimeError('imported')")
    values = {"full_version": "'9.8.7'", "cuda_version": "'False'", **versions}
    text = "".join(f"{name} = {value}\n" for name, value in values.items())
    (tmp_path / "paddle/version/__init__.py").write_text(text)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "paddle")
    assert paddle_build.__wrapped__() == ("9.8.7", cpu_only)


def test_a_gpu_is_taken_only_where_there_is_one(monkeypatch):
    monkeypatch.setattr("utils.runtime.paddle_build", lambda: PaddleBuild("3.3.1", cpu_only=False))
    monkeypatch.setattr(paddle.device, "is_compiled_with_cuda", lambda: False)
    assert choose_device(None) == "cpu" and choose_device(False) == "cpu"
    with pytest.raises(UserError, match="without CUDA"):
        choose_device(True)
    monkeypatch.setattr(paddle.device, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 0)
    assert choose_device(None) == "cpu"
    with pytest.raises(UserError, match="no GPU is visible"):
        choose_device(True)
    chosen = []
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(paddle.device, "set_device", chosen.append)
    assert choose_device(None) == choose_device(True) == "gpu" and choose_device(False) == "cpu"
    assert chosen == ["gpu", "gpu", "cpu"]
    monkeypatch.setattr(paddle.device, "get_device", lambda: "gpu:0")
    assert current_device() == "gpu"


def test_a_paddle_for_cpus_alone_has_no_gpu(monkeypatch):
    monkeypatch.setattr("utils.runtime.paddle_build", lambda: PaddleBuild("3.3.1", cpu_only=True))
    assert choose_device(None) == choose_device(False) == current_device() == "cpu"
    with pytest.raises(UserError, match="without CUDA"):
        choose_device(True)


@pytest.mark.parametrize(
    ("error", "status"), [(UserError("a\nb"), 2), (RunError("a\nb"), 1), (KeyboardInterrupt(), 130)]
)
def test_an_ending_is_one_line_and_a_status(error, status, capsys):
    from utils.cli import run

    def main():
        raise error

    with pytest.raises(SystemExit) as ending:
        run(main)
    assert ending.value.code == status
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith(("error: a b", "error: stopped"))


def test_a_tensor_of_an_array_has_its_values_and_on_cpus_its_memory():
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    frozen = array.copy()
    frozen.setflags(write=False)
    for source in (array, array[:, :2], array.transpose(0, 2, 1), frozen):
        np.testing.assert_array_equal(tensor_of(source).numpy(), source)
    tensor = tensor_of(array)
    array[0, 0, 0] = 7
    shares = paddle.get_device() == "cpu" and not paddle.__version__.startswith("2.")
    assert (float(tensor[0, 0, 0]) == 7) == shares
    values = array.copy()
    del array
    np.testing.assert_array_equal(tensor.numpy()[1], values[1])  # the tensor keeps the memory alive
