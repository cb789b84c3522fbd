"""A bare matrix product in a precision: what the rate of a network in that precision is compared with."""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable

import numpy as np

from utils.errors import UserError
from utils.runtime import available_cores

MATRIX = "matrix product"
MATRIX_SIDE = 2048
CHAIN = 4  # products in a row in OpenVINO, so that converting the first matrix does not count
RUNS = 3  # of each call in a round; the median counts


def matrix_name(precision: str) -> str:
    """The name of its side."""
    return f"{MATRIX}, {precision}"


def matrix_product(
    precision: str, threads: int | None = None, clock: Callable[[], float] = time.perf_counter
) -> Callable[[], float]:
    """Seconds of a product of two square matrices of MATRIX_SIDE: float32 by Paddle's maths library, bfloat16 and int8
    (into 32-bit sums) by OpenVINO.

    threads: None: the number of cores. Raises UserError where OpenVINO is needed and not installed.
    """
    if precision == "float32":
        import paddle

        left, right = paddle.randn([2, MATRIX_SIDE, MATRIX_SIDE])
        return lambda: median_seconds(lambda: paddle.matmul(left, right).numpy(), clock)
    if importlib.util.find_spec("openvino") is None:
        raise UserError(f"the {matrix_name(precision)} needs openvino")
    product = _openvino_products(precision, threads or available_cores())
    matrix = np.random.default_rng(0).uniform(-1, 1, (MATRIX_SIDE, MATRIX_SIDE)).astype(np.float32)
    return lambda: median_seconds(lambda: product(matrix), clock) / CHAIN


def matrix_rate(seconds: float) -> float:
    """1e9 operations a second, a product and a sum each."""
    return 2 * MATRIX_SIDE**3 / seconds / 1e9


def rates_of(sides: dict[str, list[float]], operations: dict[str, float]) -> dict[str, dict[str, float]]:
    """Side -> `rate`, 1e9 operations a second; and where the matrix product of its precision was measured, its
    `percent` of that.

    sides: "name, precision" -> seconds of each round. operations: of the sides that have a rate, matrix products aside.
    """
    medians = {side: statistics.median(seconds) for side, seconds in sides.items()}
    rates: dict[str, dict[str, float]] = {}
    for side, median in medians.items():
        if side.startswith(MATRIX):
            rates[side] = {"rate": matrix_rate(median)}
        elif side in operations:
            rates[side] = {"rate": operations[side] / median / 1e9}
        bare = matrix_name(side.rpartition(", ")[2])
        if side in rates and bare in medians:
            rates[side]["percent"] = 100 * rates[side]["rate"] / matrix_rate(medians[bare])
    return rates


def print_rates(rates: dict[str, dict[str, dict[str, float]]]) -> None:
    """Rates of each case's sides, beside the bare matrix product's."""
    from tabulate import tabulate

    rows = [
        (case, side, found["rate"], found.get("percent"))
        for case, sides in rates.items()
        for side, found in sides.items()
    ]
    headers = ("case", "side", "1e9 operations / s", "% of the matrix product in this precision")
    print(tabulate(rows, headers, floatfmt=".0f"))


def median_seconds(call: Callable[[], object], clock: Callable[[], float]) -> float:
    """Seconds of a call, the median of RUNS."""
    seconds = []
    for _ in range(RUNS):
        started = clock()
        call()
        seconds.append(clock() - started)
    return statistics.median(seconds)


def _openvino_products(precision: str, threads: int) -> Callable[[np.ndarray], object]:
    """x -> the largest value of each row of x W W ... W, CHAIN products."""
    import openvino
    from openvino import opset13 as ops

    rng, is_int8 = np.random.default_rng(1), precision == "int8"

    def eight_bit(values, levels: int):
        """Values in steps, which OpenVINO computes as 8-bit integers; 255 levels are symmetric, as kernels must be."""
        low, high = (ops.constant(np.float32(bound)) for bound in (-1, 1 if levels == 255 else 127 / 128))
        return ops.fake_quantize(values, low, high, low, high, levels)

    source = ops.parameter([MATRIX_SIDE, MATRIX_SIDE], np.float32)
    result = source
    for _ in range(CHAIN):
        kernel = ops.constant((rng.uniform(-1, 1, (MATRIX_SIDE, MATRIX_SIDE)) / MATRIX_SIDE**0.5).astype(np.float32))
        if is_int8:
            result = ops.matmul(eight_bit(result, 256), eight_bit(kernel, 255), False, False)
        else:
            result = ops.matmul(result, kernel, False, False)
    model = openvino.Model([ops.reduce_max(result, ops.constant(np.array([1])), False)], [source])
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32" if is_int8 else "bf16",
    }
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    return lambda matrix: request.infer({0: matrix}, share_inputs=True)
