from __future__ import annotations

import itertools

import numpy as np
import paddle
import pytest
from paddle.static import InputSpec

from models.nonlocal_model import attention
from models.nonlocal_model.nonlocal_block import EXTENTS, INSTANTIATIONS, NonLocalBlock


def tensors(*shapes, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    return [paddle.to_tensor(rng.standard_normal(s).astype(dtype), stop_gradient=False) for s in shapes]


def outputs_and_gradients(function, inputs, seed=9):
    y = function(*inputs)
    direction = paddle.to_tensor(np.random.default_rng(seed).standard_normal(y.shape).astype(y.numpy().dtype))
    wanted = [t for t in inputs if not t.stop_gradient]
    return [t.numpy() for t in (y, *paddle.grad(y, wanted, direction))]


def assert_same(function, plain, inputs, limit):
    for found, expected in zip(outputs_and_gradients(function, inputs), outputs_and_gradients(plain, inputs)):
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= limit * np.abs(expected).max()


@pytest.mark.parametrize("query_chunk", [1, 7, 20, 21, 64])
def test_chunks_of_any_size_give_the_plain_softmax(query_chunk):
    inputs = tensors((3, 4, 20), (3, 4, 9), (3, 5, 9))
    chunked = lambda *t: attention.softmax_attention(*t, query_chunk)  # noqa: E731
    assert_same(chunked, attention.plain_softmax_attention, inputs, 1e-12)
    inputs[0].stop_gradient = True  # an image as the queries of the Gaussian
    assert_same(chunked, attention.plain_softmax_attention, inputs, 1e-12)


def test_the_chunk_is_chosen_from_the_sizes():
    def pieces(shape, num_keys, query_chunk=None, entries=1 << 21, most=1 << 22):
        return attention._chunks(shape, num_keys, query_chunk, entries, most)

    assert pieces([1, 256, 784], 196) is None and pieces([-1, 256, -1], 196) is None
    assert pieces([1, 256, 784], 196, query_chunk=784) is None
    for shape, num_keys in (([1, 256, 50176], 12544), ([64, 256, 784], 196), ([3, 8, 12544], 3136)):
        seen = np.zeros((shape[0], shape[2]), int)
        for clips, queries in pieces(shape, num_keys):
            seen[clips, queries] += 1
            assert (clips.stop - clips.start) * (queries.stop - queries.start) * num_keys <= 1 << 21
        assert (seen == 1).all()


def test_softmax_of_huge_scores_stays_finite_in_chunks():
    theta, phi, g = tensors((1, 4, 30), (1, 4, 8), (1, 4, 8), dtype="float32")
    inputs = [paddle.to_tensor(t.numpy() * 1e4, stop_gradient=False) for t in (theta, phi)] + [g]
    for value in outputs_and_gradients(lambda *t: attention.softmax_attention(*t, 4), inputs):
        assert np.isfinite(value).all()


@pytest.mark.parametrize(("batch", "num_queries", "num_keys"), [(1, 40, 10), (3, 11, 17), (2, 1, 5), (2, 5, 1)])
def test_running_sums_give_the_plain_concatenation(monkeypatch, batch, num_queries, num_keys):
    monkeypatch.setattr(attention, "MIN_SORTED_ENTRIES", 0)
    monkeypatch.setattr(attention, "CPU_CHUNK_ENTRIES", 16 * 2 * num_queries)  # several pieces of channels
    inputs = tensors((batch, num_queries), (batch, num_keys), (batch, 37, num_keys))
    assert_same(attention.concatenation_attention, attention.plain_concatenation_attention, inputs, 1e-12)
    inputs[2].stop_gradient = True
    assert_same(attention.concatenation_attention, attention.plain_concatenation_attention, inputs, 1e-12)


def test_running_sums_with_ties_none_active_and_a_shared_offset(monkeypatch):
    monkeypatch.setattr(attention, "MIN_SORTED_ENTRIES", 0)
    (g,) = tensors((1, 6, 8))
    whole = np.random.default_rng(1).integers(-2, 3, (1, 30)).astype(np.float64)  # many equal, many a_i = -b_j
    for a, b in ((whole, whole[:, :8]), (whole - 9, whole[:, :8]), (whole + 9, whole[:, :8])):
        pair = [paddle.to_tensor(t, stop_gradient=False) for t in (a, b)]
        assert_same(attention.concatenation_attention, attention.plain_concatenation_attention, [*pair, g], 1e-12)
    a, b, g = (t.numpy() for t in tensors((1, 400), (1, 300), (1, 6, 300), dtype="float32"))
    a, b = np.float32(a + 1000), np.float32(b - 1000)
    truth = g[0].astype(np.float64) @ np.maximum(a[0].astype(np.float64)[:, None] + b[0], 0).T / 300
    found = attention.concatenation_attention(*map(paddle.to_tensor, (a, b, g))).numpy()[0]
    assert np.abs(found - truth).max() < 1e-5 * np.abs(truth).max()


@pytest.mark.parametrize("sizes", [(40, 30), (3, 2)])
def test_both_orders_of_the_dot_product_agree(sizes):
    inputs = tensors((2, 4, sizes[0]), (2, 4, sizes[1]), (2, 5, sizes[1]))
    assert_same(attention.dot_product_attention, attention.plain_dot_product_attention, inputs, 1e-12)


def test_gradients_against_finite_differences(monkeypatch):
    monkeypatch.setattr(attention, "MIN_SORTED_ENTRIES", 0)
    three = tensors((2, 3, 11), (2, 3, 5), (2, 4, 5), seed=4)
    for function, inputs in (
        (lambda *t: attention.softmax_attention(*t, 4), three),
        (attention.dot_product_attention, three),
        (attention.concatenation_attention, tensors((2, 11), (2, 5), (2, 4, 5), seed=5)),
    ):
        y, *gradients = outputs_and_gradients(function, inputs)
        weights = np.random.default_rng(9).standard_normal(y.shape)
        for k, gradient in enumerate(gradients):
            values = [t.numpy() for t in inputs]
            for place in np.ndindex(*gradient.shape):
                losses = []
                for step in (1e-6, -1e-6):
                    moved = [v.copy() for v in values]
                    moved[k][place] += step
                    losses.append((function(*map(paddle.to_tensor, moved)).numpy() * weights).sum())
                assert (losses[0] - losses[1]) / 2e-6 == pytest.approx(gradient[place], rel=1e-5, abs=1e-7)


@pytest.mark.skipif(paddle.__version__ < "3", reason="Paddle 2.6 does not count anew what it allocates on the CPU")
def test_memory_of_every_form_grows_linearly(monkeypatch):
    """Peak of what Paddle allocates on the CPU, forward and backward, at 4 times the positions."""
    peak = paddle.base.core.host_memory_stat_peak_value
    reset = paddle.base.core.host_memory_stat_reset_peak_value
    monkeypatch.setattr(attention, "MIN_SORTED_ENTRIES", 0)
    monkeypatch.setattr(attention, "MAX_EAGER_ENTRIES", 1 << 16)
    monkeypatch.setattr(attention, "CPU_CHUNK_ENTRIES", 1 << 16)
    for instantiation in INSTANTIATIONS:
        block, peaks = NonLocalBlock(8, instantiation=instantiation), []
        for side in (32, 64):
            x = paddle.randn([1, 8, 2, side, side])
            x.stop_gradient = False
            reset("Allocated", 0)
            before = peak("Allocated", 0)
            block(x).sum().backward()
            peaks.append(peak("Allocated", 0) - before)
        assert peaks[1] < 4 * 1.3 * peaks[0] + (1 << 20), instantiation


@pytest.mark.parametrize("instantiation", INSTANTIATIONS)
@pytest.mark.parametrize("is_cheap", [True, False])
def test_exported_graphs_keep_batch_and_sides_open(instantiation, is_cheap, monkeypatch, tmp_path):
    if is_cheap:
        monkeypatch.setattr(attention, "MIN_SORTED_ENTRIES", 0)
        monkeypatch.setattr(attention, "MAX_EXPORTED_ENTRIES", 1)
        monkeypatch.setattr(attention, "CPU_CHUNK_ENTRIES", 512)
    sides = (5, 6) if is_cheap else (None, None)
    for extent, group_frames in itertools.product(EXTENTS, (None, 3)):
        block = NonLocalBlock(6, 4, instantiation, extent, group_frames=group_frames, norm_init_scale=1.0)
        block.eval()
        spec = InputSpec([None, 6, 4, *sides], "float32")
        recorded = paddle.jit.to_static(block, input_spec=[spec], full_graph=True)
        paddle.jit.save(recorded, str(tmp_path / "block"))
        loaded = paddle.jit.load(str(tmp_path / "block"))
        for batch in (1, 3):
            clip = paddle.randn([batch, 6, 4, 5, 6])
            frames = clip.transpose([0, 2, 1, 3, 4]).flatten(0, 1)
            expected = block(frames, 4).reshape([batch, 4, 6, 5, 6]).transpose([0, 2, 1, 3, 4])
            assert np.abs((loaded(clip) - expected).numpy()).max() < 1e-6


def test_the_librarys_fused_attention_computes_the_same_and_is_taken_where_it_fits():
    theta, phi, g = tensors((2, 8, 20), (2, 8, 9), (2, 8, 9), dtype="float32")
    fused = attention.fused_softmax_attention(theta, phi, g).numpy()
    assert np.abs(fused - attention.plain_softmax_attention(theta, phi, g).numpy()).max() < 1e-5
    fits = attention._fused_kernel_fits
    half = [t.astype("bfloat16") for t in (theta, g)]
    assert fits(*half, "gpu:0") and not fits(*half, "cpu") and not fits(theta, g, "gpu:0")
    assert not fits(half[0], half[1][:, :4], "gpu:0")
