"""Which engine computes, and in which precision: the flags, what is installed, and what `auto` takes."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from utils.errors import UserError

# engine -> packages that it needs beside Paddle
PACKAGES: dict[str, tuple[str, ...]] = {
    "paddle": (),
    "inference": (),
    "onnxruntime": ("onnxruntime", "paddle2onnx"),
    "openvino": ("openvino", "paddle2onnx"),
}
ENGINES = ("auto", *PACKAGES)
PRECISIONS = ("float32", "bfloat16", "float16")
FASTEST_FIRST = ("openvino", "onnxruntime", "inference", "paddle")  # on CPUs, measured: docs/backends.md
BFLOAT16_UNITS = {"avx512_bf16", "amx_bf16", "bf16"}  # the last is ARM's name
INSTALL_HINT = 'pip install ".[fast]"'


def add_engine_flags(parser: argparse.ArgumentParser) -> None:
    """Add --engine and --precision; their values go to `build_engine` as they are."""
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="who computes: Paddle's network as it is, or an export of it to Paddle Inference, ONNX Runtime or "
        "OpenVINO; auto takes the fastest that is installed (default: %(default)s)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="bfloat16 needs a processor that has it (inference, openvino) or a GPU, float16 a GPU "
        "(default: %(default)s)",
    )


def missing_packages(engine: str) -> list[str]:
    """The packages that the engine needs and that are not installed."""
    return [package for package in PACKAGES[engine] if importlib.util.find_spec(package) is None]


def check_engine(engine: str, precision: str, device: str) -> None:
    """Raise UserError, with what to do, when the engine cannot run here: package, device or precision.

    device: "cpu" or "gpu".
    """
    missing = missing_packages(engine)
    if missing:
        raise UserError(f"--engine={engine} needs {' and '.join(missing)}: {INSTALL_HINT}")
    if device == "gpu":
        if engine in ("onnxruntime", "openvino"):
            raise UserError(f"--engine={engine} computes on CPUs here; add --use_gpu=False or choose another engine")
        return
    if precision == "float16":
        raise UserError("--precision=float16 needs a GPU; leave --precision out on a CPU")
    if precision == "bfloat16":
        if engine not in ("inference", "openvino"):
            raise UserError(f"--engine={engine} has no bfloat16 on CPUs; choose --engine=inference or openvino")
        if not processor_has_bfloat16():
            raise UserError(
                "--precision=bfloat16: this processor has no bfloat16 instructions (avx512_bf16, amx_bf16); leave "
                "--precision out"
            )


def candidates(engine: str, precision: str, device: str) -> list[str]:
    """The engines to try, in order; for `auto` all that fit, each of which may still turn out not to work.

    On a GPU `auto` is Paddle's own network. Raises UserError when none fits.
    """
    if engine != "auto":
        check_engine(engine, precision, device)
        return [engine]
    if device == "gpu":
        return ["paddle"]
    refusals, fitting = [], []
    for name in FASTEST_FIRST:
        try:
            check_engine(name, precision, device)
            fitting.append(name)
        except UserError as error:
            refusals.append(error)
    if not fitting:
        raise next((error for error in refusals if "instructions" in str(error)), refusals[-1])
    return fitting


def not_installed() -> list[str]:
    """The engines of which a package is missing."""
    return [name for name in FASTEST_FIRST if missing_packages(name)]


def processor_has_bfloat16() -> bool:
    """Whether /proc/cpuinfo names an instruction set that multiplies bfloat16; False where there is no such file."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split())
    except OSError:
        return False
    return bool(words & BFLOAT16_UNITS)
