"""Published weights, fetched into a cache: resumed, verified, renamed into place when whole."""

from __future__ import annotations

import contextlib
import http.client
import os
import shlex
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from tqdm import tqdm

from utils.errors import RunError, UserError
from utils.files import file_sha256

try:
    import fcntl
except ImportError:
    fcntl = None

HOME_VARIABLE, MIRROR_VARIABLE = "PADDLE_NONLOCAL_HOME", "PADDLE_NONLOCAL_MIRROR"
SECONDS_WITHOUT_DATA = 10.0
BLOCK_BYTES = 1 << 20
SCHEMES = ("http", "https", "file")


@dataclass(frozen=True)
class Published:
    """Weights that somebody published; a family's entries stand in its module of names.

    sha256: "" where its publisher tells none; a short one is the digits in the file's name. arch: the network, or for
    images (is_start) the depth's first one. frames x stride: of a clip. variant: of the architecture. preprocessing,
    protocol: of the published test. top1: percent, with accuracy_source. parts: what follows the URL,
    where there are several files. by_hand: how to get it where the URL is a page and no file.
    """

    url: str
    licence: str
    arch: str
    with_blocks: bool
    variant: str
    frames: int = 8
    stride: int = 8
    is_start: bool = False
    sha256: str = ""
    preprocessing: str = "RGB, (x - 114.75) / 57.375"
    protocol: str = "10 clips x 3 crops of 256, softmax, mean"
    top1: float | None = None
    accuracy_source: str = ""
    parts: tuple[str, ...] = ()
    by_hand: str = ""


def fetch_weights(name: str) -> str:
    """The local file of an entry of the weight tables, downloaded when it is not there yet.

    Raises UserError for an unknown entry, RunError when the network fails (with the command to fetch it by hand).
    """
    from weights.naming import all_families

    entries = {name: entry for family in all_families() for name, entry in family.published.items()}
    if name not in entries:
        raise UserError(f"no published weights {name!r}; there are {', '.join(entries)}")
    entry = entries[name]
    flag = "--pretrain=FILE" if entry.is_start else "--weights=FILE"
    if entry.by_hand:
        raise UserError(f"{name} cannot be downloaded by a program: {entry.url}: {entry.by_hand}; then pass {flag}")
    if entry.parts:  # files of equal names are published in several folders
        folder = weights_folder() / name
        for part in entry.parts:
            download(entry.url + part, folder, mirror_folder=name, instead=f"pass {flag}")
        return str(folder / file_name(entry.url))
    return str(download(entry.url, sha256=entry.sha256, instead=f"pass {flag}"))


def published_weights(hub_entry: str) -> str:
    """The local file of the published weights of an entry of hubconf. Raises UserError where nobody published any."""
    from weights.naming import all_families

    for family in all_families():
        if hub_entry in family.hub_entries:
            return fetch_weights(family.hub_entries[hub_entry])
    raise UserError(f"nobody published weights for {hub_entry}; pass a file of your own")


def imagenet_weights(model) -> str:
    """The local file of ImageNet weights for a network of this depth, downloaded when it is not there yet.

    Raises UserError before anything is downloaded when no published file fits the model.
    """
    from weights.naming import family_of

    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    entry = family_of(shapes).image_entry
    if entry is None:
        raise UserError("no ImageNet weights are published for this network; pass --pretrain=FILE or leave it out")
    return fetch_weights(entry(shapes))


def weights_folder() -> Path:
    """Where downloads are kept: $PADDLE_NONLOCAL_HOME, else ~/.paddle/weights as in the old zoo."""
    chosen = os.environ.get(HOME_VARIABLE)
    return Path(chosen).expanduser() if chosen else Path.home() / ".paddle" / "weights"


def mirrored(url: str, mirror_folder: str = "") -> str:
    """The same file name under $PADDLE_NONLOCAL_MIRROR (http, https or file://) where that is set."""
    mirror = os.environ.get(MIRROR_VARIABLE, "").rstrip("/")
    names = [mirror, mirror_folder, file_name(url)] if mirror_folder else [mirror, file_name(url)]
    return "/".join(names) if mirror else url


def file_name(url: str) -> str:
    return urlsplit(url).path.rsplit("/", 1)[-1]


def download(
    url: str, folder: Path | None = None, *, sha256: str = "", instead: str = "", mirror_folder: str = ""
) -> Path:
    """The local copy of `url` in `folder` (None: `weights_folder()`), fetched when it is not there.

    A broken transfer is kept as NAME.part and continued by the next call (HTTP Range). sha256: of the whole file in
    hexadecimal, or its first digits; "": not known, and nothing is compared. instead: what to do without a download,
    for the message. mirror_folder: of the file in the mirror.

    Raises RunError when the network fails, in one line with the command to fetch the file by hand, and UserError when
    what came is not the file, which is then deleted, or when the copy that is there is another file, which is kept:
    it may be somebody's own.
    """
    folder = weights_folder() if folder is None else folder
    source, target = mirrored(url, mirror_folder), folder / file_name(url)
    if target.is_file():
        return _checked_copy(target, sha256)
    if urlsplit(source).scheme not in SCHEMES:
        raise UserError(f"{source}: write a mirror as http://, https:// or file:// in {MIRROR_VARIABLE}")
    part = folder / f"{target.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(part):
            if target.is_file():  # another process has brought it meanwhile
                part.unlink()
                return _checked_copy(target, sha256)
            _transfer(source, part)
            _check_transferred(part, sha256, source)
            os.replace(part, target)
    except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        by_hand = f"curl -L --create-dirs -C - -o {shlex.quote(str(target))} {shlex.quote(url)}"
        raise RunError(
            f"cannot download {source} ({' '.join(str(reason).split())}); fetch it by hand: {by_hand}"
            + (f" ; or {instead}" if instead else "")
        ) from error
    return target


@contextlib.contextmanager
def _alone(part: Path) -> Iterator[None]:
    """One process at a time; the others wait. (On Windows, which has no flock, nobody waits.)"""
    while True:
        with open(part, "ab") as stream:
            if fcntl is None:
                yield
                return
            fcntl.flock(stream, fcntl.LOCK_EX)
            if _is_at(stream, part):
                yield
                return


def _is_at(stream: IO, path: Path) -> bool:
    """Whether the open file still has this path (and was not renamed while its lock was awaited)."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _transfer(source: str, part: Path) -> None:
    """Append what is missing of `source` to `part`."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(source, headers={"User-Agent": "paddle-nonlocal"})
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        response = urllib.request.urlopen(request, timeout=SECONDS_WITHOUT_DATA)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not done:
            raise
        # the part is whole already, or longer than the file: its length decides
        whole = str(error.headers.get("Content-Range", "")).rpartition("/")[2]
        if whole == str(done):
            return
        os.truncate(part, 0)  # not unlinked: the lock is on this file
        return _transfer(source, part)
    with response:
        resumed = done and getattr(response, "status", None) == 206
        done = done if resumed else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length and length.isdigit() else None
        bar = tqdm(
            total=total,
            initial=done,
            unit="B",
            unit_scale=True,
            desc=file_name(source),
            disable=not sys.stderr.isatty(),
        )
        with open(part, "ab" if resumed else "wb") as stream, bar:
            while block := response.read(BLOCK_BYTES):
                stream.write(block)
                bar.update(len(block))
                done += len(block)
    if total is not None and done < total:
        raise ConnectionError(f"the connection ended after {done} of {total} bytes; the next try continues there")


def _checked_copy(target: Path, sha256: str) -> Path:
    """`target`, when it is the file with this checksum; else UserError."""
    try:
        digest = file_sha256(target) if sha256 else ""
    except OSError as error:
        raise UserError(f"cannot read {target}: {error.strerror}") from error
    if not digest.startswith(sha256.lower()):
        raise UserError(
            f"{target} is not the published file (sha256 {digest[:16]}... in place of {sha256[:16]}...): damaged, or "
            "another one of that name; delete or rename it, then it is downloaded again"
        )
    return target


def _check_transferred(part: Path, sha256: str, source: str) -> None:
    digest = file_sha256(part) if sha256 else ""
    if not digest.startswith(sha256.lower()):
        part.unlink()
        raise UserError(
            f"what came from {source} is not the expected file (sha256 {digest[:16]}... in place of "
            f"{sha256[:16]}...); it was deleted, try again or set another {MIRROR_VARIABLE}"
        )
