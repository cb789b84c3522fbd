"""C2D and I3D ResNet-50 with five non-local blocks, and the S3D family's trunks, as PyTorch toolkits run them: eager,
5-D convolutions.

python tools/benchmarks/torch_networks.py infer --arc c2d --size 224 --precision fp32
python tools/benchmarks/torch_networks.py infer --arc s3d --frames 64
python tools/benchmarks/torch_networks.py train --arc i3d --size 112 --batch 2

The yardstick of `tools/benchmark.py infer`, `predict` and `train`. Prints {"seconds_per_clip": ...}, the median of the
runs. Tensors have the names of our files (a norm's statistics PyTorch's), so the same weights go into both.

--agree FILE times nothing: the file (.npz) holds tensors under these names, `clips` and `logits`, and what is printed
is {"difference": ...}, the largest difference of a logit by the largest logit.
`layers` times the forward and backward pass of single layers, {"seconds": [...]}.
Needs PyTorch alone: pip install torch
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

try:
    import torch
    import torch.nn.functional as F
    from torch import nn
except ImportError:
    print("error: this yardstick needs PyTorch: pip install torch (or name a Python that has it)", file=sys.stderr)
    sys.exit(2)

BLOCKS_PER_STAGE = (3, 4, 6, 3)
BLOCKS_BEHIND = {3: (1, 3), 4: (1, 3, 5)}
# Which bottlenecks of res2..res5 have a first convolution over three frames in I3D.
SPANS_FRAMES = ((1, 1, 1), (1, 0, 1, 0), (1, 0, 1, 0, 1, 0), (0, 1, 0))


class ConvNorm(nn.Module):
    """Convolution without bias, then batch norm."""

    def __init__(self, in_channels, out_channels, kernel, stride=(1, 1, 1)):
        super().__init__()
        padding = tuple(side // 2 for side in kernel)
        self.conv = nn.Conv3d(in_channels, out_channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm3d(out_channels)

    def forward(self, x):
        return self.bn(self.conv(x))


class Bottleneck(nn.Module):
    """1x1 or 3x1x1, 1x3x3, 1x1x1, and the shortcut."""

    def __init__(self, in_channels, out_channels, spans_frames, stride):
        super().__init__()
        inner = out_channels // 4
        self.a = ConvNorm(in_channels, inner, (3 if spans_frames else 1, 1, 1))
        self.b = ConvNorm(inner, inner, (1, 3, 3), (1, stride, stride))
        self.c = ConvNorm(inner, out_channels, (1, 1, 1))
        self.shortcut = None
        if in_channels != out_channels or stride != 1:
            self.shortcut = ConvNorm(in_channels, out_channels, (1, 1, 1), (1, stride, stride))

    def forward(self, x):
        y = self.c(F.relu(self.b(F.relu(self.a(x)))))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class NonLocal(nn.Module):
    """Embedded Gaussian with sub-sampled keys: x + norm(out(softmax(theta^T phi / sqrt(d)) g))."""

    def __init__(self, channels):
        super().__init__()
        inner = channels // 2
        self.theta, self.phi, self.g = (nn.Conv3d(channels, inner, 1) for _ in range(3))
        self.out, self.bn = nn.Conv3d(inner, channels, 1), nn.BatchNorm3d(channels)

    def forward(self, x):
        pooled = F.max_pool3d(x, (1, 2, 2))
        theta, phi, g = self.theta(x).flatten(2), self.phi(pooled).flatten(2), self.g(pooled).flatten(2)
        weights = torch.softmax(torch.bmm(theta.transpose(1, 2), phi) * theta.shape[1] ** -0.5, -1)  # [N, THW, M]
        y = torch.bmm(g, weights.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + self.bn(self.out(y))


class Network(nn.Module):
    """Clips [N, 3, T, H, W] -> logits [N, P, K]."""

    averages_logits = False

    def __init__(self, arc: str, num_classes: int = 400):
        super().__init__()
        is_inflated = arc == "i3d"
        self.stem = ConvNorm(3, 64, (5 if is_inflated else 1, 7, 7), (1, 2, 2))
        channels = 64
        for k, num_blocks in enumerate(BLOCKS_PER_STAGE):
            stage = nn.Sequential()
            for i in range(num_blocks):
                spans_frames = is_inflated and SPANS_FRAMES[k][i]
                stage.add_module(f"block{i}", Bottleneck(channels, 256 << k, spans_frames, 2 if i == 0 and k else 1))
                channels = 256 << k
                if i in BLOCKS_BEHIND.get(k + 2, ()):
                    stage.add_module(f"nl{i}", NonLocal(channels))
            setattr(self, f"stage{k + 2}", stage)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = F.max_pool3d(F.relu(self.stem(x)), (1, 3, 3), (1, 2, 2))
        x = F.max_pool3d(self.stage2(x), (2, 1, 1))
        x = self.stage5(self.stage4(self.stage3(x)))
        side = min(7, x.shape[-1], x.shape[-2])
        x = F.avg_pool3d(x, (x.shape[2], side, side), 1)  # [N, 2048, 1, h, w]
        return self.head(x.flatten(2).transpose(1, 2))


# The S3D family, padded symmetrically, as torchvision and kylemin do: the padding that costs PyTorch no copies.
INCEPTION = {
    "mixed_3b": (64, 96, 128, 16, 32, 32),
    "mixed_3c": (128, 128, 192, 32, 96, 64),
    "mixed_4b": (192, 96, 208, 16, 48, 64),
    "mixed_4c": (160, 112, 224, 24, 64, 64),
    "mixed_4d": (128, 128, 256, 24, 64, 64),
    "mixed_4e": (112, 144, 288, 32, 64, 64),
    "mixed_4f": (256, 160, 320, 32, 128, 128),
    "mixed_5b": (256, 160, 320, 32, 128, 128),
    "mixed_5c": (384, 192, 384, 48, 128, 128),
}
TRUNKS = {"s3d": (True, False), "s3d_g": (True, True), "i3d_inception": (False, False)}  # separated, gated


class Unit(nn.Module):
    """Convolution, norm, ReLU; separated: 1 x k x k, then kT x 1 x 1, each with both; a gate behind it where gated."""

    def __init__(self, in_channels, out_channels, kernel, stride=(1, 1, 1), separated=False, gated=False):
        super().__init__()

        def conv(inputs, kernel, stride):
            padding = tuple(side // 2 for side in kernel)
            return nn.Conv3d(inputs, out_channels, kernel, stride, padding, bias=False)

        def norm():
            return nn.BatchNorm3d(out_channels, eps=1e-3, momentum=1e-3)

        (frames, *space), (every, *steps) = kernel, stride
        if separated:
            self.spatial, self.spatial_bn = conv(in_channels, (1, *space), (1, *steps)), norm()
            self.temporal, self.temporal_bn = conv(out_channels, (frames, 1, 1), (every, 1, 1)), norm()
        else:
            self.conv, self.bn = conv(in_channels, kernel, stride), norm()
        if gated:
            self.gate = nn.Linear(out_channels, out_channels, bias=False)
        self.separated, self.gated = separated, gated

    def forward(self, x):
        if self.separated:
            x = F.relu(self.spatial_bn(self.spatial(x)), inplace=True)
            x = F.relu(self.temporal_bn(self.temporal(x)), inplace=True)
        else:
            x = F.relu(self.bn(self.conv(x)), inplace=True)
        return x * torch.sigmoid(self.gate(x.mean((2, 3, 4))))[:, :, None, None, None] if self.gated else x


class Inception(nn.Module):
    """Four branches of the same input, joined on channels."""

    def __init__(self, in_channels, channels, separated, gated):
        super().__init__()
        c0, c1a, c1b, c2a, c2b, c3 = channels
        self.b0 = Unit(in_channels, c0, (1, 1, 1), gated=gated)
        self.b1a = Unit(in_channels, c1a, (1, 1, 1))
        self.b1b = Unit(c1a, c1b, (3, 3, 3), separated=separated, gated=gated)
        self.b2a = Unit(in_channels, c2a, (1, 1, 1))
        self.b2b = Unit(c2a, c2b, (3, 3, 3), separated=separated, gated=gated)
        self.b3b = Unit(in_channels, c3, (1, 1, 1), gated=gated)

    def forward(self, x):
        pooled = F.max_pool3d(x, 3, 1, 1)
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], 1)


class InceptionNetwork(nn.Module):
    """Clips [N, 3, T, H, W] -> logits [N, P, K]."""

    averages_logits = True

    def __init__(self, arc: str, num_classes: int = 400):
        super().__init__()
        separated, gated = TRUNKS[arc]
        self.conv_1a = Unit(3, 64, (7, 7, 7), (2, 2, 2), separated)
        self.conv_2b = Unit(64, 64, (1, 1, 1))
        self.conv_2c = Unit(64, 192, (3, 3, 3), separated=separated, gated=gated)
        channels = 192
        for name, outputs in INCEPTION.items():
            setattr(self, name, Inception(channels, outputs, separated, gated))
            channels = outputs[0] + outputs[2] + outputs[4] + outputs[5]
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = F.max_pool3d(self.conv_1a(x), (1, 3, 3), (1, 2, 2), (0, 1, 1))
        x = F.max_pool3d(self.conv_2c(self.conv_2b(x)), (1, 3, 3), (1, 2, 2), (0, 1, 1))
        x = F.max_pool3d(self.mixed_3c(self.mixed_3b(x)), 3, 2, 1)
        for name in ("mixed_4b", "mixed_4c", "mixed_4d", "mixed_4e", "mixed_4f"):
            x = getattr(self, name)(x)
        x = self.mixed_5c(self.mixed_5b(F.max_pool3d(x, 2, 2)))
        x = F.avg_pool3d(x, (2, min(7, x.shape[-2]), min(7, x.shape[-1])), 1)  # [N, 1024, 7, 1, 1]
        return self.head(x.flatten(2).transpose(1, 2))


def build(arc: str) -> nn.Module:
    """The network called `arc`, with PyTorch's first weights."""
    return InceptionNetwork(arc) if arc in TRUNKS else Network(arc)


def difference(network: nn.Module, file: str) -> float:
    """The largest difference of a logit by the largest logit; file: see --agree."""
    import numpy as np

    arrays = {name: torch.from_numpy(array) for name, array in np.load(file).items()}
    clips, expected = arrays.pop("clips"), arrays.pop("logits")
    missing = network.load_state_dict(arrays, strict=False)
    absent = [name for name in missing.missing_keys if not name.endswith("num_batches_tracked")]
    if absent or missing.unexpected_keys:
        sys.exit(f"error: the file has no {absent}, the network no {missing.unexpected_keys}")
    network.eval()
    with torch.no_grad():
        return float((network(clips) - expected).abs().max() / expected.abs().max())


def median_seconds(call, runs: int, clock=time.perf_counter) -> float:
    """Seconds of a call, the median of `runs`, after one that is not counted."""
    call()
    seconds = []
    for _ in range(runs):
        started = clock()
        call()
        seconds.append(clock() - started)
    return statistics.median(seconds)


def layer_seconds(facts: dict, runs: int, clock) -> float:
    """Seconds of a layer's forward and backward pass. facts: those of tools/benchmarks/layers.py."""
    channels, window = facts["shape"][1], (facts["kernel"], facts["stride"], facts["padding"])
    if facts["operation"] == "conv":
        layer = nn.Conv3d(channels, facts["out_channels"], *window, bias=False)
    else:
        layer = (
            nn.MaxPool3d(*window)
            if facts["operation"] == "pool"
            else nn.Sequential(nn.BatchNorm3d(channels), nn.ReLU())
        )
    x = torch.randn(facts["shape"], requires_grad=facts["needs_gradient"])
    upstream = torch.randn_like(layer(x))

    def both_passes():
        layer(x).backward(upstream)
        x.grad = None

    return median_seconds(both_passes, runs, clock)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("infer", "train", "layers"))
    parser.add_argument("--arc", choices=("c2d", "i3d", *TRUNKS), default="c2d")
    parser.add_argument("--frames", type=int, default=8, help="of a clip (default: %(default)s)")
    parser.add_argument("--size", type=int, default=224, help="pixels (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=1, help="clips (default: %(default)s)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--channels-last", action="store_true", help="the layout that bfloat16 is fastest in")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--agree", help="compare with the tensors, clips and logits of this file; time nothing")
    parser.add_argument("--layers", help="of `layers`: a file of their facts (tools/benchmarks/layers.py)")
    parser.add_argument("--processor_time", action="store_true", help="of `layers`: in place of the clock's")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.agree:
        print(json.dumps({"difference": difference(build(args.arc), args.agree)}))
        return
    if args.what == "layers":
        clock = time.process_time if args.processor_time else time.perf_counter
        with open(args.layers, encoding="utf-8") as file:
            print(json.dumps({"seconds": [layer_seconds(facts, args.runs, clock) for facts in json.load(file)]}))
        return
    layout = torch.channels_last_3d if args.channels_last else torch.contiguous_format
    network = build(args.arc).to(memory_format=layout)
    clips = torch.randn(args.batch, 3, args.frames, args.size, args.size).to(memory_format=layout)
    is_narrow = args.precision == "bf16"
    if args.what == "infer":
        network.eval()

        def step():
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=is_narrow):
                logits = network(clips).float()
                torch.softmax(logits.mean(1), -1) if network.averages_logits else torch.softmax(logits, -1).mean(1)

    else:
        optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, nesterov=True, weight_decay=1e-4)
        label = torch.randint(0, 400, (args.batch,))

        def step():
            with torch.autocast("cpu", torch.bfloat16, enabled=is_narrow):
                loss = F.cross_entropy(network(clips).float().mean(1), label)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    seconds = median_seconds(step, args.runs)
    print(json.dumps({**vars(args), "torch": torch.__version__, "seconds_per_clip": seconds / args.batch}))


if __name__ == "__main__":
    main()
