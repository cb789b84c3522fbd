"""The non-local operation against its plain form, time and peak memory: python tools/benchmark.py nonlocal

The plain form computes the same y with the N x N' map in one piece, N' = N / 4 (sub-sampled keys), one clip. The
operation starts from theta, phi and g; --block measures the whole block with its four convolutions as well. Peak
memory is what a fresh process needs above its inputs (the kernel's count of resident memory; Linux).
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from tools.benchmarks.harness import alternate, report
from utils.errors import RunError, UserError
from utils.runtime import prepare_environment

CHANNELS, INNER = 512, 256
SIDE = 28
LONGEST_SHORT = 6272  # positions up to which a timed round takes several calls
FORMS = ("gaussian", "embedded_gaussian", "dot_product", "concatenation")
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
MODES = ("forward", "forward+backward")
PLAIN_NAMES = {
    "softmax_attention": lambda attention: (
        lambda theta, phi, g, chunk=None: attention.plain_softmax_attention(theta, phi, g)
    ),
    "dot_product_attention": lambda attention: attention.plain_dot_product_attention,
    "concatenation_attention": lambda attention: attention.plain_concatenation_attention,
}


def main(argv: list[str]) -> None:
    arguments = _parse(argv)
    prepare_environment()
    results: dict[str, dict[str, list[float]]] = {}
    peaks: dict[str, dict[str, float | None]] = {}
    parts = ("operation", "block") if arguments.block else ("operation",)
    for num_positions, form, part, mode in itertools.product(arguments.positions, arguments.forms, parts, MODES):
        case = f"{part} {form} N={num_positions} {mode}"
        has_plain = num_positions <= arguments.plain_up_to
        results[case], peaks[case] = {}, {}
        for side in ("plain", "ours") if has_plain else ("ours",):
            measured = _in_fresh_process(arguments.clock, part, form, num_positions, mode, side == "plain")
            results[case][side], peaks[case][side] = [measured[0]], measured[1]
        if has_plain:
            calls = max(1, LONGEST_SHORT // num_positions)
            runs = {
                side: _mean_of(calls, _prepared(part, form, num_positions, mode, side == "plain"), arguments.clock)
                for side in results[case]
            }
            results[case] = alternate(runs, arguments.repeats)
        print(case, {side: f"{min(seconds):.4f} s" for side, seconds in results[case].items()}, flush=True)
    facts = {"clock": arguments.clock, "threads": os.environ["OMP_NUM_THREADS"], "channels": CHANNELS, "inner": INNER}
    report("nonlocal", results, arguments.json, peak_megabytes_above_inputs=peaks, **facts)
    _print_memory(peaks)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmark.py nonlocal", description=__doc__)
    parser.add_argument("--positions", type=int, nargs="+", default=[784, 3136, 12544, 50176], help="values of N")
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds (default: %(default)s)")
    parser.add_argument("--plain_up_to", type=int, default=12544, help="largest N of the plain form; beyond, one call")
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall", help="cpu: on a machine that others use too")
    parser.add_argument("--block", action="store_true", help="measure whole blocks too")
    parser.add_argument("--json", help="write the results here")
    arguments = parser.parse_args(argv)
    wrong = [n for n in arguments.positions if n % 784 and n != 196 or n < 196]
    if wrong:
        raise UserError(f"--positions {wrong[0]}: a multiple of {SIDE * SIDE} (frames of {SIDE} x {SIDE}) or 196")
    return arguments


def _mean_of(calls: int, call: Callable[[], Any], clock: str) -> Callable[[], float]:
    """Seconds of one call as the mean of several, for calls that are too short to be timed alone."""

    def timed() -> float:
        started = CLOCKS[clock]()
        for _ in range(calls):
            call()
        return (CLOCKS[clock]() - started) / calls

    return timed


def _prepared(part: str, form: str, num_positions: int, mode: str, is_plain: bool) -> Callable[[], Any]:
    """A call of the operation or the block on fixed random inputs, with gradients of all inputs for the second mode."""
    import paddle

    paddle.seed(0)
    inputs, compute = (_operation if part == "operation" else _block)(form, num_positions, is_plain)
    for tensor in inputs:
        tensor.stop_gradient = mode == "forward"
    shape = [1, INNER, num_positions] if part == "operation" else inputs[0].shape
    direction = None if mode == "forward" else paddle.ones(shape)

    def run():
        if direction is None:
            with paddle.no_grad():
                compute(*inputs)
            return
        compute(*inputs).backward(direction)
        for tensor in inputs:
            tensor.clear_grad()

    return run


def _operation(form: str, num_positions: int, is_plain: bool):
    import paddle

    from models.nonlocal_model import attention

    num_keys, width = num_positions // 4, CHANNELS if form == "gaussian" else INNER
    g = paddle.randn([1, INNER, num_keys])
    if form == "concatenation":
        inputs = [paddle.randn([1, num_positions]), paddle.randn([1, num_keys]), g]
    else:
        inputs = [paddle.randn([1, width, num_positions]) * 0.1, paddle.randn([1, width, num_keys]) * 0.1, g]
    name = "softmax_attention" if form.endswith("gaussian") else f"{form}_attention"
    return inputs, PLAIN_NAMES[name](attention) if is_plain else getattr(attention, name)


def _block(form: str, num_positions: int, is_plain: bool):
    import paddle

    from models.nonlocal_model import attention
    from models.nonlocal_model.nonlocal_block import NonLocalBlock

    side = SIDE if num_positions >= SIDE * SIDE else 14
    num_frames = num_positions // side**2
    block = NonLocalBlock(CHANNELS, INNER, form)
    cheap = {name: getattr(attention, name) for name in PLAIN_NAMES}

    def compute(x):
        try:
            for name, plain in PLAIN_NAMES.items():
                setattr(attention, name, plain(attention) if is_plain else cheap[name])
            return block(x, num_frames)
        finally:
            for name, function in cheap.items():
                setattr(attention, name, function)

    return [paddle.randn([num_frames, CHANNELS, side, side])], compute


def _in_fresh_process(*case: Any) -> tuple[float, float | None]:
    """Seconds of one call and peak resident megabytes above the inputs (None where the system does not count it)."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_measure, *case).result()
        except BrokenProcessPool as error:
            raise RunError(f"the process that measures {case[1:]} was ended, perhaps for want of memory") from error


def _measure(clock: str, part: str, form: str, num_positions: int, mode: str, is_plain: bool):
    prepare_environment()
    _prepared(part, form, 196, mode, is_plain)()  # loads the libraries and their work space
    run = _prepared(part, form, num_positions, mode, is_plain)
    is_counted, before = peak_starts_anew(), resident_megabytes("VmRSS")
    seconds = _mean_of(1, run, clock)()
    return seconds, resident_megabytes("VmHWM") - before if is_counted else None


def peak_starts_anew() -> bool:
    """Reset this process's peak of resident memory; False where the system does not count it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def resident_megabytes(field: str) -> float:
    """VmRSS (now) or VmHWM (the peak) of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def _print_memory(peaks: dict[str, dict[str, float | None]]) -> None:
    from tabulate import tabulate

    rows = [(case, *(sides.get(side) for side in ("plain", "ours"))) for case, sides in peaks.items()]
    print(tabulate(rows, ("peak memory above the inputs, MB", "plain", "ours"), floatfmt=".1f", missingval="-"))
