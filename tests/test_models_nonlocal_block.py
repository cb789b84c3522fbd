from __future__ import annotations

import itertools

import numpy as np
import paddle
import pytest
from paddle import nn

from models.nonlocal_model import attention
from models.nonlocal_model.nonlocal_block import EXTENTS, INSTANTIATIONS, NonLocalBlock
from tests.nonlocal_loop import nonlocal_loop
from utils.errors import UserError

FORMS = list(itertools.product(INSTANTIATIONS, EXTENTS, (None, 2), (True, False)))


def filled(block: NonLocalBlock, seed: int = 0, scale: float = 0.7) -> NonLocalBlock:
    """Every weight away from its start, so that no term is silent."""
    rng = np.random.default_rng(seed)
    for name, parameter in block.named_parameters():
        if not name.startswith("bn._"):
            parameter.set_value((rng.standard_normal(parameter.shape) * scale).astype(np.float32))
    return block


def numpy_weights(block) -> dict:
    return {name: p.numpy().astype(np.float64) for name, p in block.named_parameters() if not name.startswith("bn")}


def random_clip(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def relative(a, b) -> float:
    return float(np.abs(np.asarray(a) - np.asarray(b)).max() / max(np.abs(np.asarray(b)).max(), 1e-30))


@pytest.fixture(params=["cheap", "plain"])
def query_chunk(request, monkeypatch):
    """Each form by its cheap order of operations, then by the plain one, whatever the sizes would choose."""
    if request.param == "plain":
        monkeypatch.setattr(attention, "dot_product_attention", attention.plain_dot_product_attention)
        return None
    monkeypatch.setattr(attention, "MIN_SORTED_ENTRIES", 0)
    monkeypatch.setattr(attention, "CPU_CHUNK_ENTRIES", 64)
    monkeypatch.setattr(attention, "dot_product_attention", attention.regrouped_dot_product_attention)
    return 4


@pytest.mark.parametrize(("instantiation", "extent", "group_frames", "subsample"), FORMS)
def test_every_form_is_the_papers_formula_forward_and_backward(
    instantiation, extent, group_frames, subsample, query_chunk
):
    options = {"instantiation": instantiation, "extent": extent, "subsample": subsample, "group_frames": group_frames}
    block = filled(NonLocalBlock(4, 3, norm="none", query_chunk=query_chunk, **options))
    x = random_clip(2, 4, 3, 3, 5)  # odd sides, a last group of one frame
    weights, out_gradient = numpy_weights(block), random_clip(2, 4, 3, 3, 5, seed=2)

    def gradients(dtype):
        block.to(dtype=dtype)
        clip = paddle.to_tensor(x.astype(dtype), stop_gradient=False)
        z = block(clip)
        (z * paddle.to_tensor(out_gradient.astype(dtype))).sum().backward()
        found = {name: p.grad.numpy() for name, p in block.named_parameters()}
        block.clear_gradients()
        return z.numpy(), {"x": clip.grad.numpy(), **found}

    z, single = gradients("float32")
    assert relative(z, nonlocal_loop(x, weights, **options)) < 1e-5
    _, double = gradients("float64")
    for name, gradient in single.items():
        # phi's bias moves all of a softmax's row alike: its gradient is 0 but for rounding, so weights set the scale
        scale = max(np.abs(double[other]).max() for other in (name, name.replace("bias", "weight")))
        assert np.abs(gradient - double[name]).max() < 1e-4 * scale, name
    rng = np.random.default_rng(3)
    values = {"x": x.astype(np.float64), **weights}
    direction = {name: rng.standard_normal(value.shape) for name, value in values.items()}

    def loss(step):
        moved = {name: value + step * direction[name] for name, value in values.items()}
        return (nonlocal_loop(moved.pop("x"), moved, **options) * out_gradient).sum()

    slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
    assert sum((double[name] * direction[name]).sum() for name in direction) == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize(
    ("instantiation", "use_scale", "late"), itertools.product(INSTANTIATIONS, (True, False), (True, False))
)
def test_scale_bias_and_late_pool_are_what_they_say(instantiation, use_scale, late):
    options = {"norm": "none", "use_scale": use_scale, "pool_after_projection": late, "has_bias": False}
    block = filled(NonLocalBlock(6, 4, instantiation, **options))
    assert not [name for name, _ in block.named_parameters() if name.endswith("bias")]
    form = {"instantiation": instantiation, "extent": "spacetime", "subsample": True, "use_scale": use_scale}
    x = random_clip(1, 6, 2, 4, 4)
    truth = nonlocal_loop(x, numpy_weights(block), late_pool=late, **form)
    assert relative(block(paddle.to_tensor(x)).numpy(), truth) < 1e-5


@pytest.mark.parametrize("instantiation", INSTANTIATIONS)
@pytest.mark.parametrize("shape", [(2, 4, 1, 1, 1), (1, 4, 1, 3, 3), (2, 4, 5, 1, 7), (1, 4, 2, 2, 1)])
def test_single_keys_and_sides_of_one(instantiation, shape, query_chunk):
    block = filled(NonLocalBlock(4, 2, instantiation, norm="none", query_chunk=query_chunk))
    x = random_clip(*shape)
    truth = nonlocal_loop(x, numpy_weights(block), instantiation=instantiation, extent="spacetime", subsample=True)
    assert relative(block(paddle.to_tensor(x)).numpy(), truth) < 1e-5


@pytest.mark.parametrize("instantiation", INSTANTIATIONS)
def test_images_and_sequences_are_clips_of_one_frame(instantiation):
    block = filled(NonLocalBlock(4, 2, instantiation, norm="none"))
    image, sequence = random_clip(2, 4, 5, 6), random_clip(2, 4, 9)
    options = {"instantiation": instantiation, "extent": "spacetime", "subsample": True}
    for x, clip in ((image, image[:, :, None]), (sequence, sequence[:, :, None, None])):
        truth = nonlocal_loop(clip, numpy_weights(block), **options).reshape(x.shape)
        assert relative(block(paddle.to_tensor(x)).numpy(), truth) < 1e-5


def test_batch_norm_frozen_affine_and_their_starting_values():
    x = paddle.to_tensor(random_clip(3, 4, 2, 4, 4))
    for norm in ("batch_norm", "frozen_affine", "none"):
        for zero_init in ("norm", "conv"):
            for instantiation, extent in itertools.product(INSTANTIATIONS, EXTENTS):
                block = NonLocalBlock(4, None, instantiation, extent, norm=norm, zero_init=zero_init)
                for mode in (block.train, block.eval):
                    mode()
                    assert np.array_equal(block(x).numpy(), x.numpy()), (norm, zero_init, instantiation, extent)
    block = filled(NonLocalBlock(4, 3, norm="batch_norm"))
    residual = nonlocal_loop(
        x.numpy(), numpy_weights(block), instantiation="embedded_gaussian", extent="spacetime", subsample=True
    ) - x.numpy().astype(np.float64)
    axes = (0, 2, 3, 4)
    mean, variance = residual.mean(axes, keepdims=True), residual.var(axes, keepdims=True)
    scale, shift = (p.numpy().reshape(1, -1, 1, 1, 1) for p in (block.bn.weight, block.bn.bias))
    expected = x.numpy() + (residual - mean) / np.sqrt(variance + 1e-5) * scale + shift
    assert relative(block(x).numpy(), expected) < 1e-5
    frozen = NonLocalBlock(4, 3, norm="frozen_affine", zero_init="conv")
    assert {name for name, p in frozen.named_parameters() if p.stop_gradient} == {"bn.weight", "bn.bias"}


def test_a_new_block_can_learn_whichever_part_of_it_starts_at_zero():
    for options in ({}, {"zero_init": "conv"}, {"norm": "none"}, {"norm": "frozen_affine"}):
        block = NonLocalBlock(4, **options)
        x = paddle.to_tensor(random_clip(2, 4, 2, 4, 4))
        (block(x) * paddle.to_tensor(random_clip(2, 4, 2, 4, 4, seed=4))).sum().backward()
        assert any(np.abs(p.grad.numpy()).max() > 0 for p in block.parameters() if not p.stop_gradient), options


def test_inserted_into_other_networks_it_changes_nothing():
    paddle.seed(0)
    image, sequence = paddle.to_tensor(random_clip(2, 3, 12, 12)), paddle.to_tensor(random_clip(2, 3, 20))
    for x, parts, block in (
        (image, [nn.Conv2D(3, 8, 3), nn.ReLU(), nn.Conv2D(8, 5, 3)], NonLocalBlock(8)),
        (sequence, [nn.Conv1D(3, 8, 3), nn.Tanh(), nn.Conv1D(8, 5, 3)], NonLocalBlock(8, instantiation="gaussian")),
    ):
        with_block = nn.Sequential(*parts[:2], block, parts[2])
        assert np.array_equal(with_block(x).numpy(), nn.Sequential(*parts)(x).numpy())


def test_parameters_have_the_published_names_and_sizes():
    block = NonLocalBlock(512)
    assert sum(p.size for p in block.parameters() if not p.stop_gradient) == 526592
    assert sum(p.size for p in NonLocalBlock(1024).parameters() if not p.stop_gradient) == 2101760
    assert block.theta.weight.shape == [256, 512, 1, 1, 1] and block.out.weight.shape == [512, 256, 1, 1, 1]
    names = {f"{part}.{what}" for part in ("theta", "phi", "g", "out", "bn") for what in ("weight", "bias")}
    assert set(block.state_dict()) == names | {"bn._mean", "bn._variance"}
    assert set(NonLocalBlock(8, instantiation="concatenation").state_dict()) == names | {
        "bn._mean", "bn._variance", "pair.weight",
    }  # fmt: skip
    gaussian = set(NonLocalBlock(8, instantiation="gaussian").state_dict())
    assert gaussian == {n for n in names if n[0] not in "tp"} | {"bn._mean", "bn._variance"}
    assert "out.bias" not in NonLocalBlock(8, out_has_bias=False).state_dict()
    assert abs(float(block.theta.weight.numpy().std()) - 0.01) < 1e-3 and not block.theta.bias.numpy().any()


@pytest.mark.parametrize(
    ("make", "shape", "word"),
    [
        (lambda: NonLocalBlock(4, instantiation="gauss"), None, "embedded_gaussian"),
        (lambda: NonLocalBlock(4, extent="frames"), None, "spacetime"),
        (lambda: NonLocalBlock(4, norm="layer"), None, "batch_norm"),
        (lambda: NonLocalBlock(4, zero_init="all"), None, "conv"),
        (lambda: NonLocalBlock(4, 0), None, "inner_channels"),
        (lambda: NonLocalBlock(4, group_frames=0), None, "group_frames"),
        (lambda: NonLocalBlock(4, query_chunk=0), None, "query_chunk"),
        (lambda: NonLocalBlock(4), (1, 3, 2, 4, 4), "4 channels"),
        (lambda: NonLocalBlock(4), (1, 4), "[N, C, L]"),
        (lambda: NonLocalBlock(4, extent="time"), (1, 4, 5, 5), "[N, C, T, H, W]"),
    ],
)
def test_what_it_cannot_do_it_says(make, shape, word):
    with pytest.raises(UserError, match=word.replace("[", r"\[").replace("]", r"\]")):
        make()(paddle.zeros(shape or (1, 4, 2, 4, 4)))
