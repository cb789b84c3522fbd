"""Checkpoints that are whole or not there: weights (.pdparams), optimiser state (.pdopt) and run state (.json).

The three files of a checkpoint share one name. The run state is written last and holds the checksums of the other two,
so a checkpoint without a good state is no checkpoint. The arrays are plain pickles {name: numpy array}, which
paddle.load reads too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import RunError, UserError
from utils.files import file_sha256, locked, write_atomically, write_text, write_together
from weights.safe_pickle import load_pickle

SUFFIXES = (".json", ".pdopt", ".pdparams")


@dataclass
class Checkpoint:
    """A checkpoint read back: weights by name, optimiser_state (momentum buffers by parameter name and, as ema/<name>,
    the moving average), and the run state that `save_checkpoint` was given."""

    path: Path
    weights: dict
    optimiser_state: dict
    state: dict[str, Any]


class _HashingStream:
    """Passes bytes on to a file and keeps their SHA-256."""

    def __init__(self, stream):
        self.stream, self.digest = stream, hashlib.sha256()

    def write(self, data) -> int:
        self.digest.update(data)
        return self.stream.write(data)


def save_checkpoint(folder: Path, name: str, weights: dict, optimiser_state: dict, state: dict[str, Any]) -> Path:
    """Write folder/name.{pdopt,pdparams,json} and return folder/name. Raises RunError when the disk refuses.

    None of the three takes its place before all are written, so a full disk leaves the checkpoint of that name whole.
    While they take their places, an older checkpoint of that name stays readable as name.previous.
    """
    prefix, checksums = Path(folder) / name, {}

    def writer(suffix: str, arrays: dict):
        def write(stream):
            hashing = _HashingStream(stream)
            pickle.dump(arrays, hashing, protocol=4)
            checksums[suffix] = hashing.digest.hexdigest()

        return write

    with _kept_readable(prefix):
        write_together(
            {
                f"{prefix}.pdopt": writer(".pdopt", optimiser_state),
                f"{prefix}.pdparams": writer(".pdparams", weights),
                f"{prefix}.json": lambda stream: stream.write(json.dumps({**state, "sha256": checksums}).encode()),
            }
        )
    return prefix


@contextlib.contextmanager
def _kept_readable(prefix: Path):
    """While entered, the checkpoint of that name, if there is one, can be read as prefix.previous too."""
    previous = Path(f"{prefix}.previous")
    if not Path(f"{prefix}.json").exists():
        yield
        return
    delete_checkpoint(previous)
    for suffix in reversed(SUFFIXES):  # the state last: without it the others are no checkpoint
        with contextlib.suppress(FileNotFoundError):
            try:
                os.link(f"{prefix}{suffix}", f"{previous}{suffix}")
            except FileNotFoundError:
                raise
            except OSError:  # a disk without hard links
                shutil.copyfile(f"{prefix}{suffix}", f"{previous}{suffix}")
    try:
        yield
    finally:
        with contextlib.suppress(UserError):  # half of it has been replaced: the previous one stays
            load_checkpoint(prefix)
            delete_checkpoint(previous)


def update_state(prefix: Path, **changes: Any) -> None:
    """Change entries of a checkpoint's state; its arrays stay as they are. Raises RunError when the disk refuses."""
    state = json.loads(Path(f"{prefix}.json").read_text(encoding="utf-8"))
    write_text(f"{prefix}.json", json.dumps({**state, **changes}))


def delete_checkpoint(prefix: Path) -> None:
    """Delete the files of a checkpoint that are there; the state first, so that no half of it looks whole."""
    for suffix in SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{prefix}{suffix}")


def load_checkpoint(prefix: Path) -> Checkpoint:
    """Read prefix.{json,pdopt,pdparams}; UserError names the file that is missing, damaged or of another kind."""
    try:
        state = json.loads(Path(f"{prefix}.json").read_text(encoding="utf-8"))
        checksums, iteration = state["sha256"], state["iteration"]
        known = isinstance(checksums, dict) and isinstance(iteration, int)
    except FileNotFoundError as error:
        raise UserError(f"{prefix}.json is missing, so {prefix} is no checkpoint to resume from") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{prefix}.json cannot be read as a checkpoint's state; choose another checkpoint") from error
    if not known:
        raise UserError(f"{prefix}.json is not the state of a checkpoint; choose another checkpoint")
    arrays = {}
    for suffix in (".pdopt", ".pdparams"):
        file = Path(f"{prefix}{suffix}")
        try:
            digest = file_sha256(file)
        except OSError as error:
            raise UserError(f"{file}: {error.strerror}; choose another checkpoint") from error
        if digest != checksums.get(suffix):
            raise UserError(f"{file} is damaged (its checksum is not the one in {prefix}.json)")
        arrays[suffix] = load_pickle(file)
    return Checkpoint(Path(prefix), arrays[".pdparams"], arrays[".pdopt"], state)


def read_states(folder: Path, pattern: str = "*") -> list[tuple[str, dict[str, Any]]]:
    """(name, state) of the checkpoints in `folder`, the one saved last at the end. Their arrays are not looked at.

    The order is that of saving (`sequence`), which a run resumed from an earlier checkpoint repeats iterations in;
    checkpoints of versions without it come first, by iteration.
    """
    states = []
    for file in Path(folder).glob(f"{pattern}.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            state = json.loads(file.read_text(encoding="utf-8"))
            if state["sha256"] and isinstance(state["iteration"], int):
                states.append((file.stem, state))
    return sorted(states, key=lambda entry: (entry[1].get("sequence", 0), entry[1]["iteration"]))


def newest_checkpoint(folder: Path, warn=print) -> Checkpoint | None:
    """The good checkpoint of `folder` that was saved last, or None; damaged ones are named through `warn`."""
    for name, _ in reversed(read_states(folder)):
        try:
            return load_checkpoint(Path(folder) / name)
        except UserError as error:
            warn(f"{error}; trying the one before")
    return None


def find_checkpoint(path: str, save_dir: str, warn=print) -> Checkpoint | None:
    """What --resume names: a checkpoint (with or without its suffix), a folder's newest good one, or `auto`.

    `auto` is the newest of `save_dir`, or None where there is none yet. Raises UserError when nothing can be resumed.
    """
    folder = Path(save_dir if path == "auto" else path)
    if path != "auto" and not folder.is_dir():
        prefix = path[: -len(folder.suffix)] if folder.suffix in SUFFIXES else path
        return load_checkpoint(Path(prefix))
    found = newest_checkpoint(folder, warn) if folder.is_dir() else None
    if found is None and path != "auto":
        raise UserError(f"--resume={path}: no good checkpoint in that folder; leave --resume out to start a new run")
    return found


def prune_checkpoints(folder: Path, prefix: str, keep: int, run_id: str = "") -> None:
    """Delete all but the `keep` last saved checkpoints of a run whose names start with `prefix`; 0 keeps all."""
    own = [name for name, state in read_states(folder, f"{prefix}*") if state.get("run_id", "") == run_id]
    for name in own[: -keep if keep else 0]:
        delete_checkpoint(Path(folder) / name)


@contextlib.contextmanager
def only_writer(folder: Path):
    """`utils.files.locked`, which also deletes what a run that was killed left half written."""
    with locked(folder):
        for leftover in [file for suffix in SUFFIXES for file in Path(folder).glob(f".*{suffix}.*.part")]:
            with contextlib.suppress(OSError):
                os.unlink(leftover)
        yield


def check_writable(folder: str, num_bytes: int) -> None:
    """Raise RunError before a run starts when `folder` cannot be written or has less than `num_bytes` free."""
    path = Path(folder)
    write_atomically(path / ".writable", lambda stream: stream.write(b"\0"))
    os.unlink(path / ".writable")
    status = os.statvfs(path)
    free = status.f_bavail * status.f_frsize
    if free < num_bytes:
        raise RunError(f"{folder}: {free >> 20} MB free, one checkpoint needs {num_bytes >> 20} MB; free space first")
