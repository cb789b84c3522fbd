"""Draw training clips as the network sees them, without training: python tools/visualize.py clips --config=FILE

The first clips of an epoch with its crops, mirrors and mixes, a row a clip, as one PNG. Where a video's pixels are not
square the clip is stretched to the shape in which players show it; the network is given the stored pixels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from configs import load_config
from utils.cli import Parser, positive_int
from utils.runtime import prepare_environment


def main(argv: list[str]) -> None:
    args = _parse(argv)
    config = load_config(args.config, args.override)
    prepare_environment()
    import numpy as np

    from datareader import build_train_loader, read_list
    from datareader.windows import read_pixel_aspect
    from tasks import build_task
    from training.augmentation import augment
    from utils.clip_sheets import clip_sheet, display_scale, write_picture

    train, task = config.TRAIN, build_task(config)
    items = read_list(train.filelist, config.MODEL.num_classes, multi_label=task.multi_label)
    train.batch_size = min(args.num_clips, len(items))
    loader = build_train_loader(config, items, seed=train.seed, num_workers=0)
    loader.set_position(args.epoch)
    batch = next(iter(loader))
    for failure in batch.failures:
        print(f"replaced a broken video: {failure.path}: {failure.reason}")
    rng = np.random.default_rng((train.seed, args.epoch * len(loader), 0))
    clips, _ = augment(batch.clips, task.targets(batch), train, rng)
    captions = [
        f"{','.join(map(str, labels))} {Path(items[i].path).name}" for labels, i in zip(batch.labels, batch.video_id)
    ]
    aspects = [read_pixel_aspect(loader.pool, items[i].path, loader.reader) for i in batch.video_id]
    stretches = [used.height * used.source_width / (used.width * used.source_height) for used in batch.transforms]
    aspects = [across / down * stretch for (across, down), stretch in zip(aspects, stretches)]
    write_picture(args.output, clip_sheet(clips, *display_scale(config), captions, aspects))
    print(f"{len(clips)} clips of {train.video_length} frames of {train.crop_size} px are in {args.output}")


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="visualize.py clips", description=__doc__, allow_abbrev=False)
    parser.add_argument("--config", required=True, help="YAML file of the training")
    parser.add_argument("--epoch", type=int, default=0, help="whose order and crops (default: %(default)s)")
    parser.add_argument("--num_clips", type=positive_int, default=8, help="rows of the picture (default: %(default)s)")
    parser.add_argument("--output", default="output/clips.png", help="where it goes (default: %(default)s)")
    parser.add_argument("-o", "--override", action="append", default=[], metavar="SECTION.KEY=VALUE")
    return parser.parse_args(argv)
