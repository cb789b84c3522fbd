"""Folders that several scripts share."""

from __future__ import annotations

# train.py writes its checkpoints here; eval.py, predict.py and export.py take weights from here by default
CHECKPOINT_DIR = "./data/checkpoints"
# `checkpoint_dir` in the zoo's configurations and in ours of earlier versions, where train.py never wrote by default
ZOO_CHECKPOINT_DIR = "./output"
