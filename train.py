"""Train a NONLOCAL network on a list of videos.

python train.py --config=./configs/nonlocal.yaml --save_dir=output/train
python -m paddle.distributed.launch --gpus=0,1 train.py --config=./configs/nonlocal.yaml --save_dir=output/train
"""

from __future__ import annotations

import argparse
import sys

from configs import config_from_args
from models import FAMILIES
from training.supervisor import supervise
from utils.cli import build_parser, parse_switch, positive_int, run
from utils.errors import UserError
from utils.files import CHECKPOINT_DIR
from utils.parallel import join_ranks, num_launched
from utils.runtime import choose_device, prepare_environment


def parse_args() -> argparse.Namespace:
    parser = build_parser(__doc__, save_dir=CHECKPOINT_DIR, log_interval=10, model_names=FAMILIES)
    parser.add_argument("--learning_rate", type=float, help="overrides the configuration's")
    parser.add_argument("--epoch", type=int, help="overrides the configuration's; at least 1")
    parser.add_argument(
        "--pretrain",
        help="file of weights to initialise from, or `imagenet` to download ImageNet's for the network's depth",
    )
    parser.add_argument(
        "--resume", help="resume from a checkpoint, a folder's newest good one, or --save_dir's (`auto`)"
    )
    parser.add_argument(
        "--restarts", type=positive_int, help="restart a failed run with --resume=auto, at most this many times"
    )
    parser.add_argument("--overwrite", action="store_true", help="delete the run in --save_dir and start a new one")
    parser.add_argument(
        "--valid_interval",
        type=int,
        default=1,
        help="epochs from one validation to the next; 0 disables them (default: %(default)s)",
    )
    parser.add_argument(
        "--fix_random_seed", type=parse_switch, default=False, help="True: TRAIN.seed; False: a new seed each run"
    )
    parser.add_argument("--amp", choices=("bfloat16", "float16"), help="mixed precision on a GPU (TRAIN.amp)")
    parser.add_argument("--graph", choices=("dynamic", "static"), help="static: a compiled graph (TRAIN.graph)")
    parser.add_argument("--is_profiler", type=parse_switch, default=False, help="profile the first steps")
    parser.add_argument("--profiler_path", default="./", help="folder for the profile (default: %(default)s)")
    parser.add_argument(
        "--no_memory_optimize",
        action="store_true",
        help="accepted for the zoo's scripts; Paddle no longer has the pass",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.restarts:
        if num_launched() > 1:
            raise UserError("--restarts supervises the launcher, not its processes; give it to `bash run.sh train`")
        return supervise([sys.executable, *sys.argv])
    config = config_from_args(args, ("TRAIN", "VALID"))
    prepare_environment()
    device = choose_device(args.use_gpu)
    ranks = join_ranks(device)
    print(f"training on {device}" + (f", {ranks.world_size} processes" if ranks.world_size > 1 else ""))
    if args.no_memory_optimize:
        print("--no_memory_optimize changes nothing: Paddle no longer has the pass it switched off")
    from training.trainer import Trainer

    trainer = Trainer(
        config,
        args.save_dir,
        ranks=ranks,
        pretrain=args.pretrain,
        resume=args.resume,
        overwrite=args.overwrite,
        seed=config.TRAIN.seed if args.fix_random_seed else None,
        log_interval=args.log_interval,
        valid_interval=args.valid_interval,
        profiler_path=args.profiler_path if args.is_profiler else None,
    )
    trainer.run()
    print(f"weights, log.jsonl, config.yaml, curves.png and VisualDL scalars are in {args.save_dir}")


if __name__ == "__main__":
    run(main)
