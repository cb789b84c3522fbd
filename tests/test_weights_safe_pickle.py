"""Nothing in a pickle runs, no size in it is believed, and what weights are made of comes back as it was."""

from __future__ import annotations

import collections
import io
import os
import pickle
import pickletools
import struct

import numpy as np
import paddle
import pytest

from utils.errors import UserError
from weights.safe_pickle import load_pickle


def load(data: bytes):
    return load_pickle(io.BytesIO(data))


def refusal(data: bytes) -> str:
    with pytest.raises(UserError) as caught:
        load(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Calls:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_what_weights_are_made_of(protocol):
    rng = np.random.default_rng(0)
    value = {
        "a": rng.standard_normal((2, 3, 1)).astype(np.float32),
        "fortran": np.asfortranarray(rng.standard_normal((4, 5))),
        "swapped": np.arange(5, dtype=">i8"),
        "half": np.ones(3, np.float16),
        "flag": np.array([True, False]),
        "empty": np.zeros((0, 3), np.float32),
        "lr": np.array(0.1, np.float32),
        "scalar": np.float32(3.5),
        "ordered": collections.OrderedDict([("z", 1), ("y", [None, True, 2.5, b"bytes", "text", (1, 2)])]),
    }
    read = load(pickle.dumps(value, protocol))
    assert list(read) == list(value)
    for name in value:
        if isinstance(value[name], np.ndarray):
            assert type(read[name]) is np.ndarray
            assert read[name].dtype == pickle.loads(pickle.dumps(value[name], protocol)).dtype  # numpy may swap bytes
            np.testing.assert_array_equal(read[name], value[name])
    assert read["scalar"] == 3.5 and type(read["scalar"]) is np.float32
    assert read["ordered"] == dict(value["ordered"]) and list(read["ordered"]) == ["z", "y"]


def test_python_2_pickle_of_arrays():
    """The operations that Python 2's cPickle writes: byte strings for names and data alike."""
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    data = array.tobytes()
    dtype = b"cnumpy\ndtype\n(U\x02f4I0\nI1\ntRq\x04(I3\nU\x01<NNNI-1\nI-1\nI0\ntb"
    call = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nI0\n\x85U\x01btR"
    state = b"(K\x01K\x02K\x03\x86" + dtype + b"I00\nU" + bytes([len(data)]) + data + b"tb"
    read = load(b"\x80\x02}U\x05blobs}U\x06pred_w" + call + state + b"ss.")
    np.testing.assert_array_equal(read["blobs"]["pred_w"], array)


@pytest.mark.parametrize("protocol", [2, 4])
def test_files_of_paddle_save(tmp_path, protocol):
    layer = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4))
    path = str(tmp_path / "w.pdparams")
    paddle.save(layer.state_dict(), path, protocol=protocol)
    read = load_pickle(path)
    for name, tensor in layer.state_dict().items():
        np.testing.assert_array_equal(read[name], tensor.numpy())
    paddle.save({"inside": {"weight": layer[0].weight}}, path, protocol=protocol)
    _, array = load_pickle(path)["inside"]["weight"]  # paddle writes (name, array)
    np.testing.assert_array_equal(array, layer[0].weight.numpy())


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_is_not_run_and_its_name_told(tmp_path, protocol):
    mark = tmp_path / "ran"
    text = refusal(pickle.dumps({"a": np.ones(3), "b": Calls(os.mkdir, str(mark))}, protocol))
    assert "posix.mkdir" in text or "nt.mkdir" in text
    assert not mark.exists()
    assert "builtins.eval" in refusal(pickle.dumps(Calls(eval, "1 + 1"), 4)).replace("__builtin__", "builtins")
    assert "builtins.getattr" in refusal(pickle.dumps(Calls(getattr, "text", "upper"), 4))


def test_dotted_names_do_not_reach_through():
    assert "numpy.dtype.mro" in refusal(b"\x80\x04\x8c\x05numpy\x8c\x09dtype.mro\x93.")


@pytest.mark.parametrize("call", [b"cnumpy\nndarray\n", b"cnumpy\nzeros\n"])
def test_terabytes_of_nothing_are_refused(call):
    assert "numpy." in refusal(b"\x80\x02" + call + b"(\x8a\x06\0\0\0\0\0\x01tR.")


def test_shape_larger_than_its_data_is_refused():
    good = pickle.dumps(np.zeros(3, np.float32), 2)
    hostile = good.replace(b"K\x03\x85", b"\x8a\x06\0\0\0\0\0\x01\x85")
    assert hostile != good
    assert "with 12 bytes of data" in refusal(hostile)


@pytest.mark.parametrize("operation", [b"X", b"T", b"B"])
def test_item_longer_than_the_file_is_refused_before_it_is_read(operation):
    assert "bytes" in refusal(b"\x80\x03" + operation + struct.pack("<I", 2**31 - 1) + b"abc.")
    assert "bytes" in refusal(b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"abc.")
    assert "bytes" in refusal(b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"N.")


def test_bombs_are_refused():
    assert "wildly" in refusal(b"\x80\x02Nr" + struct.pack("<I", 2**32 - 1) + b".")
    assert "wildly" in refusal(b"Np100000000\n0N.")  # the same in protocol 0, written out
    assert "more items" in refusal(b"\x80\x02)" + b"\x85" * 100_000 + b".")
    assert "more items" in refusal(b"\x80\x02" + b"]" * 2_100_000 + b".")
    assert "nested" in refusal(b"\x80\x02" + b"]" * 1000 + b"a" * 999 + b".")
    assert "digits" in refusal(b"\x80\x02\x8b" + struct.pack("<i", 100_000) + b"\1" * 100_000 + b".")
    text = b"\x80\x02X" + struct.pack("<I", 100_000) + b"a" * 100_000 + b"q\0"
    encode = b"c_codecs\nencode\nh\0X\x06\0\0\0latin1\x86R"
    assert "more than the file holds" in refusal(text + encode * 20 + b".")


def test_operations_that_no_weight_file_uses_are_named():
    assert "EMPTY_SET" in refusal(pickle.dumps({1, 2}, 4)) and "FROZENSET" in refusal(pickle.dumps(frozenset([1]), 4))
    assert "INST" in refusal(b"(icollections\nOrderedDict\n.") and "PERSID" in refusal(b"Pname\n.")
    assert "EXT1" in refusal(b"\x80\x02\x82\x01.") and "NEXT_BUFFER" in refusal(b"\x80\x05\x97.")


def test_long_lines_of_protocol_0_are_refused_with_the_way_out():
    assert "newer pickle protocol" in refusal(pickle.dumps("a" * 10_000, 0))
    assert "cut off" in refusal(b"Vtext")
    assert load(pickle.dumps("a" * 4000, 0)) == "a" * 4000


def test_shared_lists_cost_no_more_than_once():
    value = ["a"]
    for _ in range(60):
        value = [value] * 10
    assert len(load(pickle.dumps(value, 4))) == 10


def test_parts_of_the_reader_cannot_be_changed_or_handed_out():
    change = b"\x80\x02c_codecs\nencode\nN}X\x0c\0\0\0__defaults__)s\x86b."
    assert "change a function" in refusal(change)
    assert "functions" in refusal(b"\x80\x02c_codecs\nencode\n.")
    assert "functions" in refusal(b"\x80\x02ccollections\nOrderedDict\n.")
    np.testing.assert_array_equal(load(pickle.dumps(np.ones(3), 2)), np.ones(3))


def test_arrays_of_objects_and_records_are_refused():
    assert "not of numbers" in refusal(pickle.dumps(np.array([None, {}]), 4))
    assert "not of numbers" in refusal(pickle.dumps(np.zeros(2, [("a", "f4")]), 4))
    assert "not of numbers" in refusal(pickle.dumps(np.zeros(2, "M8[s]"), 4))


def test_cut_off_anywhere_ends_in_one_line(tmp_path):
    whole = pickle.dumps({"a": np.arange(50, dtype=np.float32), "b": [1, 2.5, "text"]}, 4)
    for length in range(len(whole)):
        refusal(whole[:length])
    path = tmp_path / "w.pdparams"
    path.write_bytes(whole[:100])
    with pytest.raises(UserError, match=str(path)):
        load_pickle(path)


def test_random_bytes_and_damage_end_in_one_line():
    rng = np.random.default_rng(0)
    whole = pickle.dumps({"a": np.arange(5, dtype=np.float32), "b": [1, 2.5, "text"]}, 2)
    for _ in range(300):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(256)
        try:
            load(bytes(data))
        except UserError as error:
            assert "\n" not in str(error)
        refusal(b"\0" + rng.bytes(60))
    refusal(b"")


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(UserError, match="cannot read"):
            load_pickle(path)


def test_every_operation_of_pickle_is_known():
    """A new protocol's operations would have to be judged, not skipped."""
    assert pickle.HIGHEST_PROTOCOL == 5 and len(pickletools.opcodes) == 68
