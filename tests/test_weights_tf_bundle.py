"""TensorFlow's bundles: read as the tests write them byte by byte, and everything that is damaged or hostile."""

from __future__ import annotations

import resource
import struct
import time

import numpy as np
import pytest

from tests.weight_files import (
    bundle_files_bytes,
    bundle_index_bytes,
    leb128,
    masked_crc32c_slowly,
    protobuf,
    table_block,
    write_bundle,
)
from utils.errors import UserError
from weights.containers import read_stored, stored_files, stored_sha256
from weights.crc32c import crc32c, masked_crc32c

ARRAYS = {f"RGB/net/Conv_{i}/w": np.arange(i * 3, dtype=np.float32).reshape(3, i) + i for i in range(1, 50)}
ARRAYS.update({"RGB/net/b": np.float32([7.5]), "step": np.array(3, np.int64), "half": np.float16([1.5, -2])})


def refusal(path) -> str:
    with pytest.raises(UserError) as caught:
        read_stored(path)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text
    return text


def test_checksum_equals_the_slow_one():
    """RFC 3720's examples, and lengths on both sides of where lanes begin."""
    assert crc32c(b"123456789") == 0xE3069283 and crc32c(b"") == 0
    assert crc32c(bytes(32)) == 0x8A9136AA and crc32c(bytes([255] * 32)) == 0x62A8AB43
    data = np.random.default_rng(0).bytes(40_000)
    for length in (1, 16_383, 16_384, 16_385, 40_000):
        assert masked_crc32c(data[:length]) == masked_crc32c_slowly(data[:length])


def test_checksum_of_fifty_megabytes_takes_seconds_at_most():
    """Of two halves that exchange places, the checksum changes."""
    data = np.random.default_rng(0).bytes(5_000_000)
    start = time.process_time()
    assert crc32c(data) != crc32c(data[2_500_000:] + data[:2_500_000])
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize("num_shards", [1, 3])
def test_arrays_come_back(tmp_path, num_shards):
    prefix = write_bundle(tmp_path / "model.ckpt", ARRAYS, num_shards)
    (tmp_path / "model.ckpt.meta").write_bytes(b"a graph")
    (tmp_path / "checkpoint").write_bytes(b'model_checkpoint_path: "model.ckpt"')
    ends = ("", ".index", ".meta", f".data-00000-of-{num_shards:05d}")
    for path in (tmp_path, *(tmp_path / f"model.ckpt{end}" for end in ends)):
        stored = read_stored(path)
        assert stored.kind == "a TensorFlow checkpoint" and stored.arrays.keys() == ARRAYS.keys()
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(stored.arrays[name], array)
            assert stored.arrays[name].dtype == array.dtype
    assert len(stored_files(prefix)) == 1 + num_shards and len(stored_sha256(prefix)) == 64


def test_bfloat16_and_text(tmp_path):
    """A bfloat16 is the upper half of a float32; text is no weight."""
    data = np.float32([0.5, -3.0]).view(np.uint32).astype(np.uint32) >> 16
    data = data.astype("<u2").tobytes()
    shape = protobuf((2, protobuf((1, 2))))
    pairs = [
        (b"", protobuf((1, 1))),
        (b"a", protobuf((1, 14), (2, shape), (5, 4), (6, masked_crc32c_slowly(data)))),
        (b"graph", protobuf((1, 7), (2, shape), (5, 4))),
    ]
    (tmp_path / "m.index").write_bytes(bundle_index_bytes(pairs))
    (tmp_path / "m.data-00000-of-00001").write_bytes(data)
    arrays = read_stored(tmp_path / "m").arrays
    assert list(arrays) == ["a"] and arrays["a"].tolist() == [0.5, -3.0]


def test_compressed_blocks_are_refused(tmp_path):
    pairs, _ = bundle_files_bytes(ARRAYS)
    (tmp_path / "m.index").write_bytes(bundle_index_bytes(pairs, compression=1))
    assert "Snappy" in refusal(tmp_path / "m.index")
    (tmp_path / "m.index").write_bytes(bundle_index_bytes(pairs, compression=9))
    assert "unknown way" in refusal(tmp_path / "m.index")


def test_every_cut_of_the_index_and_of_the_data(tmp_path):
    prefix = write_bundle(tmp_path / "m", ARRAYS)
    index, data = tmp_path / "m.index", tmp_path / "m.data-00000-of-00001"
    whole = index.read_bytes()
    for length in (*range(0, len(whole), 41), len(whole) - 1):
        index.write_bytes(whole[:length])
        refusal(prefix)
    index.write_bytes(whole)
    content = data.read_bytes()
    for length in (0, 1, len(content) // 2, len(content) - 1):
        data.write_bytes(content[:length])
        assert "m.data-00000-of-00001 is cut off" in refusal(prefix)
    data.unlink()
    assert "m.data-00000-of-00001 is missing" in refusal(prefix)


def test_every_changed_byte_is_noticed(tmp_path):
    """A bit anywhere in the data or in a block of the index: no number comes out of it."""
    prefix = write_bundle(tmp_path / "m", {name: ARRAYS[name] for name in list(ARRAYS)[:12]})
    for file in (tmp_path / "m.index", tmp_path / "m.data-00000-of-00001"):
        whole = file.read_bytes()
        for place in range(0, len(whole) - (48 if file.suffix == ".index" else 0), 37):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
            assert "damaged" in refusal(prefix) or "compressed" in refusal(prefix)
        file.write_bytes(whole)
    read_stored(prefix)


def entry(name=b"a", kind=1, sides=(2,), shard=0, offset=0, size=8, *more):
    shape = b"".join(protobuf((2, protobuf((1, side)))) for side in sides)
    crc = masked_crc32c_slowly(bytes(8))
    return name, protobuf((1, kind), (2, shape), (3, shard), (4, offset), (5, size), (6, crc), *more)


HEADER = (b"", protobuf((1, 1)))
HOSTILE = {
    "terabytes": ([HEADER, entry(sides=(2**40,), size=2**42)], "cut off"),
    "a negative side": ([HEADER, entry(sides=(2**64 - 2,), size=2**66 - 8)], "damaged|cut off"),
    "sides that are not the size": ([HEADER, entry(sides=(3,))], "8 bytes for the shape"),
    "many axes": ([HEADER, entry(sides=(1,) * 40 + (2,))], "8 bytes for the shape"),
    "an offset behind the end": ([HEADER, entry(offset=2**50)], "cut off"),
    "another data file": ([HEADER, entry(shard=5)], "data file 5 of 1"),
    "a type that is none": ([HEADER, entry(kind=20)], "type 20"),
    "slices": ([HEADER, entry(b"a", 1, (2,), 0, 0, 8, (7, b"x"))], "slices"),
    "the same bytes again": ([HEADER, *(entry(b"%05d" % i) for i in range(9))], "share bytes"),
    "names out of order": ([HEADER, entry(b"b"), entry(b"a")], "out of order"),
    "big-endian": ([(b"", protobuf((1, 1), (2, 1))), entry()], "big-endian"),
    "no data file": ([(b"", protobuf((1, 2**40))), entry()], "data files"),
    "a message cut off": ([HEADER, (b"a", b"\x12\x7f")], "damaged"),
    "a number without end": ([HEADER, (b"a", b"\x08" + b"\xff" * 12)], "damaged"),
    "a group": ([HEADER, (b"a", b"\x0b")], "damaged"),
    "text in place of a number": ([HEADER, (b"a", protobuf((1, b"x")))], "damaged"),
    "too many tensors": ([HEADER, *(entry(b"%06d" % i, 7) for i in range(10_001))], "more tensors"),
    "nothing": ([HEADER], "no tensors"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_entries(tmp_path, name):
    pairs, words = HOSTILE[name]
    (tmp_path / "m.index").write_bytes(bundle_index_bytes(pairs, per_block=20_000, crc=masked_crc32c))
    (tmp_path / "m.data-00000-of-00001").write_bytes(bytes(64 if name != "the same bytes again" else 16))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    text = refusal(tmp_path / "m")
    assert any(word in text for word in words.split("|")), text
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64_000  # kB


def test_blocks_that_lie_about_their_pairs(tmp_path):
    """Lengths behind the end, a shared start longer than the name before, restarts that fill more than the block."""

    def index(block: bytes) -> bytes:
        block += b"\0"
        data = block + struct.pack("<I", masked_crc32c(block))
        pointer = table_block([(b"z", leb128(0) + leb128(len(block) - 1))]) + b"\0"
        footer = leb128(0) + leb128(len(block) - 1) + leb128(len(data)) + leb128(len(pointer) - 1)
        data += pointer + struct.pack("<I", masked_crc32c(pointer))
        return data + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)

    restarts = struct.pack("<II", 0, 1)
    for block in (
        b"\x05\x01\x01ab" + restarts,
        b"\x00\xff\xff\x7f\x01ab" + restarts,
        b"\x00\x01\xff\xff\x7fab" + restarts,
        b"\x00\x01\x01ab" + struct.pack("<I", 2**31),
        b"",
    ):
        (tmp_path / "m.index").write_bytes(index(block))
        assert "damaged" in refusal(tmp_path / "m.index")


def test_paths_that_name_no_bundle(tmp_path):
    (tmp_path / "m.index").write_bytes(b"something else, longer than the footer of a table, which has 48 bytes")
    assert "no TensorFlow checkpoint of version 2" in refusal(tmp_path / "m")
    (tmp_path / "n.index").write_bytes(b"")
    assert "name one" in refusal(tmp_path)
    with pytest.raises(UserError, match="nothing.ckpt"):
        read_stored(tmp_path / "nothing.ckpt")
    assert stored_files(tmp_path / "nothing.ckpt") == [tmp_path / "nothing.ckpt"]
    (tmp_path / "w.params").write_bytes(struct.pack("<QQQ", 0x112, 0, 1) + bytes(40))
    assert "MXNet" in refusal(tmp_path / "w.params")
    (tmp_path / "inception_v1.ckpt").write_bytes(bundle_index_bytes([HEADER]))  # one file: of version 1
    assert "of version 1" in refusal(tmp_path / "inception_v1.ckpt")
