"""A recogniser is a backbone and a head: clips in, one row of logits for each output position.

A backbone is an `nn.Layer` with

    in_channels          channels of its clips
    channels, strides    by stage name, in the order of the computation: channels of a stage's output, and how many
                         (frames, rows, columns) of the clip one of its positions stands for
    stage_layers         stage name -> name of its sublayer (TRAIN.freeze says "res2" of what is called "stage2")
    forward_features(clips [N, C, T, H, W], stages) -> {stage: [N, c, t, h, w]} of the stages named

and, where it has them,

    forward_frames(x [N*T, C, H, W], num_frames, stages) -> {stage: (x [N*t, c, h, w], t)}
                         the same from frames; exported networks start from it
    recomputable_blocks() -> layers with forward(x, ...) that it calls through `run_block`, an attribute: None, or a
                         function (block, x, ...) -> x, such as one that keeps no activations

docs/add-a-network.md builds one in forty lines.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import paddle
from paddle import nn

from models.layers import fold, merge_clips, to_volumes


class Backbone(Protocol):
    """What `Recognizer` needs of a backbone, which is an `nn.Layer`, too."""

    in_channels: int
    channels: Mapping[str, int]
    strides: Mapping[str, tuple[int, int, int]]
    stage_layers: Mapping[str, str]

    def forward_features(self, clips: paddle.Tensor, stages: Sequence[str]) -> dict[str, paddle.Tensor]: ...


class Recognizer(nn.Layer):
    """A network of any family.

    backbone: see above. head: a layer with forward(features [N, c, t, h, w] of the last stage) -> logits [N, P, K] and
    class_scores(logits) -> [N, K]. options: the dataclass that the network was built from.

    forward(clips float32 [N, C, T, H, W], normalised) -> logits float32 [N, P, K] of P output positions, row by row.

    The backbone's layers and parameters are the recogniser's own, under the backbone's names, and the head is `head`:
    tensors are called "stem.conv.weight" and "head.weight", as in all weight files.
    """

    takes_boxes = False  # whether forward takes boxes, too

    def __init__(self, backbone: nn.Layer, head: nn.Layer, options: Any = None):
        super().__init__()
        self.__dict__["backbone"] = backbone  # past Layer.__setattr__, which would put "backbone." before all names
        self.options = options
        for name, layer in backbone.named_children():
            self.add_sublayer(name, layer)
        for name, parameter in backbone.named_parameters(include_sublayers=False):
            self.add_parameter(name, parameter)
        for name, buffer in backbone.named_buffers(include_sublayers=False):
            self.register_buffer(name, buffer)
        self.head = head
        self.stage_names = tuple(backbone.channels)
        self.in_channels: int = backbone.in_channels

    def forward(self, clips):
        last = self.stage_names[-1]
        return self.head(self.backbone.forward_features(clips, (last,))[last])

    def forward_features(self, clips, stages: Sequence[str] | None = None) -> dict[str, paddle.Tensor]:
        """Clips float32 [N, C, T, H, W] -> {"res2": [N, c, t, h, w], ...}.

        stages: those of `stage_names` that are wanted; None: all. Nothing behind the last one is computed.
        """
        return self.backbone.forward_features(clips, self.stage_names if stages is None else tuple(stages))

    def class_scores(self, logits):
        """Logits [N, P, K] -> scores [N, K] in 0..1."""
        return self.head.class_scores(logits)

    def prepare_for_export(self, num_frames: int, volumes: bool = False) -> ExportedNetwork:
        """A copy in evaluation mode with norms folded, whose forward takes frames. This network stays as it is.

        num_frames: T of the clips. volumes: computed by 3-D convolutions where the family can; else by 2-D ones over
        frames. `models.Family` says which is faster in which backend.
        """
        return ExportedNetwork(self, num_frames, volumes)

    def needs_fixed_sizes(self, num_frames: int, height: int, width: int) -> bool:
        """Whether an export for clips [T, H, W] must know their sizes (see `models.needs_fixed_sizes`)."""
        check = getattr(self.options, "needs_fixed_sizes", None)
        return check is None or check(num_frames, height, width)

    def recomputable_blocks(self) -> list[nn.Layer]:
        """The blocks that the backbone calls through `backbone.run_block`; none where it has no such attribute."""
        return self.backbone.recomputable_blocks() if hasattr(self.backbone, "recomputable_blocks") else []

    def add_sublayer(self, name: str, sublayer: nn.Layer) -> nn.Layer:
        """Set a layer here and in the backbone, which computes with it."""
        if name in dict(self.backbone.named_children()):
            self.backbone.add_sublayer(name, sublayer)
        return super().add_sublayer(name, sublayer)

    def train(self, mode: bool = True) -> Recognizer:
        """Set the training mode, of the backbone too; Paddle 2.6 has no `mode` and returns nothing."""
        if not mode:
            return self.eval()
        super().train()
        self.backbone.train()
        return self

    def eval(self) -> Recognizer:
        super().eval()
        self.backbone.eval()
        return self


class ExportedNetwork(nn.Layer):
    """What a graph is recorded from: frames [N*T, C, H, W] -> (scores [N, K], logits [N, P, K]).

    Every convolution holds its weight and a bias as they are used, so the graph has no arithmetic on weights.
    """

    def __init__(self, model: Recognizer, num_frames: int, volumes: bool):
        super().__init__()
        self.model, self.num_frames = copy.deepcopy(model), num_frames
        self.model.eval()
        self.takes_frames = hasattr(model.backbone, "forward_frames")
        self.volumes = volumes and self.takes_frames
        fold(self.model, self.volumes)
        self.eval()

    def forward(self, frames):
        return self._traced(frames)

    @paddle.jit.not_to_static  # what follows branches on sizes only, which tracing keeps
    def _traced(self, frames, *boxes):
        model, num_frames = self.model, self.num_frames
        if self.takes_frames:
            x = to_volumes(frames, num_frames) if self.volumes else frames
            last = model.stage_names[-1]
            x, num_frames = model.backbone.forward_frames(x, num_frames, (last,))[last]
            logits = model.head.forward_frames(merge_clips(x) if self.volumes else x, num_frames, *boxes)
        else:
            logits = model(to_volumes(frames, num_frames), *boxes)
        return model.class_scores(logits), logits
