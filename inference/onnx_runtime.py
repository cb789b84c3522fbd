"""Exported networks in ONNX Runtime, on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from inference.export import ONNX_FILE


def open_session(
    folder: Path, precision: str, device: str, num_threads: int
) -> Callable[[np.ndarray], list[np.ndarray]]:
    """frames float32 [N*T, 3, H, W] -> scores float32 [N, K] and logits [N, P, K] of the network in `folder`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(Path(folder) / ONNX_FILE), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda frames: session.run(None, {name: frames})
