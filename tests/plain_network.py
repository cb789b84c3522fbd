"""The networks as the paper draws them: 5-D convolutions, 3-D pools, the N x N' map in one piece. Slow and obvious."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F

from models.recognizer import Recognizer


def plain_logits(state: dict, clips, *, stem_temporal_stride=1, pool1=(1, 1), pool_padding=0, head=7, epsilon=1e-5):
    """Logits [N, P, K] of clips [N, 3, T, H, W] from a state dict alone, in evaluation mode."""

    def conv(name, x, stride=(1, 1, 1)):
        weight = state[f"{name}.weight"]
        padding = [side // 2 for side in weight.shape[2:]]
        return F.conv3d(x, weight, state.get(f"{name}.bias"), stride=list(stride), padding=padding)

    def norm(name, x):
        scale, shift = state[f"{name}.weight"], state[f"{name}.bias"]
        if f"{name}._mean" in state:
            x = (x - column(state[f"{name}._mean"])) / paddle.sqrt(column(state[f"{name}._variance"]) + epsilon)
        return x * column(scale) + column(shift)

    def column(vector):
        return vector.reshape([1, -1, 1, 1, 1])

    def bottleneck(name, x, stride):
        y = F.relu(norm(f"{name}.a.bn", conv(f"{name}.a.conv", x)))
        y = F.relu(norm(f"{name}.b.bn", conv(f"{name}.b.conv", y, (1, stride, stride))))
        y = norm(f"{name}.c.bn", conv(f"{name}.c.conv", y))
        if f"{name}.shortcut.conv.weight" in state:
            x = norm(f"{name}.shortcut.bn", conv(f"{name}.shortcut.conv", x, (1, stride, stride)))
        return F.relu(y + x)

    def nonlocal_block(name, x):
        pooled = F.max_pool3d(x, [1, 2, 2], [1, 2, 2])
        theta, phi, g = conv(f"{name}.theta", x), conv(f"{name}.phi", pooled), conv(f"{name}.g", pooled)
        rows = paddle.matmul(theta.flatten(2), phi.flatten(2), transpose_x=True) * theta.shape[1] ** -0.5
        y = paddle.matmul(g.flatten(2), F.softmax(rows, -1), transpose_y=True).reshape(theta.shape)
        return x + norm(f"{name}.bn", conv(f"{name}.out", y))

    x = F.relu(norm("stem.bn", conv("stem.conv", clips, (stem_temporal_stride, 2, 2))))
    x = F.max_pool3d(x, [pool1[0], 3, 3], [pool1[1], 2, 2], [0, pool_padding, pool_padding])
    for k in range(2, 6):
        for i in range(100):
            if f"stage{k}.block{i}.a.conv.weight" not in state:
                break
            x = bottleneck(f"stage{k}.block{i}", x, 2 if i == 0 and k > 2 else 1)
            if f"stage{k}.nl{i}.out.weight" in state:
                x = nonlocal_block(f"stage{k}.nl{i}", x)
        if k == 2:
            x = F.max_pool3d(x, [2, 1, 1], [2, 1, 1])
    x = F.avg_pool3d(x, [x.shape[2], *[min(head, side) for side in x.shape[3:]]], 1)
    x = x.flatten(2).transpose([0, 2, 1])
    return paddle.matmul(x, state["head.weight"]) + state["head.bias"]


def randomized(model: Recognizer, seed: int = 0) -> Recognizer:
    """Every tensor away from its starting value, so that no branch is silent."""
    rng = np.random.default_rng(seed)
    state = {}
    for name, tensor in model.state_dict().items():
        values = rng.standard_normal(tensor.shape).astype(np.float32)
        if name.endswith(("conv.weight", "theta.weight", "phi.weight", "g.weight", "out.weight")):
            values *= (2 / np.prod(tensor.shape[1:])) ** 0.5
        elif name.endswith(("_variance", "bn.weight")):
            values = 1 + 0.2 * np.abs(values)
            if name.endswith("c.bn.weight"):
                values *= 0.3  # residual sums that stay near 1 keep the softmax away from a single key
        else:
            values *= 0.1
        state[name] = paddle.to_tensor(values)
    model.set_state_dict(state)
    return model
