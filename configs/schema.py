"""Every configuration key with its type, default, meaning and range. The zoo's keys keep the zoo's names and defaults.

Sections are dataclasses: `config.TRAIN.batch_size` is a plain attribute. configs/loading.py reads files into them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Optional

from utils.folders import CHECKPOINT_DIR


def limits_of(
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple = (),
    may_be_empty: bool = False,
) -> dict[str, Any]:
    """What a key means, its closed range (of each item, for lists and dicts), its legal values, and whether a list may
    be empty."""
    return {"doc": doc, "low": low, "high": high, "choices": choices, "may_be_empty": may_be_empty}


def key(default: Any, doc: str, **rest: Any) -> Any:
    """A dataclass field with its default and the limits of `limits_of`."""
    limits = limits_of(doc, **rest)
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=limits)
    return dataclasses.field(default=default, metadata=limits)


@dataclass
class Model:
    name: str = key("NONLOCAL", "the model's name; NONLOCAL is the only one", choices=("NONLOCAL",))
    num_classes: int = key(400, "number of classes", low=2)
    image_mean: float = key(114.75, "subtracted from RGB values in 0..255")
    image_std: float = key(57.375, "the difference is divided by it", low=1e-6)
    depth: Optional[int] = key(
        None, "50 or 101; follows from video_arc_choice, must not contradict it", low=50, high=101
    )
    dataset: str = key("kinetics400", "names the class-name file data/dataset/nonlocal/<dataset>_labels.txt")
    class_names: str = key("", "file of class names (txt or the zoo's json); empty: by dataset")
    video_arc_choice: int = key(1, "1 C2D-R50, 2 I3D-R50, 3 C2D-R101, 4 I3D-R101", low=1, high=4)
    use_affine: bool = key(False, "frozen scale and shift in place of batch norm, in the trunk")
    fc_init_std: float = key(0.01, "standard deviation of the classifier's first weights", low=0.0)
    bn_momentum: float = key(0.9, "share of the old running statistics kept at each step", low=0.0, high=1.0)
    bn_epsilon: float = key(1.0e-5, "added to the variance", low=0.0)
    bn_init_gamma: float = key(0.0, "first scale of the last norm of each residual branch")
    stem_temporal_stride: int = key(1, "temporal stride of conv1 (2 in the 32x2 and 128x1 models)", low=1)
    stem_pool_temporal_kernel: int = key(1, "temporal kernel of pool1 (2 in the 32x2 and 128x1 models)", low=1)
    stem_pool_temporal_stride: int = key(1, "temporal stride of pool1 (2 in the 32x2 and 128x1 models)", low=1)
    stem_pool_padding: int = key(0, "spatial padding of pool1 (1 in PySlowFast, torchvision)", low=0, high=1)
    temporal_pool: bool = key(True, "pool2, which halves the frames after res2")
    head_pool_size: Optional[int] = key(
        None, "side of the last average pool; none: res5's side for TRAIN.crop_size; 0: all", low=0
    )
    multi_label: bool = key(False, "several classes a video: sigmoid, binary cross-entropy, mean average precision")
    head_average: str = key(
        "probabilities", "what is averaged over output positions", choices=("probabilities", "logits")
    )


@dataclass
class Resnets:
    num_groups: int = key(1, "groups of conv_b (ResNeXt when above 1)", low=1)
    width_per_group: int = key(64, "channels of a group inside res2's bottlenecks; doubles with each stage", low=1)
    stem_channels: int = key(64, "channels of conv1", low=1)
    res2_channels: int = key(256, "output channels of res2; doubles with each stage", low=1)
    blocks_per_stage: Optional[list[int]] = key(None, "blocks of res2..res5 in place of the depth's own", low=1)


@dataclass
class Nonlocal:
    bn_momentum: float = key(0.9, "share of the old running statistics kept at each step", low=0.0, high=1.0)
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
class Train:
    epoch: int = key(120, "passes over the training list at most", low=1)
    num_reader_threads: int = key(8, "reading processes; never more than the machine's cores", low=0)
    batch_size: int = key(64, "clips in a step, over all processes together", low=1)
    filelist: str = key("./data/dataset/nonlocal/trainlist.txt", "training list, `path label` a line")
    crop_size: int = key(224, "side of the crop, pixels", low=16)
    sample_rate: int = key(8, "frames between two sampled frames", low=1)
    video_length: int = key(8, "frames of a clip", low=1)
    jitter_scales: list[int] = key([256, 320], "range of the short side, pixels, both ends included", low=16)
    mirror: bool = key(True, "mirror half of the clips; False where left and right are the label")
    dropout_rate: float = key(0.5, "share of features dropped in front of the classifier", low=0.0, high=0.999)
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
    label_smoothing: float = key(0.0, "share of each target spread evenly over all classes", low=0.0, high=0.999)
    mixup_alpha: float = key(0.0, "clips are blended in pairs, the share from Beta(alpha, alpha); 0: not", low=0.0)
    cutmix_alpha: float = key(0.0, "a box of another clip is pasted, area from Beta(alpha, alpha); 0: not", low=0.0)
    ema_decay: float = key(0.0, "of the weights' average, which is evaluated and published; 0: none", low=0.0, high=1.0)
    precise_bn_batches: int = key(
        0, "training batches for norm statistics before an evaluation; 0: running ones", low=0
    )
    sync_bn: bool = key(False, "norm statistics over the clips of all GPUs in place of each GPU's own")
    freeze: Optional[list[str]] = key(None, "layers that are not trained, by the start of their names: [stem, stage2]")
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

    checkpoint_dir: str = key(CHECKPOINT_DIR, "searched for NONLOCAL.pdparams when --weights is left out")
    crop_size: int = key(256, "side of a view, pixels", low=16)
    sample_rate: int = key(8, "frames between two sampled frames", low=1)
    video_length: int = key(8, "frames of a clip", low=1)
    jitter_scales: list[int] = key([256, 256], "the short side, pixels; both numbers are equal", low=16)
    num_test_clips: int = key(30, "views of a video: a third as many clips, three crops each", low=3)
    use_multi_crop: int = key(1, "1: three crops; 2: their mirror images too", low=1, high=2)


@dataclass
class Test(Views):
    num_reader_threads: int = key(8, "reading processes; never more than the machine's cores", low=0)
    batch_size: int = key(4, "views in a step", low=1)
    filelist: str = key("./data/dataset/nonlocal/testlist.txt", "`path label` a line, or the zoo's four columns")
    filename_gt: str = key("./data/dataset/nonlocal/vallist.txt", "labels of the four columns, by line number")
    dataset_size: Optional[int] = key(None, "videos expected in the list; a difference is told", low=1)


@dataclass
class Infer(Views):
    num_reader_threads: int = key(1, "reading processes; never more than the machine's cores", low=0)
    batch_size: int = key(1, "views in a step", low=1)
    filelist: str = key("./data/dataset/nonlocal/inferlist.txt", "videos to predict, one a line")
    video_path: str = key("", "a video or a folder to predict; --video_path goes before it")
    kinetics_labels: str = key("", "the zoo's key for MODEL.class_names; used for prediction when set")


@dataclass
class Reader:
    decoder: str = key("pyav", "who decodes; pyav is the exact one", choices=("pyav", "decord", "opencv"))
    seconds_per_video: float = key(60.0, "a video that takes longer is given up and named", low=0.1)
    max_broken_share: float = key(0.05, "a larger share of broken videos stops training", low=0.0, high=1.0)


@dataclass
class Config:
    MODEL: Model = dataclasses.field(default_factory=Model)
    RESNETS: Resnets = dataclasses.field(default_factory=Resnets)
    NONLOCAL: Nonlocal = dataclasses.field(default_factory=Nonlocal)
    TRAIN: Train = dataclasses.field(default_factory=Train)
    VALID: Valid = dataclasses.field(default_factory=Valid)
    TEST: Test = dataclasses.field(default_factory=Test)
    INFER: Infer = dataclasses.field(default_factory=Infer)
    READER: Reader = dataclasses.field(default_factory=Reader)


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
