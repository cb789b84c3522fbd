"""Compute the optical flow of all videos of a list into a cache, for READER.flow_cache.

python tools/extract_flow.py --filelist data/dataset/ucf101/trainlist.txt --save_dir data/flow --method dis

Each video gets <save_dir>/<its path in the list>.<method>.flow.mp4 (grey H.264, x above y) or .flow.npz, and a manifest
beside it. What is there already is skipped, so a run that was stopped continues when it is started again. Videos
without flow (broken, one frame) are named at the end; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from configs import load_config  # noqa: E402 - started as a file
from datareader import Limits, VideoError, read_class_names, read_list  # noqa: E402
from datareader.flow.cache import SUFFIXES, cache_file, relative_path  # noqa: E402
from datareader.flow.extraction import ExtractFlow  # noqa: E402
from datareader.flow.manifest import Manifest, read_manifest  # noqa: E402
from datareader.flow.methods import METHODS, FlowProvenance, check_method  # noqa: E402
from datareader.flow.source import ComputedFlow  # noqa: E402
from datareader.requests import ReaderSettings  # noqa: E402
from datareader.video import printable  # noqa: E402
from datareader.workers import ReaderPool  # noqa: E402
from utils.cli import Parser, positive_int, run  # noqa: E402
from utils.errors import UserError  # noqa: E402
from utils.files import sweep  # noqa: E402
from utils.runtime import available_cores  # noqa: E402

LOSSY_CRF = 10  # of a filmed clip half the size of lossless, 0.01 px from it in the mean
MAX_SHOWN = 50


def main() -> None:
    arguments = parse_arguments()
    source = source_of(arguments)
    reader = ReaderSettings(limits=Limits(seconds=arguments.seconds), frame_rate=arguments.frame_rate)
    videos = videos_of(arguments)
    sweep(Path(arguments.save_dir), "**/.*.part")
    jobs = []
    for video, relative in videos.items():
        job = ExtractFlow(
            path=video,
            name=relative,
            file=str(cache_file(arguments.save_dir, relative, arguments.method, arguments.format)),
            source=source,
            crf=None if arguments.format == "npz" else 0 if arguments.lossless else LOSSY_CRF,
            reader=reader,
        )
        if arguments.overwrite or not is_done(job):
            jobs.append(job)
    if len(jobs) < len(videos):
        print(f"{len(videos) - len(jobs)} of {len(videos)} videos have their flow already")
    if jobs and not extract(jobs, arguments.workers):
        sys.exit(1)


def parse_arguments() -> argparse.Namespace:
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--filelist", required=True, help="list of videos; labels are ignored")
    parser.add_argument("--save_dir", required=True, help="folder of the cache (READER.flow_cache)")
    parser.add_argument("--method", default="dis", choices=METHODS, help="as READER.flow_method (%(default)s)")
    short_side_help = "of the frames, pixels (READER.flow_short_side; %(default)s)"
    parser.add_argument("--short_side", type=positive_int, default=256, help=short_side_help)
    bound_help = "largest motion, pixels (READER.flow_bound; %(default)s)"
    parser.add_argument("--bound", type=float, default=20.0, help=bound_help)
    parser.add_argument("--frame_rate", type=float, help="resample the frames first (READER.frame_rate)")
    parser.add_argument("--format", default="h264", choices=[*SUFFIXES], help="of the files (%(default)s)")
    parser.add_argument("--lossless", action="store_true", help="h264 without loss, twice the size")
    parser.add_argument("--class_names", help="file of class names, for a list whose labels are names")
    parser.add_argument("--workers", type=positive_int, default=available_cores(), help="processes (all cores)")
    parser.add_argument("--seconds", type=float, default=3600.0, help="time limit of a video (%(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="compute again what is there already")
    arguments = parser.parse_args()
    if arguments.lossless and arguments.format != "h264":
        parser.error("--lossless is for --format h264; npz files are lossless")
    return arguments


def source_of(arguments: argparse.Namespace) -> ComputedFlow:
    """What computes the flow. Raises UserError for what READER would not take, and a method that OpenCV lacks."""
    keys = {"flow_method": arguments.method, "flow_bound": arguments.bound, "flow_short_side": arguments.short_side}
    if arguments.frame_rate is not None:
        keys["frame_rate"] = arguments.frame_rate
    config = load_config(ROOT / "configs/nonlocal.yaml", [f"READER.{key}={value}" for key, value in keys.items()])
    check_method(arguments.method)
    return ComputedFlow(FlowProvenance.of(config.READER))


def videos_of(arguments: argparse.Namespace) -> dict[str, str]:
    """The videos of the list, each once, with their paths in the cache."""
    names = read_class_names(arguments.class_names) if arguments.class_names else None
    items = read_list(arguments.filelist, class_names=names, labels_required=False, multi_label=True)
    folder = os.path.dirname(arguments.filelist)
    videos: dict[str, str] = {}
    owners: dict[str, str] = {}
    for item in items:
        videos[item.path] = relative_path(item.path, folder)
        owner = owners.setdefault(videos[item.path], item.path)
        if owner != item.path:
            raise UserError(f"{owner} and {item.path} would have one file in the cache; extract them with two lists")
    return videos


def is_done(job: ExtractFlow) -> bool:
    """Whether the flow is there, whole and of this very video. Raises UserError for flow of other settings."""
    try:
        manifest = read_manifest(job.file)
    except VideoError:
        return False
    difference = manifest.difference(job.source.provenance)
    if manifest.crf != job.crf and not difference:
        difference = f"flow of crf {manifest.crf}, crf {job.crf} is asked for"
    if difference:
        raise UserError(f"{printable(job.file)}: {difference}; choose another --save_dir, or --overwrite")
    try:
        return manifest.is_whole(job.file) and manifest.is_of(job.path)
    except VideoError:  # named when it is read
        return False


def extract(jobs: Sequence[ExtractFlow], num_workers: int) -> bool:
    """Compute and write all of them, each in a process of its own; whether all videos have flow."""
    from tqdm import tqdm

    started, written, failures = time.monotonic(), [], []
    pool = ReaderPool(min(num_workers, len(jobs)))
    try:
        with tqdm(total=len(jobs), unit="video") as bar:
            futures = [pool.submit(partial(_extract, job)) for job in jobs]
            for job, future in zip(jobs, futures):
                try:
                    manifest = future.result()
                except VideoError as error:
                    failures.append(str(error))
                else:
                    written.append(manifest)
                    if manifest.warning:
                        tqdm.write(f"{printable(job.path)}: {manifest.warning}", file=sys.stderr)
                bar.update()
    finally:
        pool.close()
    print(summary(written, time.monotonic() - started))
    if failures:
        print(f"{len(failures)} videos have no flow:", *failures[:MAX_SHOWN], sep="\n", file=sys.stderr)
        if len(failures) > MAX_SHOWN:
            print(f"... and {len(failures) - MAX_SHOWN} more", file=sys.stderr)
    return not failures


def _extract(job: ExtractFlow, process) -> Manifest:
    return process.run(job)[1]


def summary(written: Sequence[Manifest], seconds: float) -> str:
    """Videos, flows, bytes, time."""
    num_flows, num_bytes = sum(m.num_flows for m in written), sum(m.file_bytes for m in written)
    line = f"{len(written)} videos, {num_flows} flows, {num_bytes / 1e6:.1f} MB, {seconds:.1f} s"
    if num_flows:
        line += f"; {num_flows / seconds:.1f} flows a second, {num_bytes / num_flows:.0f} bytes a flow"
    return line


if __name__ == "__main__":
    run(main)
