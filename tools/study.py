"""The S3D paper's findings, tried on videos drawn here: bash run.sh study

Trains seven networks of the S3D family from scratch with one recipe (configs/study.yaml) and several seeds, evaluates
held-out videos with their frames forwards and reversed, and writes table.md, runs.csv, results.json and pictures. Runs
go side by side, one thread each. The same command goes on where it was stopped; a finished run is not trained again.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from utils.cli import Parser, positive_int, run  # noqa: E402 - the tool is started as a file
from utils.errors import RunError, UserError  # noqa: E402
from utils.files import write_json, write_text  # noqa: E402
from utils.runtime import available_cores, prepare_environment  # noqa: E402

CONFIG, FAMILY = "configs/study.yaml", "S3D"
# name -> title and what of the configuration makes it. The heavy pair: the borders of the nearest multiply-adds.
NETWORKS = {
    "i2d": ("I2D", {"MODEL.arch": "i2d"}),
    "i3d": ("I3D", {"MODEL.arch": "i3d_inception"}),
    "s3d": ("S3D", {"MODEL.arch": "s3d"}),
    "s3d_g": ("S3D-G", {"MODEL.arch": "s3d_g"}),
    "fast_s3d": ("Fast-S3D", {"MODEL.arch": "fast_s3d"}),
    "top_heavy": ("Top-Heavy-S3D-10", {"MODEL.arch": "top_heavy_s3d", "S3D.temporal_from": "conv_2c"}),
    "bottom_heavy": ("Bottom-Heavy-S3D-1", {"MODEL.arch": "bottom_heavy_s3d", "S3D.temporal_to": "conv_1a"}),
}
ORDER_BLIND = "i2d"
OTHER_NUM_FRAMES = 16  # not 8j + 5: there I2D's strides see other frames of the reversed clip
VIEWS = "2x1"
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Job:
    """One run: a network of NETWORKS with one seed. overrides: of the configuration. folder: its own."""

    network: str
    seed: int
    overrides: tuple[str, ...]
    folder: Path

    @property
    def title(self) -> str:
        return f"{NETWORKS[self.network][0]}, seed {self.seed}"

    @property
    def weights(self) -> Path:
        return self.folder / "train" / f"{FAMILY}.pdparams"


def main() -> None:
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--output_dir", default="output/study", help="where the results go (default: %(default)s)")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS), help="default: all")
    parser.add_argument("--seeds", type=positive_int, default=3, help="runs of each network (%(default)s)")
    parser.add_argument("--num_train", type=positive_int, default=60, help="training videos a class (%(default)s)")
    parser.add_argument("--num_test", type=positive_int, default=40, help="held-out videos a class (%(default)s)")
    parser.add_argument("--processes", type=positive_int, help="runs side by side (default: one a core)")
    parser.add_argument("--report_only", action="store_true", help="train nothing; report the runs that are finished")
    parser.add_argument(
        "-o", "--override", action="append", default=[], metavar="SECTION.KEY=VALUE", help="for all networks"
    )
    args = parser.parse_args()
    output = Path(args.output_dir)
    num_processes = args.processes or available_cores()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the runs, and of this process, which only waits
    jobs = planned_jobs(output, args.networks, args.seeds, args.override)
    if args.report_only:
        jobs = [job for job in jobs if is_finished(job)]
        if not jobs:
            raise UserError(f"{output} holds no finished run; leave --report_only out")
    else:
        draw_videos(output / "videos", args.num_train, args.num_test, num_processes)
        run_jobs(jobs, num_processes)
    prepare_environment()
    draw_offsets(output, jobs)
    write_report(output, [result_of(job) for job in jobs], energy_by_offset(jobs))


def draw_videos(folder: Path, num_train: int, num_test: int, num_processes: int) -> None:
    """The demo's data set with more held-out videos."""
    from data.dataset.demo.make_videos import make_dataset

    if make_dataset(folder, num_train, 6, num_test, num_workers=num_processes):
        print(f"drew the videos of {folder}", flush=True)


def planned_jobs(output: Path, networks: Sequence[str], num_seeds: int, override: Sequence[str]) -> list[Job]:
    """All runs, seed by seed, so that a study that is stopped early has every network."""
    videos = output / "videos"
    lists = {
        "TRAIN.filelist": videos / "trainlist.txt",
        "VALID.filelist": videos / "vallist.txt",
        "TEST.filelist": videos / "testlist.txt",
        "MODEL.class_names": videos / "class_names.txt",
    }
    jobs = []
    for seed in range(num_seeds):
        for network in networks:
            keys = {**lists, **NETWORKS[network][1], "TRAIN.seed": seed}
            overrides = (*(f"{key}={value}" for key, value in keys.items()), *override)
            jobs.append(Job(network, seed, overrides, output / f"{network}_seed{seed}"))
    return jobs


# ------------------------------------------------------------------------------------------------------------ the runs


def run_jobs(jobs: Sequence[Job], num_processes: int) -> None:
    """Run what is not finished, `num_processes` at once, each in a process of its own.

    Raises UserError for a run that was made with other settings, RunError for one that failed.
    """
    waiting = [job for job in jobs if not is_finished(job)]
    print(f"{len(jobs) - len(waiting)} of {len(jobs)} runs are finished", flush=True)
    context = multiprocessing.get_context("spawn")
    running: list[tuple[Job, Any, float]] = []
    try:
        while waiting or running:
            while waiting and len(running) < num_processes:
                job = waiting.pop(0)
                process = context.Process(target=run_job, args=(job, os.getpid()))
                process.start()
                running.append((job, process, time.perf_counter()))
                print(f"started {job.title}; log: {job.folder / 'log.txt'}", flush=True)
            time.sleep(POLL_SECONDS)
            for entry in [entry for entry in running if not entry[1].is_alive()]:
                running.remove(entry)
                job, process, started = entry
                if process.exitcode:
                    log = job.folder / "log.txt"
                    raise RunError(f"{job.title} ended with status {process.exitcode}; its message is in {log}")
                top1 = result_of(job)["top1"]
                seconds = time.perf_counter() - started
                print(f"finished {job.title}: top-1 {top1:.1f} % after {seconds:.0f} s", flush=True)
    finally:
        for _, process, _ in running:
            process.terminate()
        for _, process, _ in running:
            process.join()


def is_finished(job: Job) -> bool:
    """Whether the run's results are there. Raises UserError where it was begun with other settings."""
    import yaml

    from configs import load_config, save_config

    path = job.folder / "config.yaml"
    if path.exists():
        now = yaml.safe_load(save_config(load_config(ROOT / CONFIG, job.overrides)))
        then = yaml.safe_load(path.read_text(encoding="utf-8"))
        for section, keys in then.items():
            for key, value in keys.items():  # a key that is new since then has its default
                if now.get(section, {}).get(key, value) != value:
                    raise UserError(
                        f"{job.folder} was begun with other settings ({section}.{key}: {value}); choose another "
                        "--output_dir or delete that folder"
                    )
    return (job.folder / "results.json").exists()


def run_job(job: Job, parent: int) -> None:
    """Train from where the run stopped, evaluate, write results.json last. The target of a process."""
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()
    job.folder.mkdir(parents=True, exist_ok=True)
    log = os.open(job.folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(log, stream)
    run(lambda: train_and_evaluate(job))


def end_with(parent: int) -> None:
    """End this process with its parent, however that ends."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(RunError.status)


def train_and_evaluate(job: Job) -> None:
    """Everything of a run, in its folder."""
    prepare_environment()
    from configs import load_config, save_config
    from inference import BackendSpec
    from inference.evaluate import EvalOptions, evaluate_videos
    from models import build_model
    from models.counts import multiply_adds, num_parameters
    from training.trainer import Trainer
    from utils.parallel import Ranks
    from utils.runtime import choose_device

    choose_device(use_gpu=False)
    config = load_config(ROOT / CONFIG, job.overrides)
    write_text(job.folder / "config.yaml", save_config(config))
    started, train = time.process_time(), job.folder / "train"
    Trainer(
        config, str(train), resume="auto", seed=config.TRAIN.seed, log_interval=20, valid_interval=0
    ).run()  # goes on from its newest checkpoint, and does nothing where it is trained
    seconds = time.process_time() - started

    lengths = {"": config.TEST.video_length}
    if job.network == ORDER_BLIND:
        lengths["_other_length"] = OTHER_NUM_FRAMES
    scores = {}
    for suffix, num_frames in lengths.items():
        for order in ("forward", "reversed"):
            changed = load_config(ROOT / CONFIG, (*job.overrides, f"TEST.video_length={num_frames}"))
            backend = BackendSpec(changed, str(job.weights), str(train), backend="paddle", section="TEST")
            folder = job.folder / f"{order}{suffix}"
            options = EvalOptions(folder, str(job.weights), VIEWS, order == "reversed", log_interval=0)
            evaluate_videos(changed, backend, options, Ranks())
            scores[order + suffix] = folder / "scores.npz"
    model = build_model(config)
    result: dict[str, Any] = {
        "network": job.network,
        "seed": job.seed,
        "parameters": num_parameters(model),
        "multiply_adds": multiply_adds(model, config.TRAIN.video_length, *[config.TRAIN.crop_size] * 2),
        "iterations": config.TRAIN.max_iter,
        "train_cpu_seconds": round(seconds, 1),  # of the last process alone
        "num_frames": config.TEST.video_length,
        **compare(scores["forward"], scores["reversed"]),
    }
    if job.network == ORDER_BLIND:
        other = compare(scores["forward_other_length"], scores["reversed_other_length"])
        result["other_num_frames"] = OTHER_NUM_FRAMES
        result["other_largest_change"] = other["largest_change"]
    write_json(job.folder / "results.json", result)


def compare(forward: Path, backward: Path) -> dict[str, Any]:
    """Metrics of a network on the same videos with their frames forwards and reversed; accuracies in percent.

    top1: of all classes. direction_top1: of the classes that turn into another one when reversed. direction_choice: of
    these, where the right direction has a higher score than its reversal (chance 50). motion_top1: the right motion in
    either direction. turned: of these videos reversed, those taken for the reversed class. largest_change: of a
    video's scores.
    """
    from data.dataset.demo.draw_motions import REVERSED_CLASS
    from metrics.results import load_scores

    one, two = load_scores(forward), load_scores(backward)
    if one.labels is None or one.class_names is None or one.paths != two.paths:
        raise RunError(f"{forward} and {backward} are not of the same videos; delete their folders and run again")
    names, labels = one.class_names, one.labels
    turned = [names.index(REVERSED_CLASS[name]) for name in names]
    opposite = one.labels.copy()
    for index, label in enumerate(labels):
        opposite[index] = turned[label]
    rows, has_direction = range(len(labels)), opposite != labels
    found: dict[str, Any] = {"num_videos": len(labels), "num_direction_videos": int(has_direction.sum())}
    for prefix, scores in (("", one.scores), ("reversed_", two.scores)):
        best = scores.argmax(1)
        right = best == labels
        found[f"{prefix}top1"] = 100 * float(right.mean())
        found[f"{prefix}direction_top1"] = 100 * float(right[has_direction].mean())
        found[f"{prefix}motion_top1"] = 100 * float((right | (best == opposite)).mean())
        difference = scores[rows, labels] - scores[rows, opposite]
        choice = (difference > 0) + 0.5 * (difference == 0)
        found[f"{prefix}direction_choice"] = 100 * float(choice[has_direction].mean())
    found["turned"] = 100 * float((two.scores.argmax(1) == opposite)[has_direction].mean())
    found["largest_change"] = float(abs(one.scores - two.scores).max())
    return found


def result_of(job: Job) -> dict[str, Any]:
    """The finished run's results. Raises RunError for a file that does not hold them."""
    path = job.folder / "results.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); delete it and run again") from error


# ---------------------------------------------------------------------------------------------------------- the report

COLUMNS = {
    "top1": "top-1 %",
    "reversed_top1": "reversed",
    "motion_top1": "motion",
    "direction_top1": "direction classes",
    "reversed_direction_top1": "reversed",
    "direction_choice": "which direction",
    "reversed_direction_choice": "reversed",
}


def write_report(output: Path, results: Sequence[Mapping[str, Any]], offsets: Mapping[str, Any] | None = None) -> None:
    """runs.csv, results.json, table.md and cost.png. offsets: of `energy_by_offset`, for results.json."""
    from tools.analyses.numbers import write_csv
    from utils.plots import draw_trade_off

    write_csv(output / "runs.csv", list(dict.fromkeys(key for row in results for key in row)), results)
    networks = summary(results)
    write_json(
        output / "results.json",
        {"networks": networks, "energy_by_offset": offsets or {}, "runs": [dict(row) for row in results]},
    )
    table = table_of(networks)
    write_text(output / "table.md", table + "\n")
    points = {
        entry["title"]: [
            {"x": entry["multiply_adds"] / 1e6, "y": entry[key]["mean"], "label": ""}
            | {"low": entry[key]["min"], "high": entry[key]["max"]}
            for key in ("top1", "reversed_top1")
        ]
        for entry in networks.values()
    }
    title = "upper points: frames forwards; lower: reversed; bars: all seeds"
    draw_trade_off(points, output / "cost.png", title, ("10^6 multiply-adds of a clip", "top-1, %"))
    print(f"\n{table}\n")
    print(f"table.md, runs.csv, results.json, cost.png and offsets_* are in {output}")


def energy_by_offset(jobs: Sequence[Job]) -> dict[str, Any]:
    """Where the energy of the temporal kernels lies after training: network -> layer -> form ("W", "W - identity") ->
    offset -> E_t = sum W_t^2 / sum W^2, the mean over seeds. All layers of every branch."""
    from tools.analyses.offsets import rows_of, temporal_kernels
    from weights.safe_pickle import load_pickle

    found: dict[str, Any] = {}
    for job in jobs:
        kernels = temporal_kernels(load_pickle(job.weights), all_layers=True)
        for row in (row for layer, kernel in kernels.items() for row in rows_of(layer, kernel)):
            layers = found.setdefault(job.network, {})
            layers.setdefault(row["layer"], {}).setdefault(row["form"], {}).setdefault(str(row["offset"]), []).append(
                row["energy_fraction"]
            )
    for layers in found.values():
        for forms in layers.values():
            for energies in forms.values():
                energies.update({offset: sum(values) / len(values) for offset, values in energies.items()})
    return found


def draw_offsets(output: Path, jobs: Sequence[Job]) -> None:
    """offsets_NETWORK/: `tools/analyse.py offsets` of I3D and S3D, first seed."""
    from tools.analyses import offsets

    for job in jobs:
        if job.seed == 0 and job.network in ("i3d", "s3d"):
            files = {"config": job.folder / "config.yaml", "weights": job.weights}
            flags = {**files, "save_dir": output / f"offsets_{job.network}"}
            offsets.main([f"--{flag}={path}" for flag, path in flags.items()])


def summary(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Network -> cost and, for each metric, mean, smallest and largest over its seeds, and the mean's Wilson interval
    (95 %) as if it were one run's, for the seeds see the same videos."""
    from metrics.intervals import wilson_interval

    found: dict[str, dict[str, Any]] = {}
    for network in dict.fromkeys(row["network"] for row in results):
        rows = [row for row in results if row["network"] == network]
        entry = {key: rows[0][key] for key in ("parameters", "multiply_adds", "num_videos", "num_direction_videos")}
        entry["title"], entry["seeds"] = NETWORKS[network][0], len(rows)
        for key in (*COLUMNS, "turned", "largest_change"):
            values = [row[key] for row in rows]
            entry[key] = {"mean": sum(values) / len(values), "min": min(values), "max": max(values)}
            if key != "largest_change":
                videos = entry["num_direction_videos" if key == "turned" or "direction" in key else "num_videos"]
                bounds = wilson_interval(entry[key]["mean"] / 100 * videos, videos)
                entry[key]["interval"] = [100 * bound for bound in bounds]
        found[network] = entry
    return found


def table_of(networks: Mapping[str, Mapping[str, Any]]) -> str:
    """A table in Markdown: mean and (smallest - largest) over seeds, percent."""

    def cell(value: Mapping[str, float], seeds: int) -> str:
        return f"{value['mean']:.1f}" + (f" ({value['min']:.1f} - {value['max']:.1f})" if seeds > 1 else "")

    rows = [("", "10^3 parameters", "10^6 multiply-adds", "seeds", *COLUMNS.values()), ("---",) * (4 + len(COLUMNS))]
    for entry in networks.values():
        costs = (f"{entry['parameters'] / 1e3:.0f}", f"{entry['multiply_adds'] / 1e6:.1f}", str(entry["seeds"]))
        rows.append((entry["title"], *costs, *(cell(entry[key], entry["seeds"]) for key in COLUMNS)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    run(main)
