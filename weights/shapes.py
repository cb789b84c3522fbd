"""Networks as shapes: what a set of tensors in our names is, and the shapes of a network without building it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from configs.schema import ARCHS
from models.nonlocal_model.options import TEMPORAL_BLOCKS
from models.nonlocal_model.placement import BLOCKS_OF_DEPTH

BLOCK = re.compile(r"stage(\d)\.(block|nl)(\d+)\.")


@dataclass(frozen=True)
class NetworkKind:
    """kernel_frames: of conv1; 0 for image networks. blocks: residual blocks of res2..res5. positions: stage -> the
    residual blocks that non-local blocks follow. has_statistics: batch norms, not frozen scales and shifts.
    """

    kernel_frames: int
    blocks: tuple[int, ...]
    positions: dict[int, tuple[int, ...]]
    num_classes: int | None
    has_statistics: bool

    @property
    def video_arc_choice(self) -> int | None:
        """1 to 4, or None when it is none of these networks (or one of images, which starts any of its depth)."""
        depths = {blocks: depth for depth, blocks in BLOCKS_OF_DEPTH.items()}
        depth = depths.get(self.blocks)
        if depth is None or self.kernel_frames not in (1, 5):
            return None
        return (1 if depth == 50 else 3) + (self.kernel_frames == 5)

    def __str__(self) -> str:
        kind = {0: "an image", 1: "a C2D", 5: "an I3D"}.get(self.kernel_frames, "a")
        depth = 2 + 3 * sum(self.blocks)
        places = "; ".join(f"res{k} {', '.join(map(str, i))}" for k, i in self.positions.items())
        norm = "" if self.has_statistics else ", frozen norms"
        classes = "no classifier" if self.num_classes is None else f"{self.num_classes} classes"
        blocks = f"non-local blocks after {places}" if places else "no non-local blocks"
        return f"{kind} ResNet-{depth}, {blocks}, {classes}{norm}"


def network_kind(shapes: Mapping[str, Sequence[int]]) -> NetworkKind:
    """What network these tensors (our names) make."""
    found: dict[tuple[str, int], set[int]] = {}
    for name in shapes:
        match = BLOCK.match(name)
        if match:
            found.setdefault((match[2], int(match[1])), set()).add(int(match[3]))
    stem = shapes.get("stem.conv.weight", ())
    head = shapes.get("head.bias")
    return NetworkKind(
        kernel_frames=stem[2] if len(stem) == 5 else 0,
        blocks=tuple(len(found.get(("block", k), ())) for k in range(2, 6)),
        positions={k: tuple(sorted(found["nl", k])) for k in range(2, 6) if ("nl", k) in found},
        num_classes=head[0] if head else None,
        has_statistics=any(name.endswith("_variance") for name in shapes),
    )


def network_shapes(
    video_arc_choice: int, positions: Mapping[int, Sequence[int]], num_classes: int
) -> dict[str, tuple[int, ...]]:
    """The tensors of a full-width network with batch norms, by our names."""
    arch = [*ARCHS.values()][video_arc_choice - 1]
    shapes: dict[str, tuple[int, ...]] = {"stem.conv.weight": (64, 3, 5 if arch.inflated else 1, 7, 7)}
    _add_norm(shapes, "stem.bn", 64)
    in_channels = 64
    for k, (num_blocks, is_temporal) in enumerate(zip(BLOCKS_OF_DEPTH[arch.depth], TEMPORAL_BLOCKS.values())):
        inner, out = 64 << k, 256 << k
        for i in range(num_blocks):
            prefix = f"stage{k + 2}.block{i}"
            kernel_frames = 3 if arch.inflated and is_temporal(i) else 1
            convs = {"a": (inner, in_channels, kernel_frames, 1, 1), "b": (inner, inner, 1, 3, 3)}
            convs["c"] = (out, inner, 1, 1, 1)
            if i == 0:
                convs["shortcut"] = (out, in_channels, 1, 1, 1)
            for conv, shape in convs.items():
                shapes[f"{prefix}.{conv}.conv.weight"] = shape
                _add_norm(shapes, f"{prefix}.{conv}.bn", shape[0])
            if i in positions.get(k + 2, ()):
                _add_nonlocal(shapes, f"stage{k + 2}.nl{i}", out)
            in_channels = out
    shapes["head.weight"], shapes["head.bias"] = (in_channels, num_classes), (num_classes,)
    return shapes


def _add_nonlocal(shapes: dict, prefix: str, channels: int) -> None:
    for projection in ("theta", "phi", "g", "out"):
        out, inside = (channels, channels // 2) if projection == "out" else (channels // 2, channels)
        shapes[f"{prefix}.{projection}.weight"] = (out, inside, 1, 1, 1)
        shapes[f"{prefix}.{projection}.bias"] = (out,)
    _add_norm(shapes, f"{prefix}.bn", channels)


def _add_norm(shapes: dict, prefix: str, channels: int) -> None:
    for tensor in ("weight", "bias", "_mean", "_variance"):
        shapes[f"{prefix}.{tensor}"] = (channels,)
