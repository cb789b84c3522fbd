"""The non-local block as the paper writes it: a loop over positions i, in double precision numpy. Slow and obvious."""

from __future__ import annotations

import numpy as np


def nonlocal_loop(x, weights, *, instantiation, extent, subsample, use_scale=True, group_frames=None, late_pool=False):
    """z = x + W_out y before any norm, for x [N, C, T, H, W] and weights {"theta.weight": [d, C, 1, 1, 1], ...}."""
    weights = {name: np.asarray(w, np.float64) for name, w in weights.items()}
    x = np.asarray(x, np.float64)
    subsample = subsample and extent != "time"

    def project(name, at):
        bias = weights.get(f"{name}.bias", 0.0)
        return weights[f"{name}.weight"].reshape(weights[f"{name}.weight"].shape[:2]) @ at + bias

    def pooled(of):
        height, width = (max(side // 2, 1) if side > 1 else 1 for side in x.shape[3:])
        rows, columns = (2 if side > 1 else 1 for side in x.shape[3:])
        cells = {}
        for t in range(x.shape[2]):
            for h in range(height):
                for w in range(width):
                    places = [(h * rows + i, w * columns + j) for i in range(rows) for j in range(columns)]
                    cells[t, h, w] = np.max([of(t, *place) for place in places], axis=0)
        return cells

    z = x.copy()
    for n in range(x.shape[0]):

        def value(t, h, w, n=n):
            return x[n, :, t, h, w]

        places = list(np.ndindex(*x.shape[2:]))
        own = {place: value(*place) for place in places}
        keys = pooled(value) if subsample else own
        names = ("g",) if instantiation == "gaussian" else ("phi", "g")
        projected = {name: {j: project(name, keys[j]) for j in keys} for name in names}
        if late_pool and subsample:
            projected = {name: pooled(lambda *place, name=name: project(name, value(*place))) for name in names}
        for i in places:
            group = group_frames or x.shape[2]
            seen = [j for j in keys if j[0] // group == i[0] // group]
            if extent == "space":
                seen = [j for j in seen if j[0] == i[0]]
            if extent == "time":
                seen = [j for j in seen if j[1:] == i[1:]]
            f = []
            for j in seen:
                if instantiation == "gaussian":
                    f.append(own[i] @ keys[j])
                    continue
                theta, phi = project("theta", own[i]), projected["phi"][j]
                if instantiation == "concatenation":
                    pair = weights["pair.weight"].reshape(-1)
                    f.append(max(pair @ np.concatenate([theta, phi]), 0.0))
                else:
                    scale = len(theta) ** -0.5 if use_scale and instantiation == "embedded_gaussian" else 1.0
                    f.append(theta @ phi * scale)
            f = np.array(f)
            if instantiation in ("gaussian", "embedded_gaussian"):
                f = np.exp(f - f.max())
                f = f / f.sum()
            else:
                f = f / len(seen)
            y = sum(weight * projected["g"][j] for weight, j in zip(f, seen))
            z[n, :, i[0], i[1], i[2]] += project("out", y)
    return z
