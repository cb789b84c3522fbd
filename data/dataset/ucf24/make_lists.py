"""Boxes and lists for UCF101-24, from the annotations that the authors of ACT published.

python data/dataset/ucf24/make_lists.py --pickle UCF101v2-GT.pkl --video_dir UCF-101
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from data.dataset.action_boxes import make_tube_lists
from utils.cli import run


def main() -> None:
    make_tube_lists(__doc__, Path(__file__).parent, num_splits=1)


if __name__ == "__main__":
    run(main)
