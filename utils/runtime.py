"""The process's environment: threads, the maths library's fast path, and the device."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import importlib.util
import io
import os
import runpy
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from utils.errors import UserError
from utils.parallel import num_local

if TYPE_CHECKING:
    from types import ModuleType

    import numpy as np

# in the file of versions of an installed Paddle; "False" or None: not built for it
DEVICE_VERSIONS = ("cuda_version", "hip_version", "rocm_version", "xpu_version", "xpu_xre_version")


class PaddleBuild(NamedTuple):
    """What the installed Paddle is. cpu_only: built for no other device than CPUs."""

    version: str
    cpu_only: bool


@functools.cache
def paddle_build() -> PaddleBuild:
    """Read from the installed package's own file of versions, because importing Paddle takes a second and 150 MB.

    Raises UserError where Paddle is not installed.
    """
    spec = importlib.util.find_spec("paddle")
    file = Path(spec.origin).parent / "version" / "__init__.py" if spec and spec.origin else None
    if file is None or not file.is_file():  # not installed, or run from its sources
        return PaddleBuild(import_paddle().__version__, cpu_only=False)
    facts = runpy.run_path(str(file))
    devices = [value for name, value in facts.items() if name in DEVICE_VERSIONS]
    return PaddleBuild(facts["full_version"], all(value in (None, "False") for value in devices))


def prepare_environment() -> None:
    """`set_variables`, then `import_paddle`: for programs that compute in Paddle whatever they are asked."""
    set_variables()
    import_paddle()


def set_variables() -> None:
    """Set what Paddle reads once, at its import; values of the user's own environment stay.

    OMP_NUM_THREADS: all cores (Paddle starts with one). MKL_DEBUG_CPU_TYPE=5: the fast path of the bundled MKL on AMD
    processors too, harmless elsewhere.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(available_cores()))
    os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.filterwarnings("ignore", "When training, we now always track global mean and variance")


def import_paddle() -> ModuleType:
    """Paddle, imported without its advice on OMP_NUM_THREADS. Raises UserError where it cannot be imported."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            import paddle
    except ImportError as error:
        raise UserError(f"Paddle cannot be imported ({error}); run `bash run.sh setup`") from error
    finally:
        expected = ("OMP_NUM_THREADS", "PLEASE USE OMP_NUM_THREADS", "ccache", "warnings.warn(warning_message)")
        rest = [line for line in said.getvalue().splitlines() if not any(word in line for word in expected)]
        if rest:
            print("\n".join(rest), file=sys.stderr)
    return paddle


def available_cores() -> int:
    """Cores that this process may use: its share of what a container or a scheduler gives, one at least."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // num_local())


def release_memory() -> None:
    """Give what is no longer used back to the system; glibc keeps hundreds of megabytes of freed arrays otherwise."""
    gc.collect()  # recorded layers refer to each other
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def tensor_of(array: np.ndarray):
    """The array as a tensor on Paddle's device; on CPUs without a copy, so that neither may be written to.

    A copy of 250 frames of 224 x 224 pixels would be 150 MB. Paddle 2.6 makes one, and so do arrays that are not
    contiguous.
    """
    import paddle

    on_cpu = paddle.device.get_device() == "cpu"
    if on_cpu and array.flags.c_contiguous and array.flags.writeable and not paddle.__version__.startswith("2."):
        return paddle.utils.dlpack.from_dlpack(array.__dlpack__())
    return paddle.to_tensor(array)


def choose_device(use_gpu: bool | None) -> str:
    """Select Paddle's device: None takes a GPU if there is one. Returns "gpu" or "cpu".

    A Paddle that knows only CPUs is not imported for it.
    Raises UserError for use_gpu=True where there is no GPU or Paddle was built without CUDA.
    """
    paddle = None if paddle_build().cpu_only else import_paddle()
    has_cuda = paddle is not None and paddle.device.is_compiled_with_cuda()
    has_gpu = has_cuda and paddle.device.cuda.device_count() > 0
    if use_gpu and not has_gpu:
        cause = "no GPU is visible" if has_cuda else "this Paddle is built without CUDA"
        raise UserError(f"--use_gpu=True, but {cause}; install paddlepaddle-gpu or leave --use_gpu out")
    device = "gpu" if has_gpu and use_gpu is not False else "cpu"
    if paddle is not None:
        paddle.device.set_device(device)
    return device


def current_device() -> str:
    """The kind of Paddle's device, "gpu" or "cpu"."""
    return "cpu" if paddle_build().cpu_only else import_paddle().device.get_device().partition(":")[0]
