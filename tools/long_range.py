"""Are two flashes, far apart in space and time, alike? python tools/long_range.py --save_dir=output/long_range

Each clip (8 frames of 32 x 32 pixels of noise) shows two flashes of two frames: one early near one corner, one late
near the opposite corner. Each is an upright or a lying bar, and the label says whether the two are alike. No unit of
the small C2D trunk sees both flashes, and the average pool adds what they leave behind. A sum of one term for each
flash tells nothing about whether they agree, so the trunk alone has to guess; a non-local block compares them.

The same trunk is trained without a block and with one block of each instantiation, from the same seed, on the same
clips. Prints the accuracies on 512 other clips and writes curves.png and curves.json; minutes on one core.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.cli import positive_int, run  # noqa: E402 - the tool is started as a file
from utils.files import write_atomically, write_json  # noqa: E402
from utils.runtime import prepare_environment  # noqa: E402

NUM_FRAMES, SIDE_PX, FLASH_FRAMES, BAR_PX = 8, 32, 2, 9
ORIENTATIONS = 2
NAMES = {
    "none": "no block",
    "embedded_gaussian": "embedded Gaussian",
    "gaussian": "Gaussian",
    "dot_product": "dot product",
    "concatenation": "concatenation",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--save_dir", default="output/long_range", help="where curves go (default: %(default)s)")
    parser.add_argument("--steps", type=positive_int, default=500, help="training steps (default: %(default)s)")
    parser.add_argument("--batch_size", type=positive_int, default=32, help="clips in a step")
    parser.add_argument("--seed", type=int, default=0, help="of weights and clips (default: %(default)s)")
    parser.add_argument("--forms", nargs="+", choices=list(NAMES), default=list(NAMES), help="what is trained")
    arguments = parser.parse_args()
    prepare_environment()
    valid = make_clips(np.random.default_rng((arguments.seed, 1)), 512)
    histories = {}
    for form in arguments.forms:
        started = time.perf_counter()
        histories[form] = train(form, arguments.steps, arguments.batch_size, arguments.seed, valid)
        last = histories[form][-1]
        seconds = time.perf_counter() - started
        print(
            f"{NAMES[form]}: accuracy {last['top1']:.1f} %, loss {last['loss']:.3f} after {seconds:.0f} s", flush=True
        )
    folder = Path(arguments.save_dir)
    write_json(folder / "curves.json", {"arguments": vars(arguments), "histories": histories})
    draw(histories, folder / "curves.png")
    print(f"curves in {folder}/curves.png")


def make_clips(rng: np.random.Generator, num_clips: int) -> tuple[np.ndarray, np.ndarray]:
    """Clips float32 [N, 3, T, S, S] and labels int64 [N]: 1 where both flashes have the same orientation."""
    noise = 0.3 * rng.standard_normal((num_clips, 1, NUM_FRAMES, SIDE_PX, SIDE_PX), dtype=np.float32)
    clips = np.repeat(noise, 3, axis=1)
    labels = rng.integers(0, 2, num_clips)
    bars = [_bar(k * np.pi / ORIENTATIONS) for k in range(ORIENTATIONS)]
    for clip, label in zip(clips, labels):
        first = rng.integers(ORIENTATIONS)
        second = first if label else (first + rng.integers(1, ORIENTATIONS)) % ORIENTATIONS
        corner = rng.integers(0, 2, 2)  # of the first flash: top or bottom, left or right
        for kind, is_late in ((first, 0), (second, 1)):
            start = rng.integers(0, 2) + is_late * (NUM_FRAMES - FLASH_FRAMES - 1)
            top, left = rng.integers(0, 4, 2) + np.abs(corner - is_late) * (SIDE_PX - BAR_PX - 3)
            clip[:, start : start + FLASH_FRAMES, top : top + BAR_PX, left : left + BAR_PX] += 2 * bars[kind]
    return clips, labels.astype(np.int64)


def _bar(angle: float) -> np.ndarray:
    """A soft white bar through the middle of a BAR_PX square."""
    y, x = np.mgrid[:BAR_PX, :BAR_PX] - BAR_PX // 2
    across, along = x * np.sin(angle) - y * np.cos(angle), x * np.cos(angle) + y * np.sin(angle)
    return np.exp(-((across / 1.2) ** 2) - (along / 4.5) ** 4).astype(np.float32)


def build(form: str, seed: int):
    """The small C2D trunk, one residual block a stage, with a non-local block after res3 unless form is "none"."""
    import paddle

    from models import NonLocalModel
    from models.nonlocal_model.options import Norm

    paddle.seed(seed)
    block = {} if form == "none" else {"instantiation": form, "conv_init_std": 0.1, "norm_init_scale": 1.0}
    return NonLocalModel(
        1,
        2,
        nonlocal_positions={} if form == "none" else {3: (0,)},
        nonlocal_options=block,
        norm=Norm(last_init_scale=1.0),  # from scratch, so few steps cannot wait for branches to grow from 0
        blocks_per_stage=(1, 1, 1, 1),
        widths={"stem_channels": 8, "res2_channels": 32, "inner_channels": 8},
        dropout_rate=0.0,
        head_pool_size=0,
    )


def train(form: str, num_steps: int, batch_size: int, seed: int, valid: tuple) -> list[dict[str, Any]]:
    """Rows {"iteration", "loss", "top1" (percent)} on the validation clips, every 50 steps."""
    import paddle
    import paddle.nn.functional as F

    model = build(form, seed)
    rate = paddle.optimizer.lr.CosineAnnealingDecay(3e-3, num_steps)
    optimizer = paddle.optimizer.Adam(rate, parameters=model.parameters())
    rng, history = np.random.default_rng((seed, 0)), []
    for step in range(num_steps):
        clips, labels = make_clips(rng, batch_size)
        model.train()
        loss = F.cross_entropy(model(paddle.to_tensor(clips)).mean(1), paddle.to_tensor(labels))
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        rate.step()
        if step % 50 == 49 or step + 1 == num_steps:
            history.append({"iteration": step + 1, **evaluate(model, valid)})
    return history


def evaluate(model, valid: tuple) -> dict[str, float]:
    """Loss and top1 (percent) in evaluation mode."""
    import paddle

    model.eval()
    scores = []
    with paddle.no_grad():
        for start in range(0, len(valid[1]), 64):
            scores.append(model.class_scores(model(paddle.to_tensor(valid[0][start : start + 64]))).numpy())
    scores = np.concatenate(scores)
    right = scores[np.arange(len(scores)), valid[1]]
    return {
        "loss": float(-np.log(np.maximum(right, 1e-30)).mean()),
        "top1": 100 * float((scores.argmax(1) == valid[1]).mean()),
    }


def draw(histories: dict[str, list[dict[str, Any]]], path_png: Path) -> None:
    """Accuracy and loss over iterations, one curve a form."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (key, label, chance) in zip(
        figure.subplots(1, 2), (("top1", "accuracy, %", 50.0), ("loss", "loss", float(np.log(2))))
    ):
        for form, history in histories.items():
            style = {"color": "black", "linestyle": "--"} if form == "none" else {}
            axes.plot([r["iteration"] for r in history], [r[key] for r in history], label=NAMES[form], **style)
        axes.axhline(chance, color="grey", linewidth=0.8, linestyle=":", label="chance")
        axes.set_xlabel("iteration")
        axes.set_ylabel(f"{label} on 512 unseen clips")
    figure.axes[0].legend(frameon=False, fontsize=9)
    write_atomically(path_png, lambda stream: figure.savefig(stream, format="png"))


if __name__ == "__main__":
    run(main)
