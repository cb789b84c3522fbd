"""The layers that are timed one by one are those of the step, and rates are operations by seconds."""

from __future__ import annotations

import pytest

from models.counts import multiply_adds_by_layer
from tools.benchmarks import layers as benchmark
from tools.benchmarks.train import Step
from utils.errors import UserError


def test_all_convolutions_are_among_the_layers_and_rates_are_operations_by_seconds(monkeypatch, capsys):
    step = Step("i3d", 48, 2, 8, "dynamic", [])
    layers = benchmark.layers_of(step)
    counts, operations = {}, {}
    for layer in layers:
        counts[layer.kind] = counts.get(layer.kind, 0) + layer.count
        operations[layer.kind] = operations.get(layer.kind, 0) + layer.count * layer.operations
    # 53 convolutions of the trunk, 9 of them over frames, and 4 projections in each of 5 blocks
    assert counts == {"stem": 1, "over frames": 9, "3x3": 16, "1x1": 27 + 20, "norm and ReLU": 58, "max pool": 2}

    sublayers, counted = dict(step.model.named_sublayers()), multiply_adds_by_layer(step.model, 8, 48, 48)
    convolutions = {name: n for name, n in counted.items() if hasattr(sublayers[name], "kernel")}
    of_3x3 = sum(n for name, n in convolutions.items() if sublayers[name].kernel == (1, 3, 3))
    of_frames = sum(n for name, n in convolutions.items() if sublayers[name].kernel == (3, 1, 1))
    assert operations["3x3"] == 2 * 2 * 3 * of_3x3  # two clips, a product and a sum, three passes
    assert operations["over frames"] == 2 * 2 * 3 * of_frames
    assert operations["stem"] == 2 * 2 * 2 * convolutions["stem.conv"]  # clips have no gradient

    monkeypatch.setattr(benchmark, "our_seconds", lambda layer, clock: 2e-3)
    monkeypatch.setattr(benchmark, "torch_seconds", lambda python, layers, processor: [1e-3] * len(layers))
    monkeypatch.setattr(step, "median_seconds", lambda processor_time: 0.16)  # a clip
    results = benchmark.measure_layers("i3d", step, "python", 2, processor_time=True)
    assert results["layers i3d, 3x3"] == {"PyTorch": [pytest.approx(0.016)] * 2, "ours": [pytest.approx(0.032)] * 2}
    row = next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("3x3"))
    rate = operations["3x3"] / 1e9 / 0.032
    assert [float(word) for word in row[1:]] == pytest.approx([16, operations["3x3"] / 1e9, rate, 2 * rate, 10], abs=1)


def test_networks_that_pad_one_side_are_refused():
    with pytest.raises(UserError, match="pad both sides alike"):
        benchmark.layers_of(Step("s3d", 64, 1, 16, "dynamic", ["S3D.padding=same"]))
