"""The process's environment: threads, the maths library's fast path, and the device."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import io
import os
import sys
import warnings
from typing import TYPE_CHECKING

from utils.errors import UserError
from utils.parallel import num_local

if TYPE_CHECKING:
    import numpy as np


def prepare_environment() -> None:
    """Set what Paddle reads once, at its import; values of the user's own environment stay.

    OMP_NUM_THREADS: all cores (Paddle starts with one). MKL_DEBUG_CPU_TYPE=5: the fast path of the bundled MKL on AMD
    processors too, harmless elsewhere. Then imports Paddle without its advice on the first of the two.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(available_cores()))
    os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.filterwarnings("ignore", "When training, we now always track global mean and variance")
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            import paddle  # noqa: F401
    except ImportError as error:
        raise UserError(f"Paddle cannot be imported ({error}); run `bash run.sh setup`") from error
    finally:
        expected = ("OMP_NUM_THREADS", "PLEASE USE OMP_NUM_THREADS", "ccache", "warnings.warn(warning_message)")
        rest = [line for line in said.getvalue().splitlines() if not any(word in line for word in expected)]
        if rest:
            print("\n".join(rest), file=sys.stderr)


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

    Raises UserError for use_gpu=True where there is no GPU or Paddle was built without CUDA.
    """
    import paddle

    has_gpu = paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if use_gpu and not has_gpu:
        cause = "no GPU is visible" if paddle.device.is_compiled_with_cuda() else "this Paddle is built without CUDA"
        raise UserError(f"--use_gpu=True, but {cause}; install paddlepaddle-gpu or leave --use_gpu out")
    device = "gpu" if has_gpu and use_gpu is not False else "cpu"
    paddle.device.set_device(device)
    return device
