"""Classify the videos of a list of any length with many workers; a run that was stopped continues where it was.

python tools/classify_dataset.py --input list.txt --output out/ --workers 2 --weights=... --config=...

Writes out/parts/000/part-000000.parquet ..., a row per video in the list's order: id, path, class, probability, error
and more (docs/cluster.md). A video that cannot be scored is a row with an error. out/_SUCCESS is written at the end.
The exit status is 2 when there are errors among the rows.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import os
import shlex
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from configs import config_from_args, save_config  # noqa: E402 - the tool is started as a file
from configs.schema import Config  # noqa: E402
from datareader.decoding import is_url  # noqa: E402
from inference import BackendSpec, add_backend_flags  # noqa: E402
from inference.backends import PRECISIONS  # noqa: E402
from inference.example import choose_network  # noqa: E402
from models import FAMILIES  # noqa: E402
from utils.cli import (  # noqa: E402
    Parser,
    add_config_flags,
    add_gpu_flag,
    gigabytes,
    positive_int,
    positive_seconds,
    ratio,
    run,
)
from utils.errors import UserError  # noqa: E402
from utils.runtime import available_cores  # noqa: E402

if TYPE_CHECKING:
    from clusters.dataset import Engine
    from clusters.job import Job
    from clusters.scoring import ScoringSpec

HANG_FACTOR = 10  # times READER.seconds_per_video for a video, scoring included: the worker has hung
FORMAT_VERSION = 1  # of the files in the output folder


def parse_args() -> argparse.Namespace:
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--input", required=True, help="a list, a folder, or a Parquet file with a column path")
    parser.add_argument("--output", required=True, help="output folder; the run that it holds is continued")
    parser.add_argument(
        "--weights",
        help="file of weights (default: the one in INFER.checkpoint_dir, else the published one; "
        "with no --config either, the example network)",
    )
    add_config_flags(parser, FAMILIES)
    add_gpu_flag(parser)
    add_backend_flags(parser, precisions=PRECISIONS)
    parser.add_argument(
        "--cluster", choices=("local", "ray", "slurm", "spark"), default="local",
        help="where the workers run: processes of this machine, actors of Ray, tasks of a Slurm array, or of the Spark "
        "that starts this tool (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--address", help="of a running Ray cluster, or auto (default: Ray is started here)")
    parser.add_argument(
        "--gpus_per_worker", type=ratio, default=0.0,
        help="of --cluster ray: 0.5 puts two workers on a GPU (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--sbatch", default="", metavar="OPTIONS", help="of --cluster slurm: '--partition=gpu --time=8:0:0'"
    )
    parser.add_argument(
        "--share", metavar="I/N",
        help="compute only every N-th part, from part I on (from 0): one task of any job array",
    )  # fmt: skip
    parser.add_argument("--workers", type=positive_int, default=1, help="processes, or tasks (default: %(default)s)")
    parser.add_argument(
        "--worker_memory", type=gigabytes, default=0, metavar="GB",
        help="a worker that holds more ends itself; its part is cut until the video is found (default: no bound)",
    )  # fmt: skip
    parser.add_argument(
        "--part", type=positive_int, default=1000,
        help="videos in a part, the unit of work and of loss: two to ten minutes of it (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--task", choices=("classes", "segments", "features", "detect"), default="classes",
        help="what predict.py can compute of a video (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--views", help="as predict.py's (default: INFER.num_test_clips as Nx3; of segments: whole)")
    parser.add_argument(
        "--keep", default="topk:10", help="topk:N, all:float16 or all:float32 scores of classes (default: %(default)s)"
    )
    parser.add_argument(
        "--refine", type=ratio, metavar="PROBABILITY",
        help="score videos again, with --refine_views, whose best class is less probable than this",
    )  # fmt: skip
    parser.add_argument("--refine_views", help="more views than --views has, as 10x3")
    parser.add_argument(
        "--stride_seconds", type=positive_seconds, help="from one sliding window to the next (default: half a window)"
    )
    parser.add_argument("--features", default="", metavar="STAGE", help="of --task features: a stage, as res5")
    parser.add_argument("--boxes", default="", metavar="CSV", help="of --task detect: the persons, as predict.py's")
    parser.add_argument("--detector", default="auto", metavar="ONNX|persons", help="of --task detect: as predict.py's")
    parser.add_argument(
        "--retry_errors", action="store_true",
        help="compute parts again that hold a missing video, one that took too long, or one that killed its worker",
    )  # fmt: skip
    parser.add_argument(
        "--max_error_ratio", type=ratio, default=0.05,
        help="more errors among the first 1,000 videos stop the run (default: %(default)s)",
    )  # fmt: skip
    args = parser.parse_args()
    if (args.refine is None) != (args.refine_views is None):
        parser.error("--refine and --refine_views go together")
    if bool(args.features) != (args.task == "features"):
        parser.error("--task features and --features=STAGE go together")
    if args.refine is not None and args.task != "classes":
        parser.error("--refine goes with --task classes")
    if args.stride_seconds and args.task not in ("segments", "detect"):
        parser.error("--stride_seconds goes with --task segments and --task detect")
    if (args.boxes or args.detector != "auto") and args.task != "detect":
        parser.error("--boxes and --detector go with --task detect")
    if args.cluster != "ray" and (args.address or args.gpus_per_worker):
        parser.error("--address and --gpus_per_worker go with --cluster ray")
    if args.cluster != "slurm" and args.sbatch:
        parser.error("--sbatch goes with --cluster slurm")
    if args.cluster == "slurm" and args.share:
        parser.error("--share goes with another --cluster: the array has shares of its own")
    return args


def scoring_spec(args: argparse.Namespace, config: Config) -> ScoringSpec:
    """What the flags say about a video. Raises UserError before any worker is started."""
    from clusters.rows import Keep
    from clusters.scoring import ScoringSpec
    from weights import find_weights

    weights = args.weights or find_weights(config, config.INFER.checkpoint_dir)
    spec = ScoringSpec(
        config=config,
        backend=BackendSpec(config, os.path.abspath(weights), "", args.backend, args.precision),
        use_gpu=args.use_gpu,
        task=args.task,
        class_names=names_of(args.task, config),
        keep=Keep.parse(args.keep),
        views=args.views,
        refine_below=args.refine or 0.0,
        refine_views=args.refine_views,
        stride_seconds=args.stride_seconds,
        features=args.features,
        boxes=os.path.abspath(args.boxes) if args.boxes else "",
        detector=args.detector if args.detector in ("auto", "persons") else os.path.abspath(args.detector),
    )
    spec.check()
    return spec


def names_of(task: str, config: Config) -> list[str]:
    """The names of what is told apart. Raises UserError."""
    from datareader.lists import class_names_of
    from inference.detect import action_names

    if task == "features":
        return []
    return action_names(config) if task == "detect" else class_names_of(config, "INFER")


def run_facts(args: argparse.Namespace, spec: ScoringSpec, input_sha256: str) -> dict:
    """What the results follow from: a folder holds results of one such set only. `backend` is set by the workers."""
    from weights.containers import stored_sha256

    assert spec.backend.weights
    try:
        weights = stored_sha256(spec.backend.weights)
    except OSError as error:
        raise UserError(f"cannot read the weights {spec.backend.weights}: {error.strerror or error}") from error
    from utils.files import file_sha256

    files = [path for path in (spec.boxes, spec.detector) if os.path.isfile(path)]
    boxes = {"detector": args.detector, "boxes": [file_sha256(path) for path in files]}
    return {
        **(boxes if args.task == "detect" else {}),
        "format_version": FORMAT_VERSION,
        "input": input_sha256,
        "videos_per_part": args.part,
        "weights": weights,
        "config": hashlib.sha256(save_config(spec.config).encode()).hexdigest(),
        "requested_backend": f"{args.backend}, {args.precision}",
        "task": args.task,
        "views": args.views,
        "keep": args.keep,
        "refine": args.refine,
        "refine_views": args.refine_views,
        "stride_seconds": args.stride_seconds,
        "features": args.features,
        "class_names": spec.class_names,
    }


def read_config(args: argparse.Namespace) -> Config:
    """The configuration, of the example network where none is given, without the keys that --input stands for."""
    args.video_path, args.filelist = None, args.input
    choose_network(args)
    args.filelist = ""
    return config_from_args(args, ("INFER",))


def make_engine(args: argparse.Namespace, threads: int) -> Engine:
    """What computes the parts. threads: of a local worker; Ray's get their share of the cluster's cores."""
    from clusters.dataset import pool_engine
    from clusters.local_pool import LocalPool

    if args.cluster == "slurm":
        from clusters.slurm import SlurmArray

        return SlurmArray(task_command(sys.argv), args.workers, shlex.split(args.sbatch))
    if args.cluster == "spark":
        from clusters.spark import SparkTasks, running_context

        return SparkTasks(running_context(), args.workers)
    if args.cluster == "ray":
        from clusters.ray_pool import RayPool

        return pool_engine(
            partial(RayPool, num_workers=args.workers, address=args.address, gpus_per_worker=args.gpus_per_worker)
        )
    return pool_engine(partial(LocalPool, num_workers=args.workers, environment={"OMP_NUM_THREADS": str(threads)}))


def task_command(argv: list[str]) -> list[str]:
    """The command of a task of an array: this one without what only its driver does."""
    flags, rest = [], iter(argv[1:])
    for flag in rest:
        if flag == "--sbatch":
            next(rest)
        elif flag != "--retry_errors" and not flag.startswith("--sbatch="):
            flags.append(flag)
    return [sys.executable, os.path.abspath(__file__), *flags]


def main() -> None:
    args = parse_args()
    try:
        from clusters.dataset import Share, classify_dataset
        from clusters.inputs import VideoTable
        from clusters.job import Job
        from clusters.videos import count_videos
    except ModuleNotFoundError as error:
        raise UserError(f'this tool needs {error.name}: pip install ".[cluster]"') from error
    share = Share.parse(args.share or "0/1")
    config = read_config(args)
    spec = scoring_spec(args, config)
    videos, folder = VideoTable(args.input), args.output if is_url(args.output) else os.path.abspath(args.output)
    facts = run_facts(args, spec, videos.sha256)
    # not of the fingerprint: the scores do not depend on how many processes read
    threads = max(1, available_cores() // args.workers) if args.cluster in ("local", "ray") else 1
    infer = dataclasses.replace(config.INFER, num_reader_threads=min(config.INFER.num_reader_threads, threads))
    spec = dataclasses.replace(spec, config=dataclasses.replace(config, INFER=infer))

    def make_job() -> Job:
        file = videos.as_parquet(folder)
        return Job(
            folder, file, count_videos(file), args.part, spec.build, spec.fail_row, args.worker_memory,
            HANG_FACTOR * config.READER.seconds_per_video,
        )  # fmt: skip

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # the workers end with the driver
    success = classify_dataset(
        folder, facts, make_job, make_engine(args, threads),
        share=share, retry_errors=args.retry_errors, max_error_ratio=args.max_error_ratio,
    )  # fmt: skip
    if success is None:
        print(f"all parts of share {args.share} are there, parts of others are missing")
        return
    print(f"{success['scored']} of {success['videos']} videos scored; their rows are in {folder}")
    if success["errors"] and not args.share:
        kinds = ", ".join(f"{count} {kind}" for kind, count in success["errors"].items())
        raise UserError(f"{success['videos'] - success['scored']} videos could not be scored: {kinds}")


if __name__ == "__main__":
    run(main)
