"""Judge detected actions against annotated ones: frame-mAP by AVA's or ACT's rules, video-mAP, recall of the boxes.

python tools/evaluate_detections.py --truth ava_val_v2.2.csv --detections mine.csv --protocol ava
    --label_map ava_action_list_v2.2_for_activitynet_2019.pbtxt --excluded ava_val_excluded_timestamps_v2.2.csv

The files may be any program's: csv in AVA's form, or with pixels and numbered frames (docs/detection.md).
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datareader.box_lists import (  # noqa: E402 - the tool is started as a file
    FrameIndex,
    read_detections,
    read_frame_list,
    read_label_map,
    read_truth,
)
from tasks.box_evaluation import MAX_PER_FRAME, NUM_DRAWS, PROTOCOLS, judge_boxes, report  # noqa: E402
from utils.cli import Parser, run  # noqa: E402
from utils.files import write_json  # noqa: E402


def main() -> None:
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--truth", required=True, help="csv of annotated boxes")
    parser.add_argument("--detections", required=True, help="csv of detected boxes with scores")
    parser.add_argument("--label_map", required=True, help="pbtxt of the classes that are judged")
    parser.add_argument("--excluded", help="csv of frames that are not judged, `video,second` a row")
    parser.add_argument(
        "--protocol", required=True, choices=PROTOCOLS,
        help="ava: as AVA's program; act: as ACT's and MOC's for JHMDB and UCF101-24, with video-mAP",
    )  # fmt: skip
    parser.add_argument(
        "--max_per_frame", type=int,
        help=f"highest-scored rows of a frame that are judged, with ava; 0: all (default: {MAX_PER_FRAME})",
    )  # fmt: skip
    parser.add_argument("--json", help="file for the result")
    args = parser.parse_args()
    if args.max_per_frame is not None and (args.max_per_frame < 0 or args.protocol != "ava"):
        parser.error("--max_per_frame is a number of 0 or more, with --protocol ava")
    index = FrameIndex()
    truth = read_truth(args.truth, index)
    detections = read_detections(args.detections, index)
    result = judge_boxes(
        truth, detections, index, read_label_map(args.label_map), args.protocol,
        read_frame_list(args.excluded, index) if args.excluded else (),
        MAX_PER_FRAME if args.max_per_frame is None else args.max_per_frame,
        NUM_DRAWS,
    )  # fmt: skip
    if args.json:
        files = {name: getattr(args, name) for name in ("truth", "detections", "label_map", "excluded")}
        write_json(args.json, {**result, **files})
    print(report(result))


if __name__ == "__main__":
    run(main)
