"""Exported networks in OpenVINO, on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from engines.exporting import ONNX_FILE


def open_session(folder: Path, precision: str, device: str, num_threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """frames float32 [N*T, 3, H, W] -> scores float32 [N, K] of the network in `folder`."""
    import openvino

    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]  # left to itself it takes bfloat16 where it can
    settings = {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": num_threads, "INFERENCE_PRECISION_HINT": hint
    }  # fmt: skip
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(str(Path(folder) / ONNX_FILE)), "CPU", settings)
    request, output = compiled.create_infer_request(), compiled.output(0)
    return lambda frames: np.array(request.infer({0: frames})[output], np.float32)
