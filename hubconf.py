"""The networks for paddle.hub:

    paddle.hub.load("path/of/this/repository", "nonlocal_i3d_r50", source="local", pretrained="weights.pdparams")

Each takes (pretrained=False, num_classes=400, **options): pretrained is False, True (the published weights, downloaded)
or a file of any supported source; what was loaded, with any warning, is printed in a line. options are NonLocalModel's
arguments. Clips go in as float32 [N, 3, T, H, W], RGB, (x - 114.75) / 57.375; logits [N, P, classes] come out.
"""

from __future__ import annotations

dependencies = ["paddle", "numpy"]


def _build(video_arc_choice: int, with_blocks: bool, pretrained: bool | str, num_classes: int, options: dict):
    from models import NonLocalModel
    from utils.errors import UserError

    if not with_blocks:
        if options.get("nonlocal_positions"):
            raise UserError("this entry has no non-local blocks; take the nonlocal_... one for nonlocal_positions")
        options = {**options, "nonlocal_positions": {}}
    model = NonLocalModel(video_arc_choice, num_classes, **options)
    if pretrained:
        from weights import load_weights
        from weights.download import published_weights

        path = published_weights(video_arc_choice, with_blocks) if pretrained is True else pretrained
        print(load_weights(model, path, partial=num_classes != 400).summary())
    model.eval()
    return model


def nonlocal_c2d_r50(pretrained: bool | str = False, num_classes: int = 400, **options):
    """C2D ResNet-50 with five non-local blocks."""
    return _build(1, True, pretrained, num_classes, options)


def nonlocal_i3d_r50(pretrained: bool | str = False, num_classes: int = 400, **options):
    """I3D ResNet-50 with five non-local blocks."""
    return _build(2, True, pretrained, num_classes, options)


def nonlocal_c2d_r101(pretrained: bool | str = False, num_classes: int = 400, **options):
    """C2D ResNet-101 with five non-local blocks."""
    return _build(3, True, pretrained, num_classes, options)


def nonlocal_i3d_r101(pretrained: bool | str = False, num_classes: int = 400, **options):
    """I3D ResNet-101 with five non-local blocks."""
    return _build(4, True, pretrained, num_classes, options)


def c2d_r50(pretrained: bool | str = False, num_classes: int = 400, **options):
    """C2D ResNet-50 without non-local blocks."""
    return _build(1, False, pretrained, num_classes, options)


def i3d_r50(pretrained: bool | str = False, num_classes: int = 400, **options):
    """I3D ResNet-50 without non-local blocks."""
    return _build(2, False, pretrained, num_classes, options)


def c2d_r101(pretrained: bool | str = False, num_classes: int = 400, **options):
    """C2D ResNet-101 without non-local blocks."""
    return _build(3, False, pretrained, num_classes, options)


def i3d_r101(pretrained: bool | str = False, num_classes: int = 400, **options):
    """I3D ResNet-101 without non-local blocks."""
    return _build(4, False, pretrained, num_classes, options)
