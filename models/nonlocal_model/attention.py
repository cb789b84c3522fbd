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

# Entries of a map (or of a chunk of one) that a CPU's last cache holds together with what is computed from it.
CPU_CHUNK_ENTRIES, GPU_CHUNK_ENTRIES = 3 << 19, 1 << 26
# Up to here the whole map is faster than chunks (softmax) or sorting (concatenation).
PLAIN_ENTRIES_PER_KEY_SET = 1 << 18
FUSED_TYPES, MAX_FUSED_WIDTH = (paddle.float16, paddle.bfloat16), 256


def softmax_attention(theta, phi, g, query_chunk: int | None = None):
    """f = exp(theta_i^T phi_j), C = sum_j f.

    query_chunk: queries a chunk; None: chosen from the sizes, which is no chunk for small maps. A chunked map is
    never stored: the backward pass computes it again, so memory grows linearly with N and M.
    """
    if query_chunk is None and _fused_kernel_fits(theta, g, paddle.device.get_device()):
        return fused_softmax_attention(theta, phi, g)
    chunks = _chunks(theta, phi, query_chunk)
    if chunks is None:
        return plain_softmax_attention(theta, phi, g)
    needs_gradient = paddle.is_grad_enabled() and not all(t.stop_gradient for t in (theta, phi, g))
    if paddle.in_dynamic_mode() and needs_gradient:
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


def _chunks(theta, phi, query_chunk: int | None) -> list[tuple[slice, slice]] | None:
    """Slices of the batch and of the queries, each a map that fits the cache; None: the whole map in one piece."""
    batch, num_queries, num_keys = theta.shape[0], theta.shape[2], phi.shape[2]
    if num_queries < 0 or num_keys < 0:  # sizes that an exported network leaves open
        return None
    if query_chunk is None:
        budget = GPU_CHUNK_ENTRIES if paddle.device.get_device().startswith("gpu") else CPU_CHUNK_ENTRIES
        if max(batch, 1) * num_queries * num_keys <= budget:
            return None
        rows = max(64, budget // num_keys)
    else:
        rows = query_chunk
    queries = [slice(i, min(i + rows, num_queries)) for i in range(0, num_queries, rows)]
    if batch < 0:
        return None if len(queries) == 1 else [(slice(None), part) for part in queries]
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
        ctx.chunks = chunks
        return y

    @staticmethod
    def backward(ctx, dy):
        theta, phi, g, y = ctx.saved_tensor()
        dot = (dy * y).sum(1).unsqueeze(2)  # sum_j p_ij dp_ij, [B, N, 1]
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
        return paddle.concat(rows, 0), paddle.concat(list(dphi.values()), 0), paddle.concat(list(dg.values()), 0)


def dot_product_attention(theta, phi, g):
    """f = theta_i^T phi_j, C = M. (g phi^T) theta / M costs (N + M) d e in place of N M (d + e)."""
    (width, num_queries), (out_width, num_keys) = theta.shape[1:], g.shape[1:]
    is_map_cheaper = 0 < num_queries * num_keys * (width + out_width) < (num_queries + num_keys) * width * out_width
    if min(num_queries, num_keys) > 0 and is_map_cheaper:
        return plain_dot_product_attention(theta, phi, g)
    return paddle.matmul(paddle.matmul(g, phi, transpose_y=True) / _num_keys(g), theta)


def plain_dot_product_attention(theta, phi, g):
    """The same with the N x M map in one piece."""
    return paddle.matmul(g, paddle.matmul(theta, phi, transpose_x=True) / _num_keys(g), transpose_y=True)


def concatenation_attention(a, b, g):
    """f = relu(a_i + b_j), C = M, for a [B, N] = w_theta^T theta and b [B, M] = w_phi^T phi.

    With b in descending order, the keys with b_j > -a_i are the first k_i ones, so
    sum_j f g_j = a_i S0(k_i) + S1(k_i) with the running sums S0 of g and S1 of b g: O((N + M) (log M + e)).
    """
    num_queries, num_keys = a.shape[1], b.shape[1]
    if num_keys < 0 or num_queries < 0 or num_queries * num_keys <= PLAIN_ENTRIES_PER_KEY_SET:
        return plain_concatenation_attention(a, b, g)
    order = paddle.argsort(b, axis=1, descending=True)
    b = paddle.take_along_axis(b, order, 1)
    counts = paddle.searchsorted(-b.detach(), a.detach())  # k_i: how many of -b ascending lie below a_i
    starts = paddle.arange(paddle.shape(b)[0], dtype="int64").unsqueeze(1)
    # Sums of thousands of terms that cancel: double precision keeps what float32 inputs hold.
    rows = _rows(g.transpose([0, 2, 1]), order + starts * num_keys).astype("float64")
    rows = rows.reshape([-1, num_keys, g.shape[1]])
    running = paddle.cumsum(paddle.concat([rows, rows * b.astype("float64").unsqueeze(2)], 2), 1)
    running = F.pad(running, [1, 0], data_format="NLC")  # k_i = 0: no key
    s0, s1 = _rows(running, counts + starts * (num_keys + 1)).split(2, 1)
    y = (s0 * a.astype("float64").reshape([-1, 1]) + s1) / num_keys
    return y.astype(g.dtype).reshape([-1, num_queries, g.shape[1]]).transpose([0, 2, 1])


def _rows(x, index):
    """Rows `index` (any shape) of x [B, n, e] seen as [B * n, e]: [index.size, e]."""
    return paddle.gather(x.flatten(0, 1), index.flatten())


def plain_concatenation_attention(a, b, g):
    """The same with the N x M map in one piece."""
    return paddle.matmul(g, F.relu(a.unsqueeze(2) + b.unsqueeze(1)) / _num_keys(g), transpose_y=True)


def _num_keys(g):
    return g.shape[2] if g.shape[2] > 0 else paddle.shape(g)[2].astype(g.dtype)
