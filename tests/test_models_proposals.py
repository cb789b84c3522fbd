"""The region proposal network against plain loops over its definition."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import paddle
import pytest
from paddle.vision.models import resnet50

from models import proposals
from models.options import ProposalOptions
from models.proposals import (
    ProposalNetwork,
    ResNetTrunk,
    anchor_boxes,
    matched_truth,
    moved_boxes,
    offsets_between,
    sampled_targets,
)

NARROW = ProposalOptions(width=4, blocks=(1, 1, 1), anchor_sizes=(16, 32), anchor_ratios=(0.5, 1, 2))


def plain_iou(a, b):
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union


def random_boxes(rng, count, side=96):
    corner, size = rng.uniform(0, 0.7 * side, (count, 2)), rng.uniform(6, 0.3 * side, (count, 2))
    return np.concatenate([corner, corner + size], axis=1).astype(np.float32)


def test_the_trunk_is_paddles_resnet50_up_to_layer3():
    paddle.seed(0)
    whole, trunk = resnet50(), ResNetTrunk(64, (3, 4, 6))
    wanted = {name: value for name, value in whole.state_dict().items() if not name.startswith(("layer4", "fc"))}
    state = trunk.state_dict()
    assert {name: value.shape for name, value in state.items()} == {n: v.shape for n, v in wanted.items()}
    trunk.set_state_dict(wanted)
    whole.eval(), trunk.eval()
    frames = paddle.randn([1, 3, 40, 56])
    x = whole.maxpool(whole.relu(whole.bn1(whole.conv1(frames))))
    expected = whole.layer3(whole.layer2(whole.layer1(x)))
    np.testing.assert_allclose(trunk(frames).numpy(), expected.numpy(), atol=1e-5)
    assert expected.shape == [1, trunk.out_channels, 3, 4]  # 1/16, odd rests count


def test_by_default_there_are_fifteen_anchors_from_32_to_512_pixels():
    options = ProposalOptions()
    anchors = anchor_boxes(2, 3, options.anchor_sizes, options.anchor_ratios)
    expected = [
        (16 * j + 8 - s / math.sqrt(r) / 2, 16 * i + 8 - s * math.sqrt(r) / 2,
         16 * j + 8 + s / math.sqrt(r) / 2, 16 * i + 8 + s * math.sqrt(r) / 2)
        for i in range(2) for j in range(3) for s in (32, 64, 128, 256, 512) for r in (0.5, 1, 2)
    ]  # fmt: skip
    np.testing.assert_allclose(anchors, expected, rtol=1e-6)


def test_offsets_lead_back_to_the_boxes_and_cannot_overflow():
    rng = np.random.default_rng(0)
    anchors, boxes = random_boxes(rng, 50), random_boxes(rng, 50)
    np.testing.assert_allclose(moved_boxes(anchors, offsets_between(anchors, boxes)), boxes, atol=1e-3)
    assert np.isfinite(moved_boxes(anchors, np.full((50, 4), 1e4, np.float32))).all()


def test_anchors_are_matched_as_a_plain_loop_matches_them():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        anchors = anchor_boxes(6, 6, (16, 32), (0.5, 1, 2)).astype(float)
        boxes = random_boxes(rng, int(rng.integers(0, 5))).astype(float)
        if seed == 3:
            boxes = np.concatenate([boxes, anchors[40:41]])  # an IoU of 1
        expected = []
        overlap = [[plain_iou(anchor, box) for box in boxes] for anchor in anchors]
        for row in overlap:
            best = max(row, default=0.0)
            expected.append(row.index(best) if best >= 0.7 else -1 if best < 0.3 else -2)
        for k in range(len(boxes)):
            column = [row[k] for row in overlap]
            if max(column) > 0:
                expected[column.index(max(column))] = k
        assert matched_truth(anchors, boxes).tolist() == expected


def test_the_samples_of_a_frame_are_256_and_at_most_half_of_them_positive():
    rng = np.random.default_rng(0)
    anchors = anchor_boxes(20, 20, (16, 32), (1,))
    few = sampled_targets(anchors, random_boxes(rng, 3), 256, rng)
    assert len(few.chosen) == len(set(few.chosen)) == 256
    assert few.is_positive.sum() == len(few.offsets) >= 3
    many = sampled_targets(anchors, anchors[:300], 256, rng)
    assert many.is_positive.sum() == 128 == len(many.offsets)
    again = sampled_targets(anchors, anchors[:300], 256, rng)
    assert set(many.chosen) != set(again.chosen)  # by chance
    nobody = sampled_targets(anchors, np.zeros((0, 4), np.float32), 256, rng)
    assert len(nobody.chosen) == 256 and not nobody.is_positive.any()


@pytest.fixture(scope="module")
def network():
    paddle.seed(0)
    network = ProposalNetwork(NARROW)
    for layer in (network.objectness, network.offsets):
        layer.weight.set_value(layer.weight * 100)  # so that proposals differ
    network.eval()
    return network


def test_the_loss_is_that_of_a_plain_loop(network, monkeypatch):
    every = dataclasses.replace(network.options, num_samples=10**6)  # all anchors, whatever chance says
    monkeypatch.setattr(network, "options", every)
    rng = np.random.default_rng(1)
    frames = paddle.to_tensor(rng.standard_normal((3, 3, 64, 80)), dtype="float32")
    boxes, box_clip = random_boxes(rng, 4, 64), np.array([0, 0, 0, 2])
    found = network.predict(frames)
    logits, offsets, anchors = found.logits, found.offsets, found.anchors
    cross_entropy, regression = [], 0.0
    for n, (logit, offset) in enumerate(zip(logits.numpy().astype(float), offsets.numpy())):
        own = boxes[box_clip == n]
        for i, match in enumerate(matched_truth(anchors, own)):
            if match == -2:
                continue
            p = 1 / (1 + math.exp(-logit[i]))
            cross_entropy.append(-math.log(p if match >= 0 else 1 - p))
            if match >= 0:
                ax, ay, aw, ah = centre_form(anchors[i])
                bx, by, bw, bh = centre_form(own[match])
                wanted = (bx - ax) / aw, (by - ay) / ah, math.log(bw / aw), math.log(bh / ah)
                for error in np.abs(np.array(wanted) - offset[i]):
                    regression += 4.5 * error**2 if error < 1 / 9 else error - 1 / 18
    expected = np.mean(cross_entropy) + regression / len(cross_entropy)
    assert network.loss(network.predict(frames), boxes, box_clip).item() == pytest.approx(expected, rel=1e-4)


def centre_form(box):
    x1, y1, x2, y2 = map(float, box)
    return (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1


def test_every_parameter_learns_and_a_batch_without_boxes_has_a_loss(network):
    frames = paddle.randn([2, 3, 64, 64])
    network.train()
    network.loss(network.predict(frames), np.array([[8, 8, 40, 40]], np.float32), np.array([1])).backward()
    for name, parameter in network.named_parameters():
        if parameter.stop_gradient:  # statistics of norms
            continue
        assert parameter.grad is not None and np.isfinite(parameter.grad.numpy()).all(), name
        assert np.abs(parameter.grad.numpy()).max() > 0, name
    network.clear_gradients()
    assert np.isfinite(network.loss(network.predict(frames), np.zeros((0, 4), np.float32), np.zeros(0, int)).item())
    network.eval()


def test_proposals_are_those_of_a_plain_loop(network, monkeypatch):
    monkeypatch.setattr(proposals, "NUM_PROPOSALS", 12)
    frames = paddle.to_tensor(np.random.default_rng(2).standard_normal((2, 3, 70, 96)), dtype="float32")
    found, scores = (tensor.numpy() for tensor in network(frames))
    predicted = network.predict(frames)
    logits, offsets, anchors = predicted.logits, predicted.offsets, predicted.anchors
    expected = []
    for n in range(2):
        kept = []
        for i in np.argsort(-logits[n].numpy(), kind="stable"):
            x, y, w, h = centre_form(anchors[i])
            tx, ty, tw, th = offsets[n, int(i)].numpy().tolist()
            x, y, w, h = x + tx * w, y + ty * h, w * math.exp(min(tw, 4.1351)), h * math.exp(min(th, 4.1351))
            box = [max(0, x - w / 2), max(0, y - h / 2), min(96, x + w / 2), min(70, y + h / 2)]
            if box[2] - box[0] < 1 or box[3] - box[1] < 1:
                continue
            if all(plain_iou(box, other) <= 0.7 for _, other, _ in kept):
                kept.append((n, box, 1 / (1 + math.exp(-logits[n, int(i)].item()))))
        expected += kept[:12]
    np.testing.assert_allclose(found, [(n, *box) for n, box, _ in expected], atol=1e-2)
    np.testing.assert_allclose(scores, [score for _, _, score in expected], rtol=1e-5)


def test_a_frame_has_the_same_proposals_alone_and_in_a_batch(network):
    frames = paddle.randn([3, 3, 64, 64])
    together, scores = network(frames)
    alone, own_scores = network(frames[1:2])
    own = together[:, 0].numpy() == 1
    np.testing.assert_allclose(together.numpy()[own, 1:], alone.numpy()[:, 1:], atol=1e-3)
    np.testing.assert_allclose(scores.numpy()[own], own_scores.numpy(), atol=1e-5)
