"""Videos in, classes, segments or features out. Importing this does not import Paddle.

backends.py      what turns clips into scores: `build_backend`
export.py        exports of a network and their comparison with it; cache.py keeps them on disk
export_files.py  export.py, the script: an export as files for other programs
evaluate.py      eval.py, the script; two_streams.py: eval.py and predict.py with an RGB and a flow network
predict.py       predict.py, the script: classify.py, segment.py, features.py; overlay.py draws segments on a video
attention.py     what a non-local block attends to in a clip
"""

from __future__ import annotations

from inference.backends import Backend, BackendSpec, add_backend_flags, build_backend, score_views, view_outputs

__all__ = ["Backend", "BackendSpec", "add_backend_flags", "build_backend", "score_views", "view_outputs"]
