"""Exported networks in OpenVINO, on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from inference.export import ONNX_FILE


def open_session(
    folder: Path, precision: str, device: str, num_threads: int
) -> Callable[[np.ndarray], list[np.ndarray]]:
    """frames float32 [N*T, 3, H, W] -> scores float32 [N, K] and logits [N, P, K] of the network in `folder`."""
    import openvino

    hint = {"float32": "f32", "bfloat16": "bf16"}[precision]  # left to itself it takes bfloat16 where it can
    settings = {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": num_threads, "INFERENCE_PRECISION_HINT": hint
    }  # fmt: skip
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(str(Path(folder) / ONNX_FILE)), "CPU", settings)
    request = compiled.create_infer_request()

    def run(frames: np.ndarray) -> list[np.ndarray]:
        results = request.infer({0: frames})
        return [np.array(results[output], np.float32) for output in compiled.outputs]

    return run
