"""Check every video of a list or folder before training: python tools/check_videos.py LIST_OR_FOLDER

Each file is opened and decoded to its end. Faults: malformed (a list line), label (unknown), missing, empty, broken,
cut off, damaged, short, duplicate (the same pictures as an earlier video). Odd but readable: rotated, variable frame
rate. --clean_list writes the videos without a fault. A run that was stopped continues where it was when it is started
again. The exit status is 1 if there is a fault. In a folder, the first sub-folder is taken for a video's class.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datareader import Limits, VideoError, VideoItem, read_class_names, read_list  # noqa: E402 - started as a file
from datareader.decoding import VIDEO_SUFFIXES, identity_of, is_frame_folder, is_url  # noqa: E402
from datareader.requests import InspectVideo, ReaderSettings  # noqa: E402
from datareader.video import printable  # noqa: E402
from datareader.workers import ReaderPool  # noqa: E402
from utils.cli import Parser, positive_int, run  # noqa: E402
from utils.errors import UserError  # noqa: E402
from utils.files import write_json, write_text  # noqa: E402
from utils.runtime import available_cores  # noqa: E402

FAULTS = ("malformed", "label", "missing", "empty", "broken", "cut off", "damaged", "short", "duplicate")
ODDITIES = ("rotated", "variable rate")
MAX_SHOWN = 50


@dataclass
class Verdict:
    """What was found about one video; `faults` and `oddities` map a word of FAULTS or ODDITIES to its explanation."""

    path: str
    label: int
    line: int
    class_name: str = ""
    faults: dict[str, str] = field(default_factory=dict)
    oddities: dict[str, str] = field(default_factory=dict)
    num_frames: int = 0
    size: str = ""
    fps: float = 0.0
    codec: str = ""
    digest: str = ""


def main() -> None:
    arguments = parse_arguments()
    names = read_class_names(arguments.class_names, arguments.num_classes) if arguments.class_names else None
    verdicts = find_videos(arguments, names)
    examine(verdicts, arguments)
    mark_duplicates(verdicts)
    print_report(verdicts, names)
    if arguments.json:
        write_json(arguments.json, summary(verdicts))
    if arguments.clean_list:
        write_clean_list(verdicts, arguments.clean_list)
    if any(verdict.faults for verdict in verdicts):
        sys.exit(1)


def parse_arguments() -> argparse.Namespace:
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("source", metavar="LIST_OR_FOLDER")
    parser.add_argument("--workers", type=positive_int, default=available_cores(), help="reading processes (all cores)")
    parser.add_argument("--num_classes", type=positive_int, help="labels must be below")
    parser.add_argument("--class_names", help="file of class names; labels may be names")
    parser.add_argument("--multi_label", action="store_true", help="labels are joined by commas")
    parser.add_argument("--min_frames", type=positive_int, default=8, help="fewer are a fault (%(default)s)")
    parser.add_argument("--seconds", type=float, default=300.0, help="time limit of a video (%(default)s)")
    parser.add_argument("--json", help="file for everything that was found")
    parser.add_argument("--clean_list", help="file for a list of the videos without a fault")
    parser.add_argument("--state", help="file that remembers finished videos (default: by source, in output/)")
    return parser.parse_args()


def find_videos(arguments: argparse.Namespace, names: list[str] | None) -> list[Verdict]:
    """The videos of the list or folder, with what its lines already tell."""
    source = Path(arguments.source)
    if source.is_dir():
        return list(_of_folder(source))
    problems: list[tuple[int, str]] = []
    items = read_list(
        source, arguments.num_classes, names, multi_label=arguments.multi_label, labels_required=True, problems=problems
    )
    verdicts = [_of_item(item, names) for item in items]
    for line, message in problems:
        kind = "label" if "label " in message and "no label" not in message else "malformed"
        verdicts.append(Verdict("", -1, line, faults={kind: message}))
    return sorted(verdicts, key=lambda verdict: verdict.line)


def _of_item(item: VideoItem, names: list[str] | None) -> Verdict:
    return Verdict(item.path, item.label, item.line, names[item.label] if names else str(item.label))


def _of_folder(source: Path) -> Iterator[Verdict]:
    paths = []
    for parent, folders, files in os.walk(source):
        if is_frame_folder(parent):
            paths.append(Path(parent))
            folders.clear()
        else:
            paths += [Path(parent) / name for name in files if Path(name).suffix.lower() in VIDEO_SUFFIXES]
    if not paths:
        raise UserError(f"no video in {source}; looked for {' '.join(VIDEO_SUFFIXES)} and folders of JPEG frames")
    for number, path in enumerate(sorted(paths), 1):
        parts = path.relative_to(source).parts
        yield Verdict(str(path), -1, number, parts[0] if len(parts) > 1 else "")


def examine(verdicts: list[Verdict], arguments: argparse.Namespace) -> None:
    """Decode every file once, in parallel, remembering what is done."""
    from tqdm import tqdm

    state = Path(arguments.state) if arguments.state else _state_file(arguments.source)
    done = _remembered(state)
    reader = ReaderSettings(limits=Limits(seconds=arguments.seconds))
    pool = ReaderPool(arguments.workers)
    state.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(state, "a", encoding="utf-8") as memory, tqdm(total=len(verdicts), unit="video") as bar:
            futures = [
                (verdict, None if key in done else pool.submit(_Look(verdict.path, reader).inspect), key)
                for verdict in verdicts
                for key in [_identity(verdict.path)]
            ]
            for verdict, future, key in futures:
                found = done[key] if future is None else future.result()
                if future is not None:
                    memory.write(json.dumps([key, found]) + "\n")
                    memory.flush()
                apply(verdict, found, arguments.min_frames)
                bar.update()
    finally:
        pool.close()
    state.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Look:
    """What a thread of the pool does for one video."""

    path: str
    reader: ReaderSettings

    def inspect(self, process) -> dict:
        if not self.path:
            return {}
        try:
            inspection = process.run(InspectVideo(self.path, self.reader))[1]
        except VideoError as error:
            return {"error": error.reason}
        return asdict(inspection)


def apply(verdict: Verdict, found: dict, min_frames: int) -> None:
    """Turn what a reading process found into faults and oddities."""
    if not verdict.path:
        return
    if "error" in found:
        reason = found["error"]
        absent = reason.startswith(("no such file", "the link leads nowhere"))
        kind = (
            "missing"
            if absent
            else "empty"
            if reason.startswith(("the file is empty", "an empty folder"))
            else "broken"
        )
        verdict.faults[kind] = reason
        return
    info = found["info"]
    verdict.num_frames, verdict.fps, verdict.codec = info["num_frames"], info["fps"], info["codec"]
    verdict.size, verdict.digest = f"{info['width']}x{info['height']}", found["digest"]
    if found["missing_bytes"]:
        verdict.faults["cut off"] = f"{found['missing_bytes']} bytes are missing; {info['num_frames']} frames decode"
    elif warning := info.get("warning", info.get("complaint")):  # the second: the key of version 1
        verdict.faults["damaged"] = f"{warning}; {info['num_frames']} frames come"
    if info["num_frames"] < min_frames:
        verdict.faults["short"] = f"{info['num_frames']} frames"
    if info["rotated"]:
        verdict.oddities["rotated"] = "is turned when it is read"
    if info["variable_rate"]:
        verdict.oddities["variable rate"] = f"mean rate {info['fps']:g}"


def mark_duplicates(verdicts: list[Verdict]) -> None:
    """Each video whose pictures an earlier one has, frame for frame, is a duplicate."""
    first: dict[str, Verdict] = {}
    for verdict in verdicts:
        if not verdict.digest:
            continue
        earlier = first.setdefault(verdict.digest, verdict)
        if earlier is not verdict:
            label = "" if earlier.class_name == verdict.class_name else f", which is of class {earlier.class_name}"
            verdict.faults["duplicate"] = f"of {printable(earlier.path)}{label}"


def summary(verdicts: list[Verdict]) -> dict:
    """Counts of every kind, and all verdicts."""
    kinds = collections.Counter(kind for v in verdicts for kind in [*v.faults, *v.oddities])
    good = collections.Counter(v.class_name for v in verdicts if not v.faults and v.path)
    listed = collections.Counter(v.class_name for v in verdicts if v.path)
    return {
        "videos": len(verdicts),
        "without_fault": sum(good.values()),
        "counts": {kind: kinds[kind] for kind in (*FAULTS, *ODDITIES)},
        "classes": {name: {"listed": listed[name], "without_fault": good[name]} for name in sorted(listed)},
        "verdicts": [asdict(verdict) for verdict in verdicts],
    }


def print_report(verdicts: list[Verdict], names: list[str] | None) -> None:
    from tabulate import tabulate

    whole = summary(verdicts)
    print(f"{whole['videos']} entries, {whole['without_fault']} without a fault")
    print(tabulate([(kind, count) for kind, count in whole["counts"].items() if count], ("what", "videos")))
    rows = [
        (v.line, printable(v.path), kind, why)
        for v in verdicts
        for kind, why in [*v.faults.items(), *v.oddities.items()]
    ]
    if rows:
        print(tabulate(rows[:MAX_SHOWN], ("line", "video", "what", "why")))
    if len(rows) > MAX_SHOWN:
        print(f"... and {len(rows) - MAX_SHOWN} more; --json FILE writes all of them")
    classes = [(name, c["listed"], c["without_fault"]) for name, c in whole["classes"].items()]
    classes += [(name, 0, 0) for name in names or [] if name not in whole["classes"]]
    lacking = [row for row in classes if row[2] < row[1] or not row[1]]
    print(f"{len(classes)} classes, {len(lacking)} of them with fewer videos than the list says, or none")
    print(tabulate((lacking or classes)[:MAX_SHOWN], ("class", "listed", "without a fault")))


def write_clean_list(verdicts: list[Verdict], path: str) -> None:
    """`path label` lines of the videos without a fault; relative to the list where they lie beside it."""
    classes = sorted({v.class_name for v in verdicts if v.path})
    lines = []
    for verdict in verdicts:
        if verdict.faults or not verdict.path:
            continue
        if "\n" in verdict.path:
            print(f"left out of {path}, as a list cannot hold its name: {printable(verdict.path)}", file=sys.stderr)
            continue
        label = verdict.label if verdict.label >= 0 else classes.index(verdict.class_name)
        video = verdict.path if is_url(verdict.path) else os.path.abspath(verdict.path)
        lines.append(f"{video} {label}\n")
    write_text(path, "".join(lines))
    print(f"{len(lines)} videos written to {path}")


def _identity(path: str) -> str:
    """Name, size and time of a file (of a member's shard), or of the files of a folder, so that a changed one is looked
    at again."""
    try:
        if os.path.isdir(path):
            with os.scandir(path) as entries:
                files = [entry.stat() for entry in entries]
            newest = max((file.st_mtime_ns for file in files), default=os.stat(path).st_mtime_ns)
            return f"{path} {len(files)} {sum(file.st_size for file in files)} {newest}"
        _, _, num_bytes, time_ns, *_ = identity_of(path)
    except (OSError, ValueError):
        return f"{path} absent"
    return f"{path} {num_bytes} {time_ns}"


def _state_file(source: str) -> Path:
    name = hashlib.blake2b(os.fsencode(os.path.realpath(source)), digest_size=8).hexdigest()
    return Path("output") / "check_videos" / f"{name}.jsonl"


def _remembered(state: Path) -> dict[str, dict]:
    done: dict[str, dict] = {}
    lines = state.read_text(encoding="utf-8").split("\n") if state.exists() else []
    for line in lines:
        try:
            key, found = json.loads(line)
        except ValueError:  # the last line of a run that was killed
            continue
        done[key] = found
    if done:
        print(f"continuing after {len(done)} videos that were checked before ({state})", file=sys.stderr)
    return done


if __name__ == "__main__":
    run(main)
