"""One rank of two, started by Paddle's launcher from test_training_ranks.py: tries parts of a trainer that need a
peer, and trains with synchronised norms.

python -m paddle.distributed.launch --nproc_per_node=2 tests/two_ranks.py CONFIG FOLDER

What each rank finds is left in FOLDER/rank<n>.npz and FOLDER/rank<n>.json, each training in FOLDER/<its name>.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from utils.parallel import join_ranks  # noqa: E402 - started as a file
from utils.runtime import prepare_environment  # noqa: E402

SECONDS_LATE = 1.0
GAMMA = ["MODEL.bn_init_gamma=0.5", "NONLOCAL.bn_init_gamma=0.5"]
SYNCHRONISED = {  # trainings with synchronised norms: their overrides
    name: ["TRAIN.sync_bn=True", "TRAIN.dropout_rate=0", "TRAIN.epoch=1", *GAMMA, *overrides]
    for name, overrides in {
        "all trained": [],
        "first stages frozen": ["TRAIN.freeze=[stem, stage2]"],
        "norms frozen": ["TRAIN.freeze_norms=True"],
    }.items()
}


def message_of(call) -> str:
    """The message of the error that a call ends in."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def norm_statistics(tensors: dict) -> dict[str, np.ndarray]:
    return {n: np.array(t.numpy()) for n, t in tensors.items() if n.endswith(("._mean", "._variance"))}


def main(config_path: str, folder: Path) -> None:
    prepare_environment()
    ranks = join_ranks("cpu")
    rank = ranks.rank
    import paddle

    from configs import load_config
    from training.norms import estimate_statistics
    from training.trainer import Trainer

    paddle.set_device("cpu")
    found: dict = {}
    arrays: dict[str, np.ndarray] = {}

    def trainer(name: str, *overrides: str):
        return Trainer(load_config(config_path, overrides), str(folder / name), ranks=ranks, seed=0)

    # two steps, with statistics and an average that each rank would find otherwise
    run = trainer("run", "TRAIN.ema_decay=0.9")
    seeds: list[int] = []
    seed = paddle.seed
    paddle.seed = lambda value: (seeds.append(value), seed(value))[1]
    run.network.train()
    for norm in run.frozen_norms:
        norm.eval()
    before = norm_statistics(run.model.state_dict())
    for batch in run.loader:
        clips = batch.clips.copy()
        run.step(batch, 0.01, 0)
        run.iteration += 1
        if run.iteration == 1:
            arrays["clips"] = clips
            arrays["stem.before"] = before["stem.bn._mean"]
            arrays["stem.after"] = run.model.stem.bn._mean.numpy()
        if run.iteration == 2:
            break
    paddle.seed = seed
    found["seeds"] = seeds
    arrays.update({f"model/{n}": a for n, a in norm_statistics(run.model.state_dict()).items()})
    arrays.update({f"average/{n}": a for n, a in norm_statistics(run.average.tensors).items()})

    # precise norms of batches of different sizes; rank 0 has one more
    class OneNorm(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.norm = paddle.nn.BatchNorm2D(3)

        def forward(self, x):
            return self.norm(x)

    class Batch:
        def __init__(self, clips):
            self.clips = clips

    rng = np.random.default_rng(rank)
    batches = [
        Batch(rng.normal(i, 1 + i, (size, 3, 2, 2)).astype(np.float32)) for i, size in enumerate((5, 1, 2)[rank:])
    ]
    model = OneNorm()
    estimate_statistics(model, batches, ranks, [])
    arrays["precise.seen"] = np.concatenate([batch.clips for batch in batches])
    arrays["precise.mean"], arrays["precise.variance"] = model.norm._mean.numpy(), model.norm._variance.numpy()

    # what one rank knows, all act on
    run.broken = {f"broken{rank}.mp4": "cut"}
    run.config.READER.max_broken_share = 1.5 / len(run.items)
    found["broken"] = message_of(lambda: run.check_broken(0))
    sums = run.task.running_sums(np.zeros((len(batch), 3), np.float32), batch, 1.0)
    found["loss"] = message_of(lambda: run.agree(batch, [1.0, float("nan")][rank], sums))
    run.interruption.signal = [0, int(signal.SIGTERM)][rank]
    found["must_stop"] = bool(run.agree(batch, 1.0, sums)[1])
    run.interruption.signal = 0

    # a checkpoint that the first rank cannot write
    if rank == 0:
        (folder / "run").rename(folder / "moved")
        (folder / "run").write_text("no folder")
    found["disk"] = message_of(lambda: run.save("NONLOCAL_iter2"))
    found["announced"] = run.last_checkpoint

    # a rank that comes late
    entries: list[float] = []
    all_reduce = paddle.distributed.all_reduce
    paddle.distributed.all_reduce = lambda tensor: (entries.append(time.monotonic()), all_reduce(tensor))[1]
    if rank == 1:
        time.sleep(SECONDS_LATE)
    found["arrival"] = time.monotonic()
    found["late"] = message_of(ranks.barrier)
    found["gloo's start"] = entries[0]
    paddle.distributed.all_reduce = all_reduce
    run.loader.close()

    for name, overrides in SYNCHRONISED.items():
        trainer(name, *overrides).run()

    np.savez(folder / f"rank{rank}.npz", **arrays)
    (folder / f"rank{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
