from __future__ import annotations

import errno
import hashlib
import json
import os

import pytest

from utils.errors import RunError
from utils.files import file_sha256, write_atomically, write_json, write_text, write_together


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "result.bin"
    path.write_bytes(b"old")

    def fail(stream):
        stream.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(RunError, match="result.bin.*No space left"):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["result.bin"]


def test_any_exception_in_the_writer_cleans_up(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "result.bin", lambda stream: (_ for _ in ()).throw(KeyboardInterrupt()))
    assert os.listdir(tmp_path) == []


def test_files_written_together_appear_together(tmp_path):
    (tmp_path / "a").write_bytes(b"old")

    def fail(stream):
        assert (tmp_path / "a").read_bytes() == b"old"
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(RunError, match="b: full"):
        write_together({tmp_path / "a": lambda stream: stream.write(b"new"), tmp_path / "b": fail})
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_folders_are_made_and_permissions_are_ordinary(tmp_path):
    path = tmp_path / "deep" / "er" / "x.txt"
    write_text(path, "é\udcff")
    assert path.read_bytes() == "é".encode() + b"\xff"
    plain = tmp_path / "plain"
    plain.write_text("")
    assert path.stat().st_mode == plain.stat().st_mode


def test_json_survives_odd_file_names_and_refuses_nan(tmp_path):
    write_json(tmp_path / "x.json", {"path": "\udcff雪"})
    assert json.loads((tmp_path / "x.json").read_text()) == {"path": "\udcff雪"}
    with pytest.raises(ValueError):
        write_json(tmp_path / "x.json", float("nan"))


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write"):
        write_text(tmp_path / "file" / "x.txt", "")


@pytest.mark.parametrize("num_bytes", [0, 3, (1 << 20) + 1])
def test_checksum_of_a_file_is_that_of_its_bytes(tmp_path, num_bytes):
    data = bytes(range(256)) * (num_bytes // 256) + b"a" * (num_bytes % 256)
    (tmp_path / "file").write_bytes(data)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(data).hexdigest()
