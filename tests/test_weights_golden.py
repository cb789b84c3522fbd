"""Files of earlier versions and of other programs load for ever: stored ones give the very same numbers."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from tests.golden.make_weight_files import checksum, loaded_arrays
from training.checkpoint import load_checkpoint
from weights.containers import read_stored
from weights.naming import all_sources
from weights.safe_pickle import load_pickle

FOLDER = Path(__file__).parent / "golden" / "weights"
ENTRIES = json.loads((FOLDER / "weights.json").read_text(encoding="ascii"))


@pytest.mark.parametrize("file", ENTRIES)
def test_a_stored_file_gives_the_numbers_that_it_gave_when_it_was_stored(file):
    entry = ENTRIES[file]
    arrays = loaded_arrays(FOLDER / file, **{key: entry[key] for key in ("keys", "partial", "config") if key in entry})
    assert len(arrays) == entry["tensors"] and checksum(arrays) == entry["sha256"]


def test_an_unpacked_folder_of_the_old_zoo_gives_the_same(tmp_path):
    with tarfile.open(FOLDER / "paddle_fluid.tar.gz") as archive:
        for member in archive:
            (tmp_path / Path(member.name).name).write_bytes(archive.extractfile(member).read())
    entry = ENTRIES["paddle_fluid.tar.gz"]
    assert checksum(loaded_arrays(tmp_path, entry["keys"], False)) == entry["sha256"]


def test_the_optimiser_of_a_stored_checkpoint_comes_back():
    """Momentum buffers and the moving average, of the same names as the weights; the state beside them."""
    checkpoint = load_checkpoint(FOLDER / "own" / "NONLOCAL_epoch1")
    momentum = load_pickle(FOLDER / "own" / "NONLOCAL_epoch1.pdopt")
    assert len(momentum) == 186
    assert checksum(momentum) == "9e923b739a121399da24837b85b4f72c6db1030a473d42bf4b05fede4b90661f"
    assert checkpoint.state["iteration"] == 3 and set(checkpoint.weights) <= {n.split("/")[-1] for n in momentum}


def test_every_program_has_a_stored_file():
    stored = {Path(file).name.split(".")[0] for file in ENTRIES}
    names = {"own": "NONLOCAL", "torch": "torch_form", "paddle": "paddle_vision"}
    assert {names.get(source, source) for source in all_sources()} <= stored


def test_stored_files_of_other_programs_are_of_their_kind():
    """What a file is told to be: its container by the first bytes."""
    kinds = {file: read_stored(FOLDER / file).kind for file in ENTRIES}
    assert kinds["caffe2.pkl"] == kinds["own/NONLOCAL.pdparams"] == "a pickle"
    assert kinds["slowfast.pyth"] == kinds["torchvision.pth"] == "a PyTorch file"
    assert kinds["torchvision.safetensors"] == "a safetensors file" and kinds["torch_form.npz"] == "an npz file"
