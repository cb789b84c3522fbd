"""How the sources' networks differ from ours where their tensors do not tell: as configuration keys."""

from __future__ import annotations

from typing import Any

from models.nonlocal_model.placement import block_positions
from weights.safe_pickle import Refused
from weights.shapes import NetworkKind

Sections = dict[str, dict[str, Any]]
LONG_CLIPS = {"video_length": 32, "sample_rate": 2}
GEOMETRIES: dict[str, Sections] = {
    # the authors' 8x8 and 32x4 models, and the old zoo's
    "video_nonlocal_net": {},
    # the authors' 32x2 and 128x1 models
    "video_nonlocal_net_32x2": {
        "MODEL": {"stem_temporal_stride": 2, "stem_pool_temporal_kernel": 2, "stem_pool_temporal_stride": 2},
        "clips": LONG_CLIPS,
    },
    "paddle_zoo": {},
    "slowfast": {"MODEL": {"stem_pool_padding": 1}},
    "slowfast_nopool": {"MODEL": {"stem_pool_padding": 1, "temporal_pool": False}},
    "mmaction2": {
        "MODEL": {
            "stem_temporal_stride": 2,
            "stem_pool_temporal_stride": 2,
            "stem_pool_padding": 1,
            "head_pool_size": 0,
        },
        "NONLOCAL": {"use_scale": False, "pool_after_projection": True},
        "clips": LONG_CLIPS,
    },
    "mmaction2_c2d": {"MODEL": {"head_pool_size": 0}, "clips": {"crop_size": 224}},
    "pytorchvideo": {"MODEL": {"stem_pool_padding": 1, "head_pool_size": 7, "head_average": "logits"}},
    "pytorchvideo_nopool": {
        "MODEL": {"stem_pool_padding": 1, "head_pool_size": 7, "head_average": "logits", "temporal_pool": False}
    },
    "torchvision": {"MODEL": {"stem_pool_padding": 1}},
}
DEFAULT_GEOMETRY = {
    "own": "video_nonlocal_net",
    "torch": "video_nonlocal_net",
    "caffe2": "video_nonlocal_net",
    "paddle_fluid": "paddle_zoo",
    "paddle": "torchvision",
}
REFUSED = {
    "long_term_feature_bank": "its res5 has stride 1 and dilated kernels, which these networks do not have",
    "detectron": "its stride lies in the first 1x1 convolution of a block (conv a), here in the 3x3 one (conv b)",
}
INPUTS = {
    "mmaction2": "input normalised per channel: mean [123.675, 116.28, 103.53], std [58.395, 57.12, 57.375]",
    "torchvision": "input normalised per channel: mean [123.675, 116.28, 103.53], std [58.395, 57.12, 57.375]",
    "slowfast": "tested by its program at 30 frames a second with frames 9 apart (linspace over 64), here 8 apart",
}


def geometry_name(source: str, kind: NetworkKind, chosen: str = "") -> str:
    """The geometry of a source's network: the chosen one, or the source's usual one.

    Raises Refused for one that cannot be carried over, with the reason, and for an unknown one.
    """
    name = chosen or DEFAULT_GEOMETRY.get(source, source)
    if name == "mmaction2" and not chosen and kind.kernel_frames != 5:
        name = "mmaction2_c2d"
    if name in REFUSED:
        raise Refused(f"--geometry {name} cannot be carried over: {REFUSED[name]}")
    if name not in GEOMETRIES:
        raise Refused(f"--geometry {name}: there are {', '.join(GEOMETRIES)}")
    return name


def configuration(geometry: str, kind: NetworkKind, video_arc_choice: int, num_classes: int) -> Sections:
    """The configuration under which our network computes what the source's does; only keys that say something.

    kind: the tensors of the file. A file with frozen norms becomes a network with frozen norms.
    """
    template = GEOMETRIES[geometry]
    model: dict[str, Any] = {"video_arc_choice": video_arc_choice, "num_classes": num_classes}
    model.update(template.get("MODEL", {}))
    blocks: dict[str, Any] = dict(template.get("NONLOCAL", {})) if kind.positions else {}
    if not kind.has_statistics:
        model["use_affine"] = True
        if kind.positions:
            blocks.update(use_bn=False, use_zero_init_conv=True)
    if not kind.positions:
        blocks["num_blocks"] = 0
    elif kind.positions != block_positions(50 if video_arc_choice < 3 else 101):
        blocks["positions"] = {f"res{stage}": list(indices) for stage, indices in kind.positions.items()}
    sections = {"MODEL": model, "NONLOCAL": blocks}
    for name in ("TRAIN", "VALID", "TEST", "INFER") if "clips" in template else ():
        sections[name] = dict(template["clips"])
    return {name: keys for name, keys in sections.items() if keys}


def differences(model, geometry: str) -> list[str]:
    """Keys in which a built network's geometry is not the source's, as `KEY: value`; empty when it computes the same.

    The classifier's pool counts only where the source fixes it, for 224 and 256 pixel crops give the same otherwise.
    """
    template = GEOMETRIES[geometry]
    wanted = template.get("MODEL", {})
    stem, head = model.options.stem, model.options.head
    have = {
        "stem_temporal_stride": (stem.temporal_stride, 1),
        "stem_pool_temporal_kernel": (stem.pool_temporal_kernel, 1),
        "stem_pool_temporal_stride": (stem.pool_temporal_stride, 1),
        "stem_pool_padding": (stem.pool_padding, 0),
        "temporal_pool": (stem.temporal_pool, True),
        "head_average": (head.average, "probabilities"),
    }
    found = [
        f"MODEL.{key}: {wanted.get(key, usual)}"
        for key, (value, usual) in have.items()
        if value != wanted.get(key, usual)
    ]
    if "head_pool_size" in wanted and wanted["head_pool_size"] != head.pool_size:
        found.append(f"MODEL.head_pool_size: {wanted['head_pool_size']}")
    blocks = template.get("NONLOCAL", {})
    for block in (layer for name, layer in model.named_sublayers() if name.rpartition(".")[2].startswith("nl")):
        if blocks.get("pool_after_projection", False) != block.pool_after_projection:
            found.append(f"NONLOCAL.pool_after_projection: {blocks.get('pool_after_projection', False)}")
        if blocks.get("use_scale", True) != (block.scale != 1.0) and block.instantiation == "embedded_gaussian":
            found.append(f"NONLOCAL.use_scale: {blocks.get('use_scale', True)}")
        break
    return found
