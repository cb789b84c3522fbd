"""The Inception trunks as the papers draw them: 5-D convolutions and pools, a layer at a time. Slow and obvious."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F

BRANCHES = ("b0", "b1b", "b2b", "b3b")


def plain_s3d_logits(state: dict, clips, *, padding="same", stem_padding=None, epsilon=1e-3, head=(2, 7, 7)):
    """Logits [N, P, K] of clips [N, C, T, H, W] from a state dict alone, in evaluation mode.

    head: the window of the last average pool; None: the whole map. stem_padding: (before, after) of conv_1a by axis.
    """

    def pad(x, kernel, stride, value, pairs=None):
        if pairs is None and padding == "same":  # TensorFlow: "SAME" as its documentation writes it
            pairs = []
            for size, k, s in zip(x.shape[2:], kernel, stride):
                total = max(k - s if size % s == 0 else k - size % s, 0)
                pairs.append((total // 2, total - total // 2))
        elif pairs is None:
            pairs = [(k // 2, k // 2) for k in kernel]
        flat = [side for pair in reversed(pairs) for side in pair]
        return F.pad(x, flat, value=value, data_format="NCDHW")

    def conv(name, x, stride=(1, 1, 1), pairs=None):
        weight = state[f"{name}.weight"]
        return F.conv3d(pad(x, weight.shape[2:], stride, 0.0, pairs), weight, state.get(f"{name}.bias"), list(stride))

    def norm(name, x):
        if f"{name}.weight" not in state:
            return x
        scale, shift, mean, variance = (
            state[f"{name}.{key}"].reshape([1, -1, 1, 1, 1]) for key in ("weight", "bias", "_mean", "_variance")
        )
        return (x - mean) / paddle.sqrt(variance + epsilon) * scale + shift

    def unit(name, x, stride=(1, 1, 1), pairs=None):
        if f"{name}.conv.weight" in state:
            x = F.relu(norm(f"{name}.bn", conv(f"{name}.conv", x, stride, pairs)))
        else:
            x = F.relu(norm(f"{name}.spatial_bn", conv(f"{name}.spatial", x, (1, *stride[1:]), pairs)))
            x = F.relu(norm(f"{name}.temporal_bn", conv(f"{name}.temporal", x, (stride[0], 1, 1), pairs)))
        if f"{name}.gate.weight" in state:
            mean = x.mean([2, 3, 4])
            factors = F.sigmoid(mean @ state[f"{name}.gate.weight"] + state.get(f"{name}.gate.bias", paddle.zeros([1])))
            x = x * factors.reshape([*factors.shape, 1, 1, 1])
        return x

    def pool(x, kernel, stride):
        pairs = [(0, 0)] * 3 if padding == "symmetric" and kernel == (2, 2, 2) else None
        return F.max_pool3d(pad(x, kernel, stride, -1e30, pairs), list(kernel), list(stride))

    def block(name, x):
        parts = {
            "b0": unit(f"{name}.b0", x),
            "b1b": unit(f"{name}.b1b", unit(f"{name}.b1a", x)),
            "b2b": unit(f"{name}.b2b", unit(f"{name}.b2a", x)),
            "b3b": unit(f"{name}.b3b", pool(x, (3, 3, 3), (1, 1, 1))),
        }
        return paddle.concat([parts[branch] for branch in BRANCHES], 1)

    x = unit("conv_1a", clips, (2, 2, 2), stem_padding)
    x = unit("conv_2b", pool(x, (1, 3, 3), (1, 2, 2)))
    x = pool(unit("conv_2c", x), (1, 3, 3), (1, 2, 2))
    x = block("mixed_3c", block("mixed_3b", x))
    x = pool(x, (3, 3, 3), (2, 2, 2))
    for letter in "bcdef":
        x = block(f"mixed_4{letter}", x)
    x = block("mixed_5c", block("mixed_5b", pool(x, (2, 2, 2), (2, 2, 2))))
    window = list(x.shape[2:]) if head is None else [min(side, size) for side, size in zip(head, x.shape[2:])]
    x = F.avg_pool3d(x, window, 1).flatten(2).transpose([0, 2, 1])
    return x @ state["head.weight"] + state["head.bias"]


def randomized_trunk(model, seed: int = 0):
    """Every tensor away from its starting value, so that no branch is silent and activations stay near 1."""
    rng, state = np.random.default_rng(seed), {}
    for name, tensor in model.state_dict().items():
        values = rng.standard_normal(tensor.shape).astype(np.float32)
        if name.endswith("weight") and len(tensor.shape) == 5:
            values *= (2 / np.prod(tensor.shape[1:])) ** 0.5
        elif name.endswith(("_variance", "bn.weight")):
            values = 1 + 0.2 * np.abs(values)
        else:
            values *= 0.3
        state[name] = paddle.to_tensor(values)
    model.set_state_dict(state)
    model.eval()
    return model
