"""Containers of weights: PyTorch's real files, and everything that is hostile, damaged or no weight file."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.weight_files import fluid_record, torch_program, write_tar, write_torch_zip
from utils.errors import UserError
from weights.containers import read_stored

GOLDEN = Path(__file__).parent / "golden"
ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32([7.5])}


def refusal(path) -> str:
    with pytest.raises(UserError) as caught:
        read_stored(path)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text
    return text


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_legacy.pth"])
def test_files_that_pytorch_wrote(name):
    """golden/make_torch_files.py made them: tensors count up from ten times their index."""
    arrays = read_stored(GOLDEN / name).arrays
    expected = {"conv.weight": (3, 2, 1, 1), "conv.bias": (3,), "bn.weight": (3,), "bn.bias": (3,)}
    expected.update({"bn.running_mean": (3,), "bn.running_var": (3,), "bn.num_batches_tracked": ()})
    for index, (key, shape) in enumerate(expected.items()):
        np.testing.assert_array_equal(arrays[key], np.arange(np.prod(shape)).reshape(shape) + 10 * index)
    np.testing.assert_array_equal(arrays["half"], [1.5, -2.0])
    np.testing.assert_array_equal(arrays["bfloat16"], [0.5, -3.0])
    np.testing.assert_array_equal(arrays["turned"], np.arange(6).reshape(2, 3).T)
    np.testing.assert_array_equal(arrays["inside"], [3, 4, 5])
    assert len(arrays) == 11


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_legacy.pth"])
def test_cut_off_files_of_pytorch(tmp_path, name):
    whole = (GOLDEN / name).read_bytes()
    for length in range(1, len(whole), 97):
        (tmp_path / "w.pth").write_bytes(whole[:length])
        refusal(tmp_path / "w.pth")


@pytest.mark.parametrize("suffix", ["pth", "pyth", "pdparams", "pkl"])
def test_code_in_a_file_of_pytorch_is_not_run(tmp_path, suffix):
    path, mark = tmp_path / f"w.{suffix}", tmp_path / "ran"
    call = (
        b"X\1\0\0\0xcposix\nsystem\nX" + struct.pack("<I", len(f"touch {mark}")) + f"touch {mark}".encode() + b"\x85R"
    )
    write_torch_zip(path, ARRAYS, "state_dict", call)
    assert "posix.system" in refusal(path)
    path.write_bytes(pickle.dumps({"blobs": ARRAYS, "x": _Call(os.system, f"touch {mark}")}, 2))
    assert "system" in refusal(path) and not mark.exists()


class _Call:
    def __init__(self, function, argument):
        self.value = function, (argument,)

    def __reduce__(self):
        return self.value


def test_tensors_that_lie_about_their_data(tmp_path):
    program = torch_program({"a": np.zeros(6, np.float32)})
    huge = program.replace(b"(J\6\0\0\0t(J\1\0\0\0t", b"(J\xff\xff\xff\x7ft(J\1\0\0\0t")
    spread = program.replace(b"(J\6\0\0\0t(J\1\0\0\0t", b"(J\xff\xff\xff\x7ft(J\0\0\0\0t")
    negative = program.replace(b"(J\6\0\0\0t(J\1\0\0\0t", b"(J\6\0\0\0t(J\xff\xff\xff\xfft")
    for hostile in (huge, spread, negative):
        assert hostile != program
        with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
            archive.writestr("archive/data.pkl", hostile)
            archive.writestr("archive/data/0", bytes(24))
        assert "tensor of it" in refusal(tmp_path / "w.pth")
    for data in (bytes(20), None):
        with zipfile.ZipFile(tmp_path / "w.pth", "w") as archive:
            archive.writestr("archive/data.pkl", program)
            if data:
                archive.writestr("archive/data/0", data)
        assert "tensor" in refusal(tmp_path / "w.pth")


def test_zip_and_gzip_bombs(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(30_000_000))
    assert "far more" in refusal(tmp_path / "w.npz")
    with gzip.open(tmp_path / "w.tar.gz", "wb") as stream, tarfile.open(fileobj=stream, mode="w|") as archive:
        info = tarfile.TarInfo("a")
        info.size = 60_000_000
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    assert "far more" in refusal(tmp_path / "w.tar.gz")


@pytest.mark.parametrize("name", ["/tmp/escaped", "../escaped", "folder/../../escaped", "C:\\escaped"])
def test_archive_that_escapes(tmp_path, name):
    path = write_tar(tmp_path / "w.tar.gz", {"good": fluid_record(ARRAYS["a"]), name: fluid_record(ARRAYS["b"])})
    assert "escaped" in refusal(path)
    assert [p.name for p in tmp_path.iterdir()] == ["w.tar.gz"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_archive_with_links_and_devices(tmp_path, kind):
    with tarfile.open(tmp_path / "w.tar", "w") as archive:
        info = tarfile.TarInfo("conv1_weights")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    assert "link or a device" in refusal(tmp_path / "w.tar")


def test_one_weight_file_in_an_archive(tmp_path):
    write_torch_zip(tmp_path / "w.pth", ARRAYS)
    path = write_tar(tmp_path / "a.tar.gz", {"folder/w.pth": (tmp_path / "w.pth").read_bytes()})
    np.testing.assert_array_equal(read_stored(path).arrays["a"], ARRAYS["a"])


def test_binary_records(tmp_path):
    path = tmp_path / "w"
    path.write_bytes(fluid_record(ARRAYS["a"]) + fluid_record(np.arange(300, dtype=np.int64)))
    first, second = read_stored(path).unnamed
    np.testing.assert_array_equal(first, ARRAYS["a"])
    np.testing.assert_array_equal(second, np.arange(300))
    whole = path.read_bytes()
    for length in (*range(4, 60), len(whole) - 1):
        path.write_bytes(whole[:length])
        assert length == len(fluid_record(ARRAYS["a"])) or refusal(path)
    terabytes = b"\x08\x05\x10\xff\xff\xff\xff\xff\x1f"
    path.write_bytes(struct.pack("<IQIi", 0, 0, 0, len(terabytes)) + terabytes)
    assert "cut off" in refusal(path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "conv1_weights").write_bytes(b"\0\0\0\0garbage")
    assert "conv1_weights" in refusal(tmp_path / "folder")
    (tmp_path / "empty").mkdir()
    assert "no files" in refusal(tmp_path / "empty")


def test_safetensors_of_the_library(tmp_path):
    save_file(ARRAYS, tmp_path / "w")
    read = read_stored(tmp_path / "w").arrays
    assert sorted(read) == ["a", "b"]
    for name in ARRAYS:
        np.testing.assert_array_equal(read[name], ARRAYS[name])


def test_every_type_of_safetensors(tmp_path):
    """bfloat16, which numpy lacks, becomes float32; a type that no weight has is named."""

    def write(kind: str, data: bytes) -> None:
        text = json.dumps({"a": {"dtype": kind, "shape": [2], "data_offsets": [0, len(data)]}}).encode()
        (tmp_path / "w").write_bytes(struct.pack("<Q", len(text)) + text + data)

    write("BF16", b"\x80\x3f\x20\xc0")
    read = read_stored(tmp_path / "w").arrays["a"]
    assert read.dtype == np.float32 and read.tolist() == [1.0, -2.5]
    kinds = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1"}
    for kind, dtype in kinds.items():
        write(kind, np.array([3, 1], dtype).tobytes())
        read = read_stored(tmp_path / "w").arrays["a"]
        assert read.dtype == np.dtype(dtype) and read.tolist() == [3, 1]
    write("F8_E4M3", b"\0\0")
    assert "F8_E4M3" in refusal(tmp_path / "w")


def test_safetensors_that_lie(tmp_path):
    def write(header: dict, data: bytes = bytes(24)):
        text = json.dumps(header).encode()
        (tmp_path / "w").write_bytes(struct.pack("<Q", len(text)) + text + data)

    good = {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}
    write({"a": good})
    assert read_stored(tmp_path / "w").arrays["a"].shape == (6,)
    for change in (
        {"shape": [2**40]},
        {"data_offsets": [0, 2**50], "shape": [2**48]},
        {"data_offsets": [-8, 16]},
        {"dtype": "X"},
        {"shape": ["6"]},
        {"shape": [-6], "data_offsets": [24, 0]},
        {"data_offsets": [8, 32]},
    ):
        write({"a": {**good, **change}})
        refusal(tmp_path / "w")
    (tmp_path / "w").write_bytes(struct.pack("<Q", 2**60) + b'{"a": 1}')
    refusal(tmp_path / "w")


@pytest.mark.parametrize(
    "content", [b"", b"text", b"<html><body>404</body></html>", b"PK\3\4broken", b"\x1f\x8bbroken"]
)
def test_no_weight_file_at_all(tmp_path, content):
    (tmp_path / "w.pdparams").write_bytes(content)
    refusal(tmp_path / "w.pdparams")


def test_damaged_and_encrypted_archives(tmp_path):
    rng = np.random.default_rng(0)
    np.savez_compressed(tmp_path / "w.npz", a=rng.standard_normal(2000).astype(np.float32))
    write_tar(tmp_path / "w.tar.gz", {"a": fluid_record(rng.standard_normal(2000).astype(np.float32))})
    for name in ("w.npz", "w.tar.gz"):
        whole = (tmp_path / name).read_bytes()
        assert read_stored(tmp_path / name)
        for place in range(200, len(whole) - 200, 350):
            (tmp_path / name).write_bytes(whole[:place] + bytes(8) + whole[place + 8 :])
            refusal(tmp_path / name)
    np.savez(tmp_path / "w.npz", **ARRAYS)
    data = bytearray((tmp_path / "w.npz").read_bytes())
    data[data.rindex(b"PK\1\2") + 8] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "w.npz").write_bytes(data)
    assert "encrypted" in refusal(tmp_path / "w.npz")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "w.pdparams")
    assert "no regular file" in refusal(tmp_path / "w.pdparams")


def test_pickles_of_something_else(tmp_path):
    for value in (3, [1, 2], {"a": "text"}, {}, {"blobs": {}}):
        (tmp_path / "w").write_bytes(pickle.dumps(value))
        refusal(tmp_path / "w")
    with zipfile.ZipFile(tmp_path / "w", "w") as archive:
        archive.writestr("readme.txt", "text")
    refusal(tmp_path / "w")


def test_objects_in_npz_are_refused(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.array([{}], dtype=object))
    refusal(tmp_path / "w.npz")
    np.savez(tmp_path / "good.npz", **ARRAYS)
    np.testing.assert_array_equal(read_stored(tmp_path / "good.npz").arrays["a"], ARRAYS["a"])
