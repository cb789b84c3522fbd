"""Exported networks in Paddle Inference: oneDNN on CPUs, cuDNN on GPUs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import paddle

from inference.export import STEM, graph_file

GPU_MEMORY_MB = 1024  # to begin with; it grows


def open_session(
    folder: Path, precision: str, device: str, num_threads: int
) -> Callable[[np.ndarray], list[np.ndarray]]:
    """frames float32 [N*T, 3, H, W] -> scores float32 [N, K] and logits [N, P, K] of the network in `folder`."""
    from paddle import inference
    from paddle.base import core

    config = inference.Config(str(graph_file(folder)), str(Path(folder) / f"{STEM}.pdiparams"))
    config.disable_glog_info()
    if device == "gpu":
        kind = {"float32": "Float32", "float16": "Half", "bfloat16": "Bfloat16"}[precision]
        config.enable_use_gpu(
            GPU_MEMORY_MB,
            int(paddle.device.get_device().partition(":")[2] or 0),
            getattr(inference.PrecisionType, kind),
        )
    else:
        config.disable_gpu()
        config.enable_mkldnn()
        config.set_cpu_math_library_num_threads(num_threads)
        if precision == "bfloat16":
            config.enable_mkldnn_bfloat16()
    predictor = inference.create_predictor(config)
    source = predictor.get_input_handle(predictor.get_input_names()[0])
    results = [predictor.get_output_handle(name) for name in predictor.get_output_names()]

    def run(frames: np.ndarray) -> list[np.ndarray]:
        source.reshape(list(frames.shape))
        source.copy_from_cpu(frames)
        predictor.run()
        core.set_num_threads(num_threads)  # a run leaves Paddle's maths library with one thread
        return [np.asarray(result.copy_to_cpu(), np.float32) for result in results]

    return run
