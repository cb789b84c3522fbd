"""Boxes and lists for JHMDB, from the annotations that the authors of ACT published.

python data/dataset/jhmdb/make_lists.py --pickle JHMDB-GT.pkl --split 1 --video_dir JHMDB/ReCompress_Videos
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from data.dataset.action_boxes import make_tube_lists
from utils.cli import run


def main() -> None:
    make_tube_lists(__doc__, Path(__file__).parent, num_splits=3)


if __name__ == "__main__":
    run(main)
