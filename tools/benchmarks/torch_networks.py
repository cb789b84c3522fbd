"""C2D and I3D ResNet-50 with five non-local blocks as PyTorch toolkits run them: eager, 5-D convolutions.

python tools/benchmarks/torch_networks.py infer --arc c2d --size 224 --precision fp32
python tools/benchmarks/torch_networks.py train --arc i3d --size 112 --batch 2

The yardstick of `tools/benchmark.py infer`, `predict` and `train`. Prints {"seconds_per_clip": ...}, the median of the
runs. Tensors have the names that `tools/convert_weights.py --to torch` writes, so the same weights go into both.
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


def median_seconds(call, runs: int) -> float:
    """Seconds of a call, the median of `runs`, after one that is not counted."""
    call()
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("infer", "train"))
    parser.add_argument("--arc", choices=("c2d", "i3d"), default="c2d")
    parser.add_argument("--size", type=int, default=224, help="pixels (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=1, help="clips (default: %(default)s)")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--channels-last", action="store_true", help="the layout that bfloat16 is fastest in")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    layout = torch.channels_last_3d if args.channels_last else torch.contiguous_format
    network = Network(args.arc).to(memory_format=layout)
    clips = torch.randn(args.batch, 3, 8, args.size, args.size).to(memory_format=layout)
    is_narrow = args.precision == "bf16"
    if args.what == "infer":
        network.eval()

        def step():
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=is_narrow):
                torch.softmax(network(clips).float(), -1).mean(1)

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
