"""y = sum_j f(theta_j, phi_j) g_j / C over all positions, exact, by the cheapest order of operations.

Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018, equation 1. Positions are the last axis: theta
[B, d, N] of the queries i, phi [B, d, M] and g [B, e, M] of the keys j. Each function returns y [B, e, N].

The plain order forms the N x M map in one piece. The others give the same y, and gradients, without it:
softmax in chunks of queries, computed again in the backward pass; the dot product as (g phi^T) theta; the
concatenation by sorting b and running sums. Graphs recorded for export are plain where the sizes are small or open.
"""

from __future__ import annotations

import paddle
import paddle.nn.functional as F

# Entries of a chunk of the map: on a CPU what its last cache holds together with what is computed from it.
CPU_CHUNK_ENTRIES, GPU_CHUNK_ENTRIES = 1 << 21, 1 << 26
# Up to so many entries a map is kept whole: in eager code, and in a graph recorded for export.
MAX_EAGER_ENTRIES, MAX_EXPORTED_ENTRIES = 1 << 22, 1 << 25
# From so many entries on, sorting is faster than the map of the concatenation.
MIN_SORTED_ENTRIES = 1 << 20
FUSED_TYPES, MAX_FUSED_WIDTH = (paddle.float16, paddle.bfloat16), 256


def softmax_attention(theta, phi, g, query_chunk: int | None = None):
    """f = exp(theta_i^T phi_j), C = sum_j f.

    query_chunk: queries a chunk; None: chosen from the sizes, which is no chunk for small maps. A chunked map is
    never stored: the backward pass computes it again, so memory grows linearly with N and M.
    """
    device = paddle.device.get_device()
    if query_chunk is None and _fused_kernel_fits(theta, g, device):
        return fused_softmax_attention(theta, phi, g)
    chunk_entries = GPU_CHUNK_ENTRIES if device.startswith("gpu") else CPU_CHUNK_ENTRIES
    is_recording = not paddle.in_dynamic_mode()
    max_entries = max(chunk_entries, MAX_EXPORTED_ENTRIES if is_recording else MAX_EAGER_ENTRIES)
    chunks = _chunks(theta.shape, phi.shape[2], query_chunk, chunk_entries, max_entries)
    if chunks is None:
        return plain_softmax_attention(theta, phi, g)
    needs_gradient = paddle.is_grad_enabled() and not all(t.stop_gradient for t in (theta, phi, g))
    if needs_gradient and not is_recording:
        return _RecomputedSoftmax.apply(theta, phi, g, chunks)
    return _softmax_in_chunks(theta, phi, g, chunks)


def plain_softmax_attention(theta, phi, g):
    """The same with the N x M map in one piece."""
    return paddle.matmul(g, F.softmax(paddle.matmul(theta, phi, transpose_x=True)), transpose_y=True)


def fused_softmax_attention(theta, phi, g):
    """The same by the library's fused attention, which multiplies by d^-0.5 on its own."""
    width = theta.shape[1]
    query, key, value = ((t.transpose([0, 2, 1])).unsqueeze(2) for t in (theta * width**0.5, phi, g))  # [B, N, 1, d]
    return F.scaled_dot_product_attention(query, key, value).squeeze(2).transpose([0, 2, 1])


def _fused_kernel_fits(theta, g, device: str) -> bool:
    width = theta.shape[1]
    is_shape_fit = width == g.shape[1] and width <= MAX_FUSED_WIDTH and width % 8 == 0
    return device.startswith("gpu") and theta.dtype in FUSED_TYPES and is_shape_fit


def _chunks(shape, num_keys: int, query_chunk: int | None, chunk_entries: int, max_entries: int):
    """Slices (of the batch, of the queries), each a piece of the map; None: the whole map in one piece."""
    batch, _, num_queries = shape
    if num_queries < 0 or num_keys < 0:  # sizes that an exported network leaves open
        return None
    rows = query_chunk or max(64, chunk_entries // num_keys // 64 * 64)
    entries = max(batch, 1) * num_queries * num_keys
    if (rows >= num_queries and batch < 2) if query_chunk else entries <= max_entries:
        return None
    queries = [slice(i, min(i + rows, num_queries)) for i in range(0, num_queries, rows)]
    if batch < 0:
        return [(slice(None), part) for part in queries]
    clips = max(1, rows // num_queries)
    return [(slice(i, min(i + clips, batch)), part) for i in range(0, batch, clips) for part in queries]


def _softmax_in_chunks(theta, phi, g, chunks):
    parts: dict[int, list] = {}
    for clips, queries in chunks:
        y = plain_softmax_attention(theta[clips, :, queries], phi[clips], g[clips])
        parts.setdefault(clips.start or 0, []).append(y)
    return paddle.concat([paddle.concat(row, 2) if len(row) > 1 else row[0] for row in parts.values()], 0)


class _RecomputedSoftmax(paddle.autograd.PyLayer):
    """Keeps theta, phi, g and y only; each chunk of the map is computed again for its gradients."""

    @staticmethod
    def forward(ctx, theta, phi, g, chunks):
        y = _softmax_in_chunks(theta, phi, g, chunks)
        ctx.save_for_backward(theta, phi, g, y)
        ctx.chunks, ctx.constants = chunks, [t.stop_gradient for t in (theta, phi, g)]
        return y

    @staticmethod
    def backward(ctx, dy):
        theta, phi, g, y = ctx.saved_tensor()
        dot = (dy * y).sum(1, keepdim=True).transpose([0, 2, 1])  # sum_j p_ij dp_ij, [B, N, 1]
        dtheta, dphi, dg = {}, {}, {}
        for clips, queries in ctx.chunks:
            part, dy_part = theta[clips, :, queries], dy[clips, :, queries]
            p = F.softmax(paddle.matmul(part, phi[clips], transpose_x=True))
            ds = paddle.matmul(dy_part, g[clips], transpose_x=True)
            ds = ds.subtract_(dot[clips, queries]).multiply_(p)
            key = clips.start or 0
            dtheta.setdefault(key, []).append(paddle.matmul(phi[clips], ds, transpose_y=True))
            for total, term in ((dphi, paddle.matmul(part, ds)), (dg, paddle.matmul(dy_part, p))):
                total[key] = total[key].add_(term) if key in total else term
        rows = [paddle.concat(row, 2) for row in dtheta.values()]
        return _gradients(ctx, *(paddle.concat(list(parts), 0) for parts in (rows, dphi.values(), dg.values())))


def dot_product_attention(theta, phi, g):
    """f = theta_i^T phi_j, C = M. (g phi^T) theta / M costs (N + M) d e in place of N M (d + e)."""
    (width, num_queries), (out_width, num_keys) = theta.shape[1:], g.shape[1:]
    is_map_cheaper = 0 < num_queries * num_keys * (width + out_width) < (num_queries + num_keys) * width * out_width
    if min(num_queries, num_keys) > 0 and is_map_cheaper:
        return plain_dot_product_attention(theta, phi, g)
    return regrouped_dot_product_attention(theta, phi, g)


def regrouped_dot_product_attention(theta, phi, g):
    """The same as (g phi^T / M) theta, without the N x M map."""
    return paddle.matmul(paddle.matmul(g, phi, transpose_y=True) / _num_keys(g), theta)


def plain_dot_product_attention(theta, phi, g):
    """The same with the N x M map in one piece."""
    return paddle.matmul(g, paddle.matmul(theta, phi, transpose_x=True) / _num_keys(g), transpose_y=True)


def concatenation_attention(a, b, g):
    """f = relu(a_i + b_j), C = M, for a [B, N] = w_theta^T theta and b [B, M] = w_phi^T phi.

    sum_j f g_j = a_i S0_i + S1_i with the sums S0 of g_j and S1 of b_j g_j over the keys with b_j > -a_i. With b in
    descending order these are the first k_i keys, so all sums are entries of running sums: O((N + M) (log M + e)).
    """
    num_queries, num_keys = a.shape[1], b.shape[1]
    max_plain = MIN_SORTED_ENTRIES if paddle.in_dynamic_mode() else MAX_EXPORTED_ENTRIES
    if min(num_queries, num_keys) < 0 or num_queries * num_keys <= max_plain:
        return plain_concatenation_attention(a, b, g)
    if paddle.in_dynamic_mode():
        return _SortedConcatenation.apply(a, b, g)
    return _by_running_sums(a, b, g)[0]


def plain_concatenation_attention(a, b, g):
    """The same with the N x M map in one piece."""
    return paddle.matmul(g, F.relu(a.unsqueeze(2) + b.unsqueeze(1)) / _num_keys(g), transpose_y=True)


class _SortedConcatenation(paddle.autograd.PyLayer):
    """Both directions by running sums: with queries and keys in each other's place, dg is what y is."""

    @staticmethod
    def forward(ctx, a, b, g):
        ctx.save_for_backward(a, b, g)
        ctx.constants = [t.stop_gradient for t in (a, b, g)]
        return _by_running_sums(a, b, g)[0]

    @staticmethod
    def backward(ctx, dy):
        a, b, g = ctx.saved_tensor()
        dy = dy / b.shape[1]
        dg, db = _by_running_sums(b, a, dy, g, divisor=1)
        return _gradients(ctx, _by_running_sums(a, b, g, dy, divisor=1)[1], db, dg)


def _gradients(ctx, *gradients):
    """What a backward returns: None for an input that has no gradient."""
    return tuple(None if is_constant else d for is_constant, d in zip(ctx.constants, gradients))


def _by_running_sums(a, b, g, h=None, divisor: int | None = None):
    """y_i = sum_j relu(a_i + b_j) g_j / divisor (None: M) and, for h [B, e, N], sum of g_j^T h_i over b_j > -a_i.

    a [B, N], b [B, M], g [B, e, M] -> y [B, e, N] and [B, N]. Channels are taken in pieces that stay in the cache.
    """
    middle = b.detach().mean(1, keepdim=True)  # an offset that a and b share would cancel between the two sums
    a, b = a + middle, b - middle
    order, last, is_any = _active_keys(a, b)
    num_queries, width = a.shape[1], g.shape[1]
    weights = (a.flatten().unsqueeze(1), b.unsqueeze(2))
    step = max(16, CPU_CHUNK_ENTRIES // (2 * max(num_queries, b.shape[1])) // 16 * 16)
    parts, products = [], []
    for channels in (slice(i, min(i + step, width)) for i in range(0, width, step)):
        rows = g[:, channels].transpose([0, 2, 1])
        rows = paddle.concat([rows, rows * weights[1]], 2)
        running = paddle.cumsum(paddle.gather(rows.flatten(0, 1), order).reshape(rows.shape), 1, dtype="float64")
        sums = paddle.gather(running.astype(g.dtype).flatten(0, 1), last) * is_any
        s0, s1 = sums.split(2, 1)
        y = ((weights[0] * s0 + s1) / (divisor or b.shape[1])).reshape([-1, num_queries, s0.shape[1]])
        parts.append(y.transpose([0, 2, 1]))
        if h is not None:
            products.append((s0.reshape(y.shape) * h[:, channels].transpose([0, 2, 1])).sum(2))
    return paddle.concat(parts, 1), sum(products) if products else None


def _active_keys(a, b):
    """The keys in descending order of b; for each query the place of the last with b_j > -a_i, and 0 if there is none.

    Both are numbers of rows in [B * M, ...]: order [B * M], last [B * N]; is_any [B * N, 1].
    """
    num_keys = b.shape[1]
    clips = paddle.arange(b.shape[0] if b.shape[0] > 0 else paddle.shape(b)[0], dtype="int64").unsqueeze(1)
    order = paddle.argsort(b, axis=1, descending=True)
    counts = paddle.searchsorted(paddle.take_along_axis(-b, order, 1), a)  # how many of the -b_j lie below a_i
    last = (counts - 1).clip(min=0) + clips * num_keys
    return (order + clips * num_keys).flatten(), last.flatten(), (counts > 0).astype(a.dtype).flatten().unsqueeze(1)


def _num_keys(g):
    return g.shape[2] if g.shape[2] > 0 else paddle.shape(g)[2].astype(g.dtype)
