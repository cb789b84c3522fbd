"""Every configuration key with its type, default, meaning and range. The zoo's keys keep the zoo's names and defaults.

Sections are dataclasses: `config.TRAIN.batch_size` is a plain attribute. configs/loading.py reads files into them.
A family of networks other than NONLOCAL brings its own sections (see `models.FAMILIES`).
docs/configuration.md is written from this file by `python -m tools.configuration_reference`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Optional, Union

from utils.files import CHECKPOINT_DIR


def limits_of(
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple = (),
    may_be_empty: bool = False,
    may_be_scalar: bool = False,
) -> dict[str, Any]:
    """What a key means, its closed range (of each item, for lists and dicts), its legal values, whether a list may be
    empty, and whether a single value is accepted for a list of one."""
    return {
        "doc": doc, "low": low, "high": high, "choices": choices, "may_be_empty": may_be_empty,
        "may_be_scalar": may_be_scalar,
    }  # fmt: skip


def key(default: Any, doc: str, **rest: Any) -> Any:
    """A dataclass field with its default and the limits of `limits_of`."""
    limits = limits_of(doc, **rest)
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=limits)
    return dataclasses.field(default=default, metadata=limits)


@dataclass(frozen=True)
class Arch:
    """An architecture of the NONLOCAL family: a ResNet of `depth` layers, C2D or, `inflated`, I3D."""

    inflated: bool
    depth: int


# The architectures of the NONLOCAL family, in the order of the zoo's numbers: MODEL.video_arc_choice is 1 to 4.
ARCHS = {
    "c2d_r50": Arch(inflated=False, depth=50),
    "i3d_r50": Arch(inflated=True, depth=50),
    "c2d_r101": Arch(inflated=False, depth=101),
    "i3d_r101": Arch(inflated=True, depth=101),
}


@dataclass
class Model:
    """The network: its family, architecture, classes and head."""

    name: str = key("NONLOCAL", "the family of networks")  # choices: models.FAMILIES
    arch: str = key("c2d_r50", f"the architecture; of NONLOCAL: {', '.join(ARCHS)}")  # choices: the family's
    num_classes: int = key(400, "number of classes", low=2)
    dataset: str = key("kinetics400", "names the class-name file data/dataset/nonlocal/<dataset>_labels.txt")
    class_names: str = key("", "file of class names (txt or the zoo's json); empty: by dataset")
    use_affine: bool = key(False, "frozen scale and shift in place of batch norm, in the trunk")
    dropout_rate: float = key(0.5, "fraction of features dropped in front of the classifier", low=0.0, high=0.999)
    fc_init_std: float = key(0.01, "standard deviation of the classifier's first weights", low=0.0)
    bn_momentum: float = key(0.9, "fraction of the old running statistics kept at each step", low=0.0, high=1.0)
    bn_epsilon: float = key(1.0e-5, "added to the variance", low=0.0)
    bn_init_gamma: float = key(0.0, "first scale of the last norm of each residual branch")
    stem_temporal_stride: int = key(1, "temporal stride of conv1 (2 in the 32x2 and 128x1 models)", low=1)
    stem_pool_temporal_kernel: int = key(1, "temporal kernel of pool1 (2 in the 32x2 and 128x1 models)", low=1)
    stem_pool_temporal_stride: int = key(1, "temporal stride of pool1 (2 in the 32x2 and 128x1 models)", low=1)
    stem_pool_padding: int = key(0, "spatial padding of pool1 (1 in PySlowFast, torchvision)", low=0, high=1)
    temporal_pool: bool = key(True, "pool2, which halves the frames after res2")
    head_pool_size: Optional[int] = key(
        None, "side of the last average pool; none: res5's side for INPUT.crop_size; 0: the whole map", low=0
    )
    multi_label: bool = key(False, "several classes a video: sigmoid, binary cross-entropy, mean average precision")
    task: Optional[str] = key(None, "what is learned, a name of tasks.TASKS; none: by multi_label")
    head_average: str = key(
        "probabilities", "what is averaged over output positions", choices=("probabilities", "logits")
    )

    @property
    def video_arc_choice(self) -> int | None:
        """The zoo's number of `arch`; None for the architectures of other families."""
        return [*ARCHS].index(self.arch) + 1 if self.arch in ARCHS else None

    @property
    def depth(self) -> int | None:
        """Layers of the ResNet that `arch` names; None for the architectures of other families."""
        return ARCHS[self.arch].depth if self.arch in ARCHS else None


@dataclass
class Input:
    """What a clip is. The sections of the phases (TRAIN, VALID, TEST, INFER) follow these keys and may override
    them."""

    num_frames: int = key(8, "frames of a clip", low=1)
    frame_stride: int = key(8, "frames of the video from one sampled frame to the next", low=1)
    crop_size: int = key(224, "side of the crops of TRAIN and VALID, pixels", low=16)
    scales: list[int] = key(
        [256, 320],
        "range of the short side, pixels, both ends included; TEST and INFER take the first number as their short "
        "side and crop_size",
        low=16,
    )
    keep_aspect_ratio: bool = key(
        True, "False: frames become squares of side `scales`, whatever their shape; TRAIN, VALID, TEST and INFER alike"
    )
    channels: int = key(3, "channels of a clip: 3 for RGB", low=1, high=1024)
    mean: list[float] = key([114.75] * 3, "subtracted, per channel (one number: all channels)", may_be_scalar=True)
    std: list[float] = key([57.375] * 3, "the difference is divided by it, per channel", low=1e-6, may_be_scalar=True)


@dataclass
class Resnets:
    """Widths and depths of the residual trunk (family NONLOCAL)."""

    num_groups: int = key(1, "groups of conv_b (ResNeXt when above 1)", low=1)
    width_per_group: int = key(64, "channels of a group inside res2's bottlenecks; doubles with each stage", low=1)
    stem_channels: int = key(64, "channels of conv1", low=1)
    res2_channels: int = key(256, "output channels of res2; doubles with each stage", low=1)
    blocks_per_stage: Optional[list[int]] = key(None, "blocks of res2..res5 in place of the depth's own", low=1)


@dataclass
class Nonlocal:
    """The non-local blocks and where they stand (family NONLOCAL)."""

    bn_momentum: float = key(0.9, "fraction of the old running statistics kept at each step", low=0.0, high=1.0)
    bn_epsilon: float = key(1.0e-5, "added to the variance", low=0.0)
    bn_init_gamma: float = key(0.0, "first scale of the block's norm; 0: the block starts as the identity")
    layer_mod: int = key(2, "a block after each i where i mod layer_mod = layer_mod - 1 (R101, res4: 7)", low=1)
    conv3_nonlocal: bool = key(True, "non-local blocks in res3")
    conv4_nonlocal: bool = key(True, "non-local blocks in res4")
    conv_init_std: float = key(0.01, "standard deviation of the block's first weights", low=0.0)
    no_bias: int = key(0, "1: the block's convolutions have no bias", low=0, high=1)
    use_maxpool: bool = key(True, "halve height and width of x_j before phi and g")
    use_softmax: bool = key(True, "False: dot product in place of the softmax")
    use_scale: bool = key(True, "multiply theta^T phi by (inner channels)^-0.5")
    use_zero_init_conv: bool = key(False, "the output convolution starts at 0 (for use_bn: False)")
    use_bn: bool = key(True, "a norm after the output convolution")
    use_affine: bool = key(False, "that norm is a frozen scale and shift")
    num_blocks: Optional[int] = key(
        None, "the paper's 0, 1, 5 or 10 blocks, in place of the zoo's three keys", choices=(0, 1, 5, 10)
    )
    positions: Optional[dict[str, list[int]]] = key(
        None,
        "blocks after these residual blocks, counted from 0: {res3: [1, 3], res4: [1, 3, 5]}",
        low=0,
        may_be_empty=True,
    )
    instantiation: Optional[str] = key(
        None,
        "the pairwise function; none: embedded_gaussian, or dot_product for use_softmax: False",
        choices=("gaussian", "embedded_gaussian", "dot_product", "concatenation"),
    )
    extent: str = key("spacetime", "the positions that one position sees", choices=("spacetime", "space", "time"))
    group_frames: Optional[dict[str, int]] = key(
        None,
        "positions see groups of so many frames: {res3: 4}; none: that for MODEL.use_affine, else no groups",
        low=1,
    )
    query_chunk: Optional[int] = key(None, "queries of a softmax computed at once; none: by size", low=1)
    pool_after_projection: bool = key(False, "use_maxpool's pool after phi and g (mmaction2) in place of before")


@dataclass
class Detection:
    """Actions of boxes on key frames (MODEL.task detection): annotations, where boxes come from, the head."""

    label_map: str = key("", "pbtxt of the classes; their ids are 1 to MODEL.num_classes")
    train_boxes: str = key("", "csv of the boxes and actions of TRAIN.filelist, whose lines are `path video`")
    valid_boxes: str = key("", "the same of VALID.filelist and TEST.filelist")
    train_excluded: str = key("", "csv of frames `video,second` that are not learned from, as AVA's excluded lists")
    valid_excluded: str = key("", "the same of frames that are not judged")
    start_second: float = key(
        0.0, "second of the csv files at which a video's file begins: 900 for AVA's pieces of 15 minutes", low=0.0
    )
    protocol: str = key(
        "ava", "the rules by which eval.py judges boxes; act needs boxes in pixels", choices=("ava", "act")
    )
    proposals: str = key(
        "truth",
        "boxes that validations and eval.py classify: truth, the annotated ones; file: those of proposal_file; rpn: "
        "those of the proposal network",
        choices=("truth", "file", "rpn"),
    )
    proposal_file: str = key("", "csv of boxes with scores, for proposals: file")
    train_proposals: str = key(
        "", "csv of predicted boxes of TRAIN.filelist with scores, learned from beside the annotated ones; empty: none"
    )
    proposal_network: bool = key(
        False, "a region proposal network on the key frame is part of the network, and trained with it"
    )
    proposal_width: int = key(64, "channels in the first bottlenecks of the proposal network; 64: ResNet-50", low=1)
    proposal_blocks: list[int] = key([3, 4, 6], "bottlenecks of its layer1 to layer3", low=1)
    anchor_sizes: list[float] = key(
        [32.0, 64.0, 128.0, 256.0, 512.0], "of its anchors: square roots of the areas, pixels of the crop", low=1.0
    )
    anchor_ratios: list[float] = key([0.5, 1.0, 2.0], "of its anchors: height / width", low=0.01)
    anchor_samples: int = key(
        256, "anchors of a frame that its loss is computed of; of a small frame with few anchors take fewer", low=2
    )
    box_score_train: float = key(0.9, "boxes of train_proposals below this score are left out", low=0.0, high=1.0)
    box_score_test: float = key(
        0.85, "boxes of a file or of the proposal network below this score are left out", low=0.0, high=1.0
    )
    box_iou_train: float = key(
        0.9,
        "IoU with a true box from which on a proposal, or a box of train_proposals, has its labels in training",
        low=0.0,
        high=1.0,
    )
    max_boxes: int = key(32, "boxes of a clip in training, the true ones among them", low=1)
    res5_dilated: bool = key(
        True, "the 3x3 convolutions of res5 (of S3D: mixed_5b and mixed_5c), which has stride 1, are dilated by 2"
    )
    roi_size: int = key(7, "cells on a side of a box", low=1)
    roi_pool: str = key("max", "what is taken over the cells of a box", choices=("max", "mean"))
    roi_aligned: bool = key(True, "RoIAlign counts from the edges of pixels; False: from their centres")
    roi_sampling_ratio: int = key(2, "points of a cell on an axis; 0: by the size of the box", low=0, high=16)
    nms: float = key(0.5, "of proposals that overlap more, in a class, the highest score is kept", low=0.0, high=1.0)


@dataclass
class Train:
    """Training: its list and clips, the recipe, checkpoints."""

    epoch: int = key(120, "passes over the training list at most", low=1)
    num_reader_threads: int = key(8, "reading processes; never more than the machine's cores", low=0)
    batch_size: int = key(64, "clips in a step, over all processes together", low=1)
    filelist: str = key("./data/dataset/nonlocal/trainlist.txt", "training list, `path label` a line")
    crop_size: int = key(224, "side of the crop, pixels", low=16)
    sample_rate: int = key(8, "frames between two sampled frames", low=1)
    video_length: int = key(8, "frames of a clip", low=1)
    jitter_scales: list[int] = key([256, 320], "range of the short side, pixels, both ends included", low=16)
    mirror: Union[bool, str] = key(
        True,
        "mirror half of the clips; swap: the label of a mirrored clip of Something-Something changes left for right; "
        "skip: clips of such classes are never mirrored; False where left and right are the label",
        choices=(True, False, "swap", "skip"),
    )
    learning_rate: float = key(0.01, "first learning rate", low=0.0)
    learning_rate_decay: float = key(0.1, "factor of the learning rate between two phases", low=0.0)
    step_sizes: list[int] = key([150000, 150000, 100000], "lengths of the phases in iterations", low=1)
    max_iter: int = key(400000, "training ends at this iteration, whatever `epoch` says", low=1)
    weight_decay: float = key(0.0001, "L2 on convolutions and the classifier, their biases included", low=0.0)
    weight_decay_bn: float = key(0.0, "L2 on the scale and shift of batch norm", low=0.0)
    momentum: float = key(0.9, "momentum", low=0.0, high=1.0)
    nesterov: bool = key(True, "Nesterov's form of momentum")
    reference_batch_size: Optional[int] = key(
        None, "linear rule: the recipe is written for this batch; rate x batch / it, iterations x it / batch", low=1
    )
    schedule: str = key(
        "steps", "how the learning rate falls: step_sizes, or half a cosine", choices=("steps", "cosine")
    )
    warmup_iterations: int = key(0, "the learning rate grows linearly over so many first iterations", low=0)
    accumulation_steps: int = key(1, "a batch is computed in so many pieces, their gradients added", low=1)
    clip_gradient_norm: Optional[float] = key(
        None, "a longer gradient (norm over all parameters) is cut to it", low=0.0
    )
    label_smoothing: float = key(0.0, "fraction of each target spread evenly over all classes", low=0.0, high=0.999)
    mixup_alpha: float = key(0.0, "clips are blended in pairs, the ratio from Beta(alpha, alpha); 0 disables", low=0.0)
    cutmix_alpha: float = key(0.0, "a box of another clip is pasted, area from Beta(alpha, alpha); 0 disables", low=0.0)
    ema_decay: float = key(0.0, "of the weights' average, which is evaluated and published; 0: none", low=0.0, high=1.0)
    precise_bn_batches: int = key(
        0, "training batches for norm statistics before an evaluation; 0: running ones", low=0
    )
    sync_bn: bool = key(False, "norm statistics over the clips of all GPUs in place of each GPU's own")
    freeze: Optional[list[str]] = key(None, "layers that are not trained, by the start of their names: [stem, res2]")
    freeze_norms: bool = key(False, "norms keep their statistics, scale and shift")
    trunk_learning_rate_factor: float = key(1.0, "of the learning rate, for all but the classifier", low=0.0)
    recompute: bool = key(False, "activations of a block are computed again for its gradients: less memory, more time")
    amp: str = key("float32", "mixed precision on GPUs: its narrow type", choices=("float32", "bfloat16", "float16"))
    graph: str = key("dynamic", "static: train through a compiled graph", choices=("dynamic", "static"))
    checkpoint_interval: int = key(0, "iterations between two checkpoints inside an epoch; 0: none there", low=0)
    keep_checkpoints: int = key(3, "newest epoch checkpoints that are kept; 0: all", low=0)
    seed: int = key(0, "of --fix_random_seed True: first weights, order, crops, dropout", low=0)


@dataclass
class Valid:
    """The evaluation during training: one centre crop a video."""

    num_reader_threads: int = key(8, "reading processes; never more than the machine's cores", low=0)
    batch_size: int = key(64, "clips in a step, over all processes together", low=1)
    filelist: str = key("./data/dataset/nonlocal/vallist.txt", "validation list, `path label` a line")
    crop_size: int = key(224, "side of the centre crop, pixels", low=16)
    sample_rate: int = key(8, "frames between two sampled frames", low=1)
    video_length: int = key(8, "frames of a clip", low=1)
    jitter_scales: list[int] = key([256, 320], "the first one is the short side, pixels", low=16)


@dataclass
class Views:
    """What TEST and INFER share."""

    checkpoint_dir: str = key(CHECKPOINT_DIR, "searched for NONLOCAL.pdparams when --weights is omitted")
    crop_size: int = key(256, "side of a view, pixels", low=16)
    sample_rate: int = key(8, "frames between two sampled frames", low=1)
    video_length: int = key(8, "frames of a clip", low=1)
    jitter_scales: list[int] = key([256, 256], "the short side, pixels; both numbers are equal", low=16)
    num_test_clips: int = key(30, "views of a video: a third as many clips, three crops each", low=3)
    use_multi_crop: int = key(1, "1: three crops; 2: their mirror images too", low=1, high=2)


@dataclass
class Test(Views):
    """The test protocol of eval.py."""

    num_reader_threads: int = key(8, "reading processes; never more than the machine's cores", low=0)
    batch_size: int = key(4, "views in a step", low=1)
    filelist: str = key("./data/dataset/nonlocal/testlist.txt", "`path label` a line, or the zoo's four columns")
    filename_gt: str = key("./data/dataset/nonlocal/vallist.txt", "labels of the four columns, by line number")
    dataset_size: Optional[int] = key(None, "videos expected in the list; another number prints a warning", low=1)


@dataclass
class Infer(Views):
    """The clips of predict.py and export.py."""

    num_reader_threads: int = key(1, "reading processes; never more than the machine's cores", low=0)
    batch_size: int = key(1, "views in a step", low=1)
    filelist: str = key("./data/dataset/nonlocal/inferlist.txt", "videos to predict, one a line")
    video_path: str = key("", "a video or a folder to predict; --video_path overrides it")
    kinetics_labels: str = key("", "the zoo's key for MODEL.class_names; used for prediction when set")


@dataclass
class Reader:
    """How video files are read."""

    decoder: str = key("pyav", "decoder; pyav is the exact one", choices=("pyav", "decord", "opencv"))
    seconds_per_video: float = key(60.0, "time limit for reading a video, after which it counts as broken", low=0.1)
    folder_fps: float = key(12.0, "frames a second of folders of JPEG frames, which do not say it", low=0.01, high=1000)
    modality: str = key(
        "rgb",
        "rgb, or flow: optical flow of 2 channels in [-1, 1], for which INPUT.channels is 2, mean 0 and std 1",
        choices=("rgb", "flow"),
    )
    frame_rate: Optional[float] = key(
        None,
        "videos are first resampled to so many frames a second, the frames nearest in time; none: all frames",
        low=1.0,
        high=1000.0,
    )
    flow_method: str = key(
        "dis",
        "tvl1: of published networks, slow, needs opencv-contrib; dis, dis_fast; farneback",
        choices=("tvl1", "dis", "dis_fast", "farneback"),
    )
    flow_bound: float = key(20.0, "flow is cut to so many pixels and divided by it", low=0.1, high=1000.0)
    flow_short_side: int = key(256, "short side of the frames between which flow is computed, pixels", low=16)
    flow_cache: str = key("", "folder of flow that tools/extract_flow.py wrote; empty: computed while reading")
    max_broken_share: float = key(0.05, "a larger fraction of broken videos stops training", low=0.0, high=1.0)


@dataclass
class Config:
    """A resolved configuration: every key holds the value that is used."""

    MODEL: Model = dataclasses.field(default_factory=Model)
    INPUT: Input = dataclasses.field(default_factory=Input)
    RESNETS: Resnets = dataclasses.field(default_factory=Resnets)
    NONLOCAL: Nonlocal = dataclasses.field(default_factory=Nonlocal)
    TRAIN: Train = dataclasses.field(default_factory=Train)
    VALID: Valid = dataclasses.field(default_factory=Valid)
    TEST: Test = dataclasses.field(default_factory=Test)
    INFER: Infer = dataclasses.field(default_factory=Infer)
    READER: Reader = dataclasses.field(default_factory=Reader)
    DETECTION: Detection = dataclasses.field(default_factory=Detection)


# What INPUT's keys are called in the sections of the phases, which the zoo's configurations fill.
PHASES = ("TRAIN", "VALID", "TEST", "INFER")
PHASE_KEYS = {
    "num_frames": "video_length",
    "frame_stride": "sample_rate",
    "crop_size": "crop_size",
    "scales": "jitter_scales",
}
# What INPUT's keys are where READER.modality is flow.
FLOW_INPUT = {"channels": 2, "mean": [0.0, 0.0], "std": [1.0, 1.0]}
# What makes flow the same numbers -> the key of READER that says it.
FLOW_SETTINGS = {
    "method": "flow_method", "bound": "flow_bound", "short_side": "flow_short_side", "frame_rate": "frame_rate"
}  # fmt: skip
# Sections of a `Config` that only some families of networks read (models.FAMILIES says which).
NETWORK_SECTIONS = ("RESNETS", "NONLOCAL")


@dataclass(frozen=True)
class OldKey:
    """A key of the zoo's, or of an earlier version's, that now has another name: its value is stored there.

    target: (section, key); None: the value must agree with the others and is not stored. kind, limits: what is legal.
    """

    target: tuple[str, str] | None
    kind: Any
    limits: dict[str, Any]
    convert: Callable[[Any], Any] = lambda value: value


OLD_KEYS = {
    ("MODEL", "video_arc_choice"): OldKey(
        ("MODEL", "arch"), int,
        limits_of(f"1 to 4: {', '.join(ARCHS)}", low=1, high=4), lambda number: [*ARCHS][number - 1],
    ),
    ("MODEL", "depth"): OldKey(
        None, Optional[int], limits_of("50 or 101; must not contradict MODEL.arch", low=50, high=101)
    ),
    ("MODEL", "image_mean"): OldKey(("INPUT", "mean"), float, limits_of("the mean of all channels")),
    ("MODEL", "image_std"): OldKey(("INPUT", "std"), float, limits_of("the deviation of all channels", low=1e-6)),
    ("TRAIN", "dropout_rate"): OldKey(
        ("MODEL", "dropout_rate"), float, limits_of("the same", low=0.0, high=0.999)
    ),
}  # fmt: skip

# section -> key -> (the usual value, its limits). Keys of the zoo's configurations that change nothing here: they are
# accepted and checked, but are no part of a `Config` and are not saved.
KEYS_WITHOUT_EFFECT: dict[str, dict[str, tuple[Any, dict[str, Any]]]] = {
    "RESNETS": {
        "trans_func": (
            "bottleneck_transformation_3d",
            limits_of("the residual branch; there is this one", choices=("bottleneck_transformation_3d",)),
        ),
    },
    "TRAIN": {
        "num_gpus": (8, limits_of("the recipe's GPUs; batch_size is the whole batch on any number of them", low=1)),
        "scale_momentum": (
            True,
            limits_of("always as with True: Paddle keeps the learning rate outside the momentum buffer"),
        ),
    },
}
