"""The detector against plain loops: pooled boxes, logits, what is learned from."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from models.detection_head import DetectionHead
from models.detector import indexed_boxes, key_frame, mixed_boxes
from models.layers import FramesConv
from models.nonlocal_model import resnet_video
from models.nonlocal_model.options import network_options
from models.options import DetectionOptions, HeadOptions, Norm, ProposalOptions
from models.s3d_model import trunk
from models.s3d_model.options import network_options as s3d_options
from utils.errors import UserError

SMALL = {
    "widths": {"stem_channels": 4, "res2_channels": 8, "inner_channels": 4},
    "blocks_per_stage": [1, 1, 1, 2],
    "nonlocal_positions": {},
    "norm": Norm(last_init_scale=1.0),
}
PROPOSALS = ProposalOptions(width=4, blocks=(1, 1, 1), anchor_sizes=(16, 32))


def build(multi_label=False, **detection):
    paddle.seed(0)
    options = network_options("i3d_r50", 3, detection=DetectionOptions(**detection), multi_label=multi_label, **SMALL)
    network = resnet_video.build(options)
    network.eval()
    return network


@pytest.fixture(scope="module")
def network():
    return build(proposals=PROPOSALS, max_boxes=6)


def clips_of(count, side=64, seed=0):
    return paddle.to_tensor(np.random.default_rng(seed).standard_normal((count, 3, 4, side, side)), dtype="float32")


def test_res5_of_a_detector_has_the_size_of_res4_and_dilated_kernels(network):
    features = network.forward_features(clips_of(1))
    assert features["res5"].shape[2:] == features["res4"].shape[2:] == [2, 4, 4]
    assert network.backbone.strides["res5"] == network.backbone.strides["res4"] == (2, 16, 16)
    assert [block.b.conv.dilation for block in network.stage5.children()] == [2, 2]
    assert {block.b.conv.dilation for block in build(res5_dilated=False).stage5.children()} == {1}
    classifier = resnet_video.build(network_options("i3d_r50", 3, **SMALL))
    trunk = {name: value.shape for name, value in classifier.state_dict().items() if not name.startswith("head.")}
    assert trunk.items() <= {name: value.shape for name, value in network.state_dict().items()}.items()


def test_a_dilated_convolution_is_the_one_with_zeros_between_its_weights():
    paddle.seed(0)
    dilated = FramesConv(3, 5, (1, 3, 3), dilation=2)
    spread = FramesConv(3, 5, (1, 5, 5))
    weight = np.zeros(spread.weight.shape, np.float32)
    weight[..., ::2, ::2] = dilated.weight.numpy()
    spread.weight.set_value(weight)
    x = paddle.randn([4, 3, 9, 10])
    np.testing.assert_allclose(dilated(x, 2).numpy(), spread(x, 2).numpy(), atol=1e-5)
    assert dilated.output_like(x, 2).shape == dilated(x, 2).shape


def test_a_ramp_pools_to_the_values_at_the_cells():
    """Where features grow linearly, a cell's value is that at its middle (RoIAlign, aligned)."""
    ramp = np.broadcast_to(np.arange(8, dtype=np.float32)[None, :], (8, 8))  # at column j: j, its centre at 16 j + 8 px
    features = paddle.to_tensor(np.stack([ramp, ramp.T])[None, :, None])  # [1, 2, 1, 8, 8]
    boxes = indexed_boxes(np.array([[32, 48, 96, 80], [20, 20, 100, 52]]), np.array([0, 0]))
    for pool, place in (("mean", 0.5), ("max", 1 - 0.5 / 4)):
        head = DetectionHead(2, 16, HeadOptions(2, multi_label=True), DetectionOptions(roi_size=4, roi_pool=pool))
        head.weight.set_value(paddle.eye(2))
        head.eval()
        expected = [
            [((1 - place) * low + place * high) / 16 - 0.5 for low, high in ((x1, x2), (y1, y2))]
            for _, x1, y1, x2, y2 in boxes.numpy()
        ]
        np.testing.assert_allclose(head(features, boxes).numpy(), expected, atol=1e-5)


def test_a_box_over_the_whole_picture_pools_the_mean_of_the_features(network):
    """As the classification head does: 112 px with 7 cells divide the map."""
    whole = build(roi_pool="mean")
    clips = clips_of(1, 112)
    logits = whole(clips, indexed_boxes(np.array([[0, 0, 112, 112]]), np.array([0])))
    mean = whole.forward_features(clips, ["res5"])["res5"].mean([2, 3, 4])
    expected = mean.numpy() @ whole.head.weight.numpy() + whole.head.bias.numpy()
    np.testing.assert_allclose(logits.numpy(), expected, atol=1e-5)


def test_boxes_do_not_depend_on_the_batch_they_are_in(network):
    clips = clips_of(4)
    rng = np.random.default_rng(1)
    counts = [0, 1, 5, 32]
    corner = rng.uniform(0, 40, (38, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 24, (38, 2))], axis=1)
    place = np.repeat(np.arange(4), counts)
    together = network(clips, indexed_boxes(boxes, place)).numpy()
    for clip in range(4):
        own = boxes[place == clip]
        alone = network(clips[clip : clip + 1], indexed_boxes(own, np.zeros(len(own), int))).numpy()
        np.testing.assert_allclose(together[place == clip], alone, atol=1e-5)
    assert network(clips, indexed_boxes(np.zeros((0, 4)), np.zeros(0, int))).shape == [0, 4]


def test_swapped_boxes_swap_the_logits(network):
    boxes, place = np.array([[2, 2, 30, 30], [34, 20, 60, 60]]), np.array([0, 0])
    logits = network(clips_of(1), indexed_boxes(boxes, place)).numpy()
    swapped = network(clips_of(1), indexed_boxes(boxes[::-1], place)).numpy()
    np.testing.assert_allclose(swapped, logits[::-1], atol=1e-6)
    assert np.abs(logits[0] - logits[1]).max() > 1e-4


def test_scores_are_a_softmax_without_the_background_or_sigmoids(network):
    logits = paddle.to_tensor([[1.0, 2.0, -1.0, 0.5]])
    odds = np.exp([1.0, 2.0, -1.0, 0.5])
    np.testing.assert_allclose(network.class_scores(logits).numpy()[0], (odds / odds.sum())[:3], rtol=1e-5)
    scores = build(multi_label=True).class_scores(logits[:, :3]).numpy()[0]
    np.testing.assert_allclose(scores, 1 / (1 + np.exp([-1.0, -2.0, 1.0])), rtol=1e-5)


def test_proposals_take_the_labels_of_the_true_box_that_they_overlap():
    boxes, labels = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32), np.eye(3, dtype=np.float32)[:2]
    proposals = np.array(
        [[20, 0, 30, 8], [0, 0, 10, 4.9], [0, 0, 10, 5.1], [50, 50, 60, 60], [0, 0, 10, 2.9]], np.float32
    )
    rng = np.random.default_rng(0)
    found, found_labels = mixed_boxes(boxes, labels, proposals, 7, 0.5, rng)
    expected = {8: [0, 1, 0], 60: [0, 0, 0], 5.1: [1, 0, 0], 2.9: [0, 0, 0]}  # by y2; 4.9 is left out
    assert found[:2].tolist() == boxes.tolist() and found_labels[:2].tolist() == labels.tolist()
    assert len(found) == 6
    for box, label in zip(found[2:], found_labels[2:]):
        assert label.tolist() == expected.pop(round(float(box[3]), 1))
    for _ in range(8):  # of two places, one is for an actor
        shown = mixed_boxes(boxes, labels, proposals, 4, 0.5, rng)[1]
        assert len(shown) == 4 and shown[2].any() and not shown[3].any()
    assert len(mixed_boxes(boxes, labels, proposals, 2, 0.5, rng)[0]) == 2
    assert len(mixed_boxes(boxes[:0], labels[:0], proposals, 2, 0.5, rng)[0]) == 2


@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_a_detector_of_the_s3d_family_sees_the_classifiers_features_at_every_second_position(padding):
    """pool_5a with stride 1, then convolutions dilated by 2; but for the blocks' own pools, which do not skip."""
    options = {"arch": "fast_s3d", "num_classes": 3, "width": 0.1, "padding": padding, "init_std": None}
    paddle.seed(0)
    detector = trunk.build(s3d_options(**options, detection=DetectionOptions()))
    classifier = trunk.build(s3d_options(**options))
    for name, value in classifier.state_dict().items():
        if ".b3b." in name and name.endswith("weight") and "bn" not in name and "mixed_5" in name:
            value.set_value(paddle.zeros_like(value))
    weights = {name: value for name, value in classifier.state_dict().items() if not name.startswith("head.")}
    assert set(weights) == {name for name in detector.state_dict() if not name.startswith("head.")}
    detector.set_state_dict(weights)
    classifier.eval(), detector.eval()
    clips = paddle.to_tensor(np.random.default_rng(0).standard_normal((1, 3, 16, 64, 96)), dtype="float32")
    sparse = classifier.forward_features(clips, ["mixed_5c"])["mixed_5c"].numpy()
    dense = detector.forward_features(clips, ["mixed_4f", "mixed_5c"])
    assert detector.backbone.strides["mixed_5c"][1:] == (16, 16)
    assert dense["mixed_5c"].shape[3:] == dense["mixed_4f"].shape[3:] == [4, 6]
    np.testing.assert_allclose(dense["mixed_5c"].numpy()[..., ::2, ::2], sparse, rtol=1e-3, atol=1e-5 * sparse.max())
    boxes = indexed_boxes(np.array([[0, 0, 96, 64], [10, 4, 40, 50]]), np.array([0, 0]))
    detector.train()
    detector(clips, boxes).square().sum().backward()
    assert all(p.grad is not None for p in detector.parameters() if not p.stop_gradient)


def test_every_parameter_of_a_detector_learns(network):
    from tasks.detection import Detection

    clips, boxes = clips_of(2), np.array([[4, 4, 40, 40], [10, 20, 30, 60], [0, 0, 20, 20]], np.float32)
    network.train()
    labels = np.eye(3, dtype=np.float32)
    logits, labels, loss = network.training_loss(clips, boxes, np.array([0, 1, 1]), labels, np.random.default_rng(0))
    assert len(logits) == len(labels) <= 12 and logits.shape[1] == 4
    (Detection(3).loss(logits, paddle.to_tensor(labels)) + loss).backward()
    for name, parameter in network.named_parameters():
        if not parameter.stop_gradient:
            assert parameter.grad is not None and np.isfinite(parameter.grad.numpy()).all(), name
            assert np.abs(parameter.grad.numpy()).max() > 0 or ".bn." in name, name
    network.clear_gradients()
    network.eval()


def test_a_batch_without_boxes_learns_that_a_frame_is_background():
    lone = build()
    nobody = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros((0, 3), np.float32)
    clips = clips_of(2, 32)
    logits, labels, loss = lone.training_loss(clips, *nobody, np.random.default_rng(0))
    assert labels.tolist() == [[0, 0, 0]] and loss == 0
    whole = lone(clips, indexed_boxes(np.array([[0, 0, 32, 32]]), np.array([0])))
    np.testing.assert_array_equal(logits.numpy(), whole.numpy())


def test_the_best_proposal_is_kept_where_none_has_the_score(network):
    clips = clips_of(3).numpy()
    boxes, place, _ = network.proposed_boxes(clips, 1.0)
    assert place.tolist() == [0, 1, 2]
    everything, places, _ = network.proposed_boxes(clips, 0.0)
    assert len(everything) > 3 and (np.diff(places) >= 0).all()
    for clip in range(3):
        assert everything[places == clip][0].tolist() == boxes[clip].tolist()


def test_whole_clips_are_refused(network):
    with pytest.raises(UserError, match="classifies boxes, not whole clips"):
        network(clips_of(1))


def test_the_key_frame_is_the_one_in_the_middle():
    clips = paddle.arange(8, dtype="float32").reshape([1, 1, 8, 1, 1])
    assert key_frame(clips).item() == 4
