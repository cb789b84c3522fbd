"""The networks for paddle.hub:

    paddle.hub.load("path/of/this/repository", "nonlocal_i3d_r50", source="local", pretrained="weights.pdparams")

Each takes (pretrained=False, num_classes=400, **options): pretrained is False, True (the published weights, downloaded)
or a file of any supported source; what was loaded, with any warning, is printed in a line. A file of another program
says the padding of an Inception trunk and how its clips are normalised, which is printed; padding= overrides it.
options are the arguments of models.nonlocal_model.options.network_options or, of the Inception trunks (i2d to
fast_s3d), of models.s3d_model.options.network_options. Clips go in as float32 [N, 3, T, H, W], RGB, (x - 114.75) /
57.375, of the Inception trunks x / 127.5 - 1; logits [N, P, classes] come out, and `model.class_scores(logits)` are the
scores.
The caller's program may have modules of its own called models, utils and so on.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

dependencies = ["paddle", "numpy"]

ROOT = str(Path(__file__).resolve().parent)
PACKAGES = ("configs", "models", "utils", "weights")  # what the entries import
# Modules of these packages, between two loads; not in this file, which Paddle imports anew for each.
_loaded: dict[str, ModuleType] = vars(sys.modules.setdefault(f"packages of {ROOT}", ModuleType(ROOT)))


@contextlib.contextmanager
def _own_packages() -> Iterator[None]:
    """Within the context PACKAGES are this repository's, whatever the caller's program imports by these names."""

    def of_packages() -> list[str]:
        return [name for name in sys.modules if name.partition(".")[0] in PACKAGES]

    callers = {name: sys.modules.pop(name) for name in of_packages()}
    # A program that runs in this repository has them already.
    own = {n: m for n, m in callers.items() if str(getattr(m, "__file__", None) or "").startswith(ROOT + os.sep)}
    sys.modules.update({**{n: m for n, m in _loaded.items() if n.partition(".")[0] in PACKAGES}, **own})
    sys.path.insert(0, ROOT)
    try:
        yield
    finally:
        sys.path.remove(ROOT)
        _loaded.update({name: sys.modules.pop(name) for name in of_packages()})
        sys.modules.update(callers)


def _build(kind: str, entry: str, arch: str, pretrained: bool | str, num_classes: int, options: dict):
    """kind: "NonLocalModel" or "S3DModel" of models."""
    with _own_packages():
        import models

        path, line, check_padding = "", "", "padding" not in options
        if pretrained:
            from weights.download import published_weights

            path = published_weights(entry) if pretrained is True else pretrained
            if kind == "S3DModel":
                from weights.s3d_names import hub_options

                arch, options, line = hub_options(path, arch, options)
        model = getattr(models, kind)(arch, num_classes, **options)
        if path:
            from weights import load_weights

            report = load_weights(model, path, partial=num_classes != 400, check_padding=check_padding)
            if report.origin and not line:
                line = f"WARNING: these weights take clips {report.origin.input_rule()}"
            print("; ".join([report.summary()] + ([line] if line else [])))
    model.eval()
    return model


def _resnet(arch: str, with_blocks: bool, pretrained: bool | str, num_classes: int, options: dict):
    if not with_blocks:
        with _own_packages():
            from utils.errors import UserError

            if options.get("nonlocal_positions"):
                raise UserError("this entry has no non-local blocks; take the nonlocal_... one for nonlocal_positions")
        options = {**options, "nonlocal_positions": {}}
    entry = f"nonlocal_{arch}" if with_blocks else arch
    return _build("NonLocalModel", entry, arch, pretrained, num_classes, options)


def nonlocal_c2d_r50(pretrained: bool | str = False, num_classes: int = 400, **options):
    """C2D ResNet-50 with five non-local blocks."""
    return _resnet("c2d_r50", True, pretrained, num_classes, options)


def nonlocal_i3d_r50(pretrained: bool | str = False, num_classes: int = 400, **options):
    """I3D ResNet-50 with five non-local blocks."""
    return _resnet("i3d_r50", True, pretrained, num_classes, options)


def nonlocal_c2d_r101(pretrained: bool | str = False, num_classes: int = 400, **options):
    """C2D ResNet-101 with five non-local blocks."""
    return _resnet("c2d_r101", True, pretrained, num_classes, options)


def nonlocal_i3d_r101(pretrained: bool | str = False, num_classes: int = 400, **options):
    """I3D ResNet-101 with five non-local blocks."""
    return _resnet("i3d_r101", True, pretrained, num_classes, options)


def c2d_r50(pretrained: bool | str = False, num_classes: int = 400, **options):
    """C2D ResNet-50 without non-local blocks."""
    return _resnet("c2d_r50", False, pretrained, num_classes, options)


def i3d_r50(pretrained: bool | str = False, num_classes: int = 400, **options):
    """I3D ResNet-50 without non-local blocks."""
    return _resnet("i3d_r50", False, pretrained, num_classes, options)


def c2d_r101(pretrained: bool | str = False, num_classes: int = 400, **options):
    """C2D ResNet-101 without non-local blocks."""
    return _resnet("c2d_r101", False, pretrained, num_classes, options)


def i3d_r101(pretrained: bool | str = False, num_classes: int = 400, **options):
    """I3D ResNet-101 without non-local blocks."""
    return _resnet("i3d_r101", False, pretrained, num_classes, options)


def i2d(pretrained: bool | str = False, num_classes: int = 400, **options):
    """Inception-v1 over frames: no convolution over time."""
    return _build("S3DModel", "i2d", "i2d", pretrained, num_classes, options)


def i3d_inception(pretrained: bool | str = False, num_classes: int = 400, **options):
    """I3D: Inception-v1 inflated to three dimensions."""
    return _build("S3DModel", "i3d_inception", "i3d_inception", pretrained, num_classes, options)


def s3d(pretrained: bool | str = False, num_classes: int = 400, **options):
    """S3D: I3D with convolutions separated into space and time."""
    return _build("S3DModel", "s3d", "s3d", pretrained, num_classes, options)


def s3d_g(pretrained: bool | str = False, num_classes: int = 400, **options):
    """S3D with feature gates where the authors' program places them."""
    return _build("S3DModel", "s3d_g", "s3d_g", pretrained, num_classes, options)


def fast_s3d(pretrained: bool | str = False, num_classes: int = 400, **options):
    """S3D with time only in the top two blocks."""
    return _build("S3DModel", "fast_s3d", "fast_s3d", pretrained, num_classes, options)
