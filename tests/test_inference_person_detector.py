"""The person detector: its network against plain numpy, its boxes, its file, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import paddle
import pytest

from datareader import read_frames
from inference.person_detector import PersonDetector
from models.person_detector import PERSON, SsdMobileNetV2, anchors, decode_boxes, same_padding
from tests.script_runs import ROOT, run_script
from utils.errors import UserError
from weights import save_weights

GOLDEN = Path(__file__).parent / "golden/person_detector.npz"
REAL_FILE = os.environ.get("NONLOCAL_PERSON_DETECTOR", "")


def plain_convolution(x, weight, bias, stride, depthwise):
    """[C, H, W] -> [O, ceil(H / s), ceil(W / s)], a position after the other; zeros outside as TensorFlow's SAME."""
    k, out_size = weight.shape[2], [-(-n // stride) for n in x.shape[1:]]
    pads = [max((m - 1) * stride + k - n, 0) for m, n in zip(out_size, x.shape[1:])]
    x = np.pad(x, [(0, 0), *((p // 2, p - p // 2) for p in pads)])
    out = np.empty((len(weight), *out_size), np.float32)
    for i in range(out_size[0]):
        for j in range(out_size[1]):
            window = x[:, i * stride : i * stride + k, j * stride : j * stride + k]
            product = window * weight[:, 0] if depthwise else None
            out[:, i, j] = product.sum((1, 2)) if depthwise else np.tensordot(weight, window, 3)
    return out + bias[:, None, None]


def plain_network(arrays, x):
    """Layer by layer as the detector's paper has it, from tensors by name."""

    def conv(name, x, stride=1, depthwise=False, relu=True):
        y = plain_convolution(x, arrays[f"{name}.weight"], arrays[f"{name}.bias"], stride, depthwise)
        return np.clip(y, 0, 6) if relu else y

    x, maps, strides = conv("stem", x, 2), [], {1: 2, 3: 2, 6: 2, 13: 2}
    for block in range(17):
        inner = conv(f"blocks.{block}.expand", x) if block else x
        if block == 13:
            maps.append(inner)
        y = conv(f"blocks.{block}.depthwise", inner, strides.get(block, 1), True)
        y = conv(f"blocks.{block}.project", y, relu=False)
        x = x + y if x.shape == y.shape else y
    maps.append(conv("last", x))
    for extra in range(4):
        maps.append(conv(f"extras.{extra}.1", conv(f"extras.{extra}.0", maps[-1]), 2))
    outputs = []
    for heads, size in (("box_heads", 4), ("class_heads", 24)):
        rows = [conv(f"{heads}.{k}", x, relu=False) for k, x in enumerate(maps)]
        outputs.append(np.concatenate([row.transpose(1, 2, 0).reshape(-1, size) for row in rows]))
    return outputs


def random_network():
    """A network and its tensors; activations neither vanish nor all reach 6."""
    rng, network = np.random.default_rng(0), SsdMobileNetV2()
    arrays = {}
    for name, tensor in network.state_dict().items():
        fan_in = int(np.prod(tensor.shape[1:])) or 1
        scale = (2 / fan_in) ** 0.5 if name.endswith("weight") else 0.1
        arrays[name] = (rng.normal(size=tensor.shape) * scale).astype(np.float32)
    network.set_state_dict({name: paddle.to_tensor(array) for name, array in arrays.items()})
    network.eval()
    return network, arrays


def test_the_network_is_the_papers_layer_by_layer():
    network, arrays = random_network()
    picture = np.random.default_rng(1).uniform(-1, 1, (3, 50, 63)).astype(np.float32)  # odd and even sizes on the way
    with paddle.no_grad():
        found = [output.numpy()[0] for output in network(paddle.to_tensor(picture[None]))]
    for ours, plain in zip(found, plain_network(arrays, picture)):
        assert ours.shape == plain.shape and np.abs(plain).max() > 0.1
        np.testing.assert_allclose(ours, plain, atol=1e-4 * np.abs(plain).max())


def test_all_convolutions_are_listed_once():
    network = SsdMobileNetV2()
    listed = network.convolutions()
    assert len(listed) == 72 and sum(layer.weight.shape[1] == 1 and layer.kernel == 3 for layer in listed) == 17
    assert {id(layer.weight) for layer in listed} == {id(p) for p in network.parameters() if p.ndim == 4}


def test_padding_is_tensorflows_same():
    for size in range(1, 40):
        for kernel, stride in ((1, 1), (3, 1), (3, 2)):
            before, after = same_padding(size, kernel, stride)
            assert (size + before + after - kernel) // stride + 1 == -(-size // stride) and after - before in (0, 1)


def test_anchors_and_boxes_are_the_formulas():
    places = anchors()
    assert places.shape == (1917, 4)
    np.testing.assert_allclose(places[0], [0.5 / 19, 0.5 / 19, 0.1, 0.1])
    np.testing.assert_allclose(places[4], [0.5 / 19, 1.5 / 19, 0.2 / 2**0.5, 0.2 * 2**0.5], rtol=1e-6)
    second = 19 * 19 * 3 + 10 * 6 + 6 * 2  # row 1, column 2 of the second map
    shapes = [(0.35 / r**0.5, 0.35 * r**0.5) for r in (1, 2, 0.5, 3, 1 / 3)] + [((0.35 * 0.5) ** 0.5,) * 2]
    np.testing.assert_allclose(places[second : second + 6], [[0.15, 0.25, h, w] for h, w in shapes], rtol=1e-6)
    np.testing.assert_allclose(places[-1], [0.5, 0.5, 0.95**0.5, 0.95**0.5], rtol=1e-6)
    encodings = np.random.default_rng(0).normal(size=(1917, 4)).astype(np.float32)
    for (y, x, h, w), (dy, dx, dh, dw), box in zip(places, encodings, decode_boxes(encodings)):
        cy, cx = y + dy / 10 * h, x + dx / 10 * w
        half_h, half_w = h * np.exp(dh / 5) / 2, w * np.exp(dw / 5) / 2
        np.testing.assert_allclose(box, [cx - half_w, cy - half_h, cx + half_w, cy + half_h], atol=1e-5)


@pytest.fixture
def detector(tmp_path):
    _, arrays = random_network()
    save_weights(tmp_path / "random.pdparams", {name: array.astype(np.float16) for name, array in arrays.items()})
    return PersonDetector(tmp_path / "random.pdparams")


def test_persons_are_the_boxes_above_the_threshold_without_doubles(detector, monkeypatch):
    encodings, logits = np.zeros((1917, 4), np.float32), np.full((1917, 24), -9, np.float32)
    logits[:, 7] = 9  # another class, everywhere
    logits[[0, 1083, 1911], PERSON] = -0.8, 1.5, 2.0  # sigmoids 0.31, 0.82, 0.88
    logits[[3, 1088], PERSON] = -0.9, 1.0  # below 0.3; and a double of 1083, the same place and nearly the same shape
    monkeypatch.setattr(detector, "outputs", lambda frame: (encodings, logits))
    found = detector(np.zeros((120, 160, 3), np.uint8))
    np.testing.assert_allclose(found[:, 4], 1 / (1 + np.exp([-2.0, -1.5, 0.8])), rtol=1e-5)
    assert found[0, :4].min() >= 0 and found[0, :4].max() <= 1  # it left the picture
    y, x, h, w = anchors()[1911]
    np.testing.assert_allclose(found[0, :4], np.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0, 1), atol=1e-6)
    logits[:, PERSON] = -9
    assert detector(np.zeros((120, 160, 3), np.uint8)).shape == (0, 5)


def test_frames_are_squashed_to_the_networks_size(detector):
    network, arrays = random_network()
    detector.network = network
    frame = np.random.default_rng(2).integers(0, 256, (300, 300, 3), np.uint8)
    encodings, _ = detector.outputs(frame)
    with paddle.no_grad():
        expected = network(paddle.to_tensor((frame / 127.5 - 1).transpose(2, 0, 1)[None].astype(np.float32)))[
            0
        ].numpy()[0]
    np.testing.assert_allclose(encodings, expected, atol=1e-3)
    assert detector.outputs(frame[:100, :77])[1].shape == (1917, 24)


@pytest.mark.skipif(not REAL_FILE, reason="NONLOCAL_PERSON_DETECTOR names no person_detector.pdparams")
def test_outputs_are_those_of_the_original():
    frame = read_frames(ROOT / "examples/clip.mp4", [10])[0]
    encodings, logits = PersonDetector(REAL_FILE).outputs(frame)
    golden = np.load(GOLDEN)  # by OpenVINO, from the .tflite file
    np.testing.assert_allclose(encodings, golden["encodings"], atol=1e-3)
    np.testing.assert_allclose(logits[:, PERSON], golden["person"], atol=1e-3)


def test_what_is_no_detector_is_refused(monkeypatch, tmp_path, capsys):
    with pytest.raises(UserError, match=r"fetch_person_detector\.py"):
        PersonDetector(tmp_path / "none.pdparams")
    save_weights(tmp_path / "other.pdparams", {"stem.weight": np.zeros((32, 3, 3, 3), np.float32)})
    with pytest.raises(UserError, match="does not hold the person detector"):
        PersonDetector(tmp_path / "other.pdparams")
    pytest.importorskip("tflite", reason="tflite is not installed (the extra `detect`)")
    (tmp_path / "some.tflite").write_bytes(b"TFL3 and more")
    (tmp_path / "some.tgz").write_bytes(b"\x1f\x8b and no archive")
    tool = "tools.fetch_person_detector"
    for name, message in (("some.tflite", "SHA-256"), ("some.tgz", "is not the package"), ("none", "cannot read")):
        assert run_script(monkeypatch, tool, f"--file={tmp_path / name}") == 2
        printed = capsys.readouterr().err
        assert message in printed and printed.count("\n") == 1
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run_script(monkeypatch, tool) == 2
    assert "no npm" in capsys.readouterr().err
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\nexec /bin/sleep 20\n")
    npm.chmod(0o755)
    monkeypatch.setattr("tools.fetch_person_detector.NPM_SECONDS", 0.1)
    assert run_script(monkeypatch, tool) == 1
    assert "has not fetched" in capsys.readouterr().err
