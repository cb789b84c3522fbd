"""Validation: the centre clip and crop of every video of VALID, each scored once whatever the number of processes."""

from __future__ import annotations

import contextlib
import itertools

import paddle

from datareader import build_valid_loader
from utils.parallel import Processes
from utils.runtime import available_cores


def validate(model, config, items, objective, processes: Processes, say, check_stop=lambda: None) -> dict:
    """The objective's figures over `items`, and num_broken; the same on all processes.

    say: takes lines of text. check_stop: called before each batch, by all processes equally often; may raise.
    """
    model.eval()
    num_workers = min(config.VALID.num_reader_threads, available_cores())
    loader = build_valid_loader(config, items, num_workers=num_workers, rank=processes.rank, world_size=processes.count)
    most_batches = max(processes.gather(len(loader)))
    scored, failures = [], []
    with contextlib.closing(loader), paddle.no_grad():
        for batch in itertools.islice(itertools.chain(loader, itertools.repeat(None)), most_batches):
            check_stop()
            if batch is None:
                continue
            failures += batch.failures
            if len(batch):
                logits = model(paddle.to_tensor(batch.clips))
                scores, targets = model.class_scores(logits).numpy(), paddle.to_tensor(objective.targets(batch))
                losses = [
                    objective.loss(logits[i].mean(0, keepdim=True), targets[i : i + 1]) for i in range(len(batch))
                ]
                rows = zip(batch.video_id.tolist(), scores, losses)
                scored += [(video_id, row, loss.item()) for video_id, row, loss in rows]
    failures = [failure for part in processes.gather(failures) for failure in part]
    for failure in failures:
        say(f"broken validation video, counted as wrong: {failure.path}: {failure.reason}")
    return {**objective.validation(items, scored, processes), "num_broken": len(failures)}
