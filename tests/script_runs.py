"""Running train.py, eval.py and predict.py inside the test process, on tiny videos and a tiny network."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import yaml

from tests.video_factory import draw_frames, write_video
from utils.cli import run

ROOT = Path(__file__).resolve().parents[1]


def run_script(monkeypatch, name: str, *flags: object) -> int:
    """The exit status of `python NAME.py FLAGS...`."""
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, flags)])
    try:
        run(importlib.import_module(name).main)
    except SystemExit as ending:
        return 0 if ending.code is None else ending.code
    return 0


def make_videos(folder: Path, num_videos: int, num_classes: int) -> list[tuple[Path, int]]:
    """Videos of 20 frames and more, and their labels in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    videos = []
    for number in range(num_videos):
        path = folder / f"video {number} 视频.mp4"
        write_video(path, draw_frames(20 + 3 * number, height=48, width=64, hue=number % 6))
        videos.append((path, number % num_classes))
    return videos


def write_list(path: Path, videos: list[tuple[Path, int]]) -> Path:
    path.write_text("".join(f"{video} {label}\n" for video, label in videos), encoding="utf-8")
    return path


def tiny_config(folder: Path, filelist: Path, num_classes: int = 3, **train: object) -> Path:
    """A configuration file for clips of 4 frames of 32 px and a network that computes in milliseconds."""
    names = folder / "class_names.txt"
    names.write_text("".join(f"class {i} 类\n" for i in range(num_classes)), encoding="utf-8")
    clip = {"crop_size": 32, "sample_rate": 2, "video_length": 4, "num_reader_threads": 0, "filelist": str(filelist)}
    sections = {
        "base": str(ROOT / "configs/nonlocal.yaml"),
        "MODEL": {"num_classes": num_classes, "class_names": str(names), "video_arc_choice": 2},
        "RESNETS": {"stem_channels": 4, "res2_channels": 8, "width_per_group": 4, "blocks_per_stage": [1, 2, 2, 1]},
        "TRAIN": {**clip, "jitter_scales": [36, 40], "batch_size": 2, "epoch": 2, "step_sizes": [100], **train},
        "VALID": {**clip, "jitter_scales": [36, 36], "batch_size": 4},
        "TEST": {**clip, "jitter_scales": [36, 36], "batch_size": 4, "num_test_clips": 6},
        "INFER": {**clip, "jitter_scales": [36, 36], "batch_size": 4, "num_test_clips": 6},
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(sections, allow_unicode=True), encoding="utf-8")
    return path


def two_stream_networks(folder: Path, filelist: Path) -> list[Path]:
    """The weights of an RGB and of a flow network of 3 classes, each with its config.yaml beside it."""
    from configs import load_config, save_config
    from models import build_model
    from tests.plain_network import randomized
    from weights import save_weights

    flow = ["READER.modality=flow", "READER.flow_method=dis_fast", "READER.flow_short_side=40", "TEST.sample_rate=1"]
    files = []
    for seed, (name, overrides) in enumerate({"rgb": [], "flow": flow}.items()):
        (folder / name).mkdir()
        config = load_config(tiny_config(folder / name, filelist), overrides)
        state = randomized(build_model(config), seed=seed).state_dict()
        arrays = {key: tensor.numpy() for key, tensor in state.items()}
        arrays["head.weight"] = arrays["head.weight"] * 0.02  # logits near 1: no class takes it all
        save_weights(folder / name / "w.pdparams", arrays)
        (folder / name / "config.yaml").write_text(save_config(config), encoding="utf-8")
        files.append(folder / name / "w.pdparams")
    return files


def tiny_network(folder: Path, num_videos: int) -> tuple[Path, Path, list[tuple[Path, int]]]:
    """A configuration file of 3 classes, a file of weights whose scores are near each other, and videos (list.txt)."""
    from configs import load_config
    from models import build_model
    from tests.plain_network import randomized
    from weights import save_weights

    videos = make_videos(folder / "videos", num_videos, 3)
    config = tiny_config(folder, write_list(folder / "list.txt", videos))
    state = randomized(build_model(load_config(config))).state_dict()
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    arrays["head.weight"] = arrays["head.weight"] * 0.02
    save_weights(folder / "weights.pdparams", arrays)
    return config, folder / "weights.pdparams", videos
