"""Writes the stored weight files of tests/golden: `python tests/golden/make_weight_files.py [FOLDER]`

Run with the program of commit 397e095, before weights/ was rebuilt; run again only into another FOLDER. own/ is what
train.py wrote there in three iterations on drawn videos. The others have the form of their programs (tests/
source_networks.py, tests/weight_files.py). weights.json says for each how it is loaded and the checksum of the result.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from configs import load_config  # noqa: E402 - the script is started as a file
from models import build_model  # noqa: E402
from tests import s3d_sources  # noqa: E402
from tests import source_networks as networks  # noqa: E402
from tests.script_runs import make_videos, tiny_config, write_list  # noqa: E402
from tests.weight_files import fluid_record, python2_pickle, write_bundle, write_tar, write_torch_zip  # noqa: E402

TINY = {"stem_channels": 1, "res2_channels": 4, "width_per_group": 1, "blocks_per_stage": [2, 1, 1, 1]}
KEYS = [f"RESNETS.{name}={value}" for name, value in TINY.items()]
PLACES = {2: (1,)}
RUN = ["TRAIN.max_iter=3", "TRAIN.ema_decay=0.9", "NONLOCAL.positions={res2: [1]}"]


def checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, types, shapes and numbers, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def loaded_arrays(
    path: Path, keys: Iterable[str], partial: bool, config: str = "configs/nonlocal.yaml"
) -> dict[str, np.ndarray]:
    """What loading the file into a network of these keys sets; the tensors that keep the network's values are not in
    it.
    """
    from weights import load_weights

    model = build_model(load_config(config, list(keys)))
    report = load_weights(model, path, partial=partial)
    kept = {name.split(" ")[0] for name in report.reinitialised}
    return {name: tensor.numpy() for name, tensor in model.state_dict().items() if name not in kept}


def foreign_files(folder: Path) -> dict[str, dict]:
    """Write one file of each program and container; returns how each is loaded."""
    networks.BLOCKS[17] = (2, 1, 1, 1)
    blocks = ["NONLOCAL.positions={res2: [1]}", "MODEL.num_classes=3"]
    plain = ["NONLOCAL.num_blocks=0", "MODEL.num_classes=3"]
    i3d = ["MODEL.video_arc_choice=2"]
    entries: dict[str, dict] = {}

    def add(file: str, keys: list[str], partial: bool = False) -> Path:
        entries[file] = {"keys": [*KEYS, *keys], "partial": partial}
        return folder / file

    def tensors(source, inflated: bool = False, places=PLACES, classes: int = 3) -> dict[str, np.ndarray]:
        arrays = source.tensors(inflated, 17, places, width=1, classes=classes)
        for name, array in arrays.items():  # few digits, so that a repository stores them in few bytes
            arrays[name] = np.float32(np.round(array * 64) / 64)
        return arrays

    caffe2 = tensors(networks.caffe2(), inflated=True)
    momentum = {f"{name}_momentum": array for name, array in list(caffe2.items())[:2]}
    content = python2_pickle({**caffe2, **momentum, "lr": np.float32(0.01)}, b"U\x0amodel_iterJ\1\0\0\0")
    add("caffe2.pkl", [*blocks, *i3d]).write_bytes(content)
    frozen = tensors(networks.caffe2(norm_tensors=("_s", "_b"), block_norm=None))
    keys = ["MODEL.use_affine=True", "NONLOCAL.use_bn=False", "NONLOCAL.use_zero_init_conv=True"]
    add("caffe2_frozen.pkl", [*blocks, *keys]).write_bytes(python2_pickle(frozen, wrapper=""))
    detector = tensors(networks.caffe2(norm_tensors=("_s", "_b"), padding=1, is_detector=True), inflated=True)
    keys = ["MODEL.use_affine=True", "NONLOCAL.use_affine=True", "MODEL.task=detection", "MODEL.multi_label=True"]
    add("caffe2_detector.pkl", [*blocks, *i3d, *keys]).write_bytes(python2_pickle(detector))
    fluid = tensors(networks.paddle_fluid())
    write_tar(add("paddle_fluid.tar.gz", blocks), {f"zoo/{name}": fluid_record(a) for name, a in fluid.items()})
    slowfast = tensors(networks.slowfast(), inflated=True)
    write_torch_zip(add("slowfast.pyth", [*blocks, *i3d]), slowfast, "model_state", b"X\3\0\0\0cfgX\4\0\0\0A: 1")
    write_torch_zip(add("mmaction2.pth", [*blocks, *i3d]), tensors(networks.mmaction2(), True), "state_dict")
    pytorchvideo = tensors(networks.pytorchvideo(), True, {})
    write_torch_zip(add("pytorchvideo.pyth", [*plain, *i3d]), pytorchvideo, "model_state")
    earlier = {"blocks.3": "blocks.2", "blocks.4": "blocks.3", "blocks.5": "blocks.4", "blocks.6": "blocks.5"}
    nopool = {earlier.get(n[:8], n[:8]) + n[8:]: array for n, array in pytorchvideo.items()}
    write_torch_zip(add("pytorchvideo_nopool.pyth", [*plain, *i3d]), nopool, "model_state")
    images = tensors(networks.image_network(), places={}, classes=4)
    write_torch_zip(add("torchvision.pth", [*plain, *i3d], partial=True), images)
    save_file(images, add("torchvision.safetensors", [*plain, *i3d], partial=True))
    paddle_images = tensors(networks.image_network(is_paddle=True), places={}, classes=4)
    path = add("paddle_vision.pdparams", [*plain, *i3d], partial=True)
    path.write_bytes(pickle.dumps({**paddle_images, "StructuredToParameterName@@": {}}, 4))
    return entries


def own_files(folder: Path) -> dict[str, dict]:
    """A run of train.py: its published weights and a checkpoint; and the weights in PyTorch's form."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        videos = make_videos(work / "videos", 4, 3)
        config = tiny_config(work, write_list(work / "list.txt", videos))
        sections = yaml.safe_load(config.read_text(encoding="utf-8"))
        sections["RESNETS"] = TINY
        config.write_text(yaml.safe_dump(sections), encoding="utf-8")
        command = [sys.executable, "train.py", f"--config={config}", f"--save_dir={work / 'run'}", "--valid_interval=0"]
        command += ["--fix_random_seed=True", *(part for key in RUN for part in ("-o", key))]
        subprocess.run(command, check=True, cwd=HERE.parents[1])
        (folder / "own").mkdir()
        last = max((work / "run").glob("NONLOCAL_*.json"), key=os.path.getmtime).stem
        for name in ("NONLOCAL.pdparams", *(f"{last}{suffix}" for suffix in (".json", ".pdopt", ".pdparams"))):
            shutil.copy(work / "run" / name, folder / "own" / name)
        state = folder / "own" / f"{last}.json"
        state.write_text(state.read_text(encoding="utf-8").replace(f"{work}/", "data/tiny/"), encoding="utf-8")
    keys = [*KEYS, *RUN[2:], "MODEL.num_classes=3", "MODEL.video_arc_choice=2"]
    entries = {f"own/{name}.pdparams": {"keys": keys, "partial": False} for name in ("NONLOCAL", last)}
    for suffix in ("npz", "safetensors"):
        target = folder / f"torch_form.{suffix}"
        tool = [sys.executable, "tools/convert_weights.py", str(folder / "own/NONLOCAL.pdparams"), str(target)]
        subprocess.run([*tool, "--to=torch", "--quiet"], check=True, cwd=HERE.parents[1])
        entries[target.name] = {"keys": keys, "partial": False}
    return entries


def s3d_files(folder: Path) -> dict[str, dict]:
    """A file of each program with networks of the S3D family; written by the first version that had it."""
    entries: dict[str, dict] = {}
    narrow = ["S3D.width=0.05", "MODEL.num_classes=3"]

    def add(file: str, *keys: str, partial: bool = False) -> Path:
        entries[file] = {"config": "configs/s3d.yaml", "keys": [*narrow, *keys], "partial": partial}
        return folder / file

    def tensors(source, **keys) -> dict[str, np.ndarray]:
        arrays = source.tensors(0.05, 3, **keys)
        return {name: np.float32(np.round(array * 8) / 8) for name, array in arrays.items()}

    def write_archive(path: Path, arrays) -> None:  # a weight file in a tar.gz is read as it is
        with tempfile.TemporaryDirectory() as temporary:
            file = write_torch_zip(Path(temporary) / "w.pth", arrays)
            write_tar(path, {file.name: file.read_bytes()})

    symmetric, i3d = "S3D.padding=symmetric", "MODEL.arch=i3d_inception"
    write_archive(add("torchvision_s3d.tar.gz", symmetric), tensors(s3d_sources.TORCHVISION))
    write_archive(add("kylemin.tar.gz", symmetric), tensors(s3d_sources.KYLEMIN))
    write_archive(add("piergiaj.tar.gz", i3d), tensors(s3d_sources.PIERGIAJ))
    write_archive(add("hassony2.tar.gz", i3d), tensors(s3d_sources.HASSONY2))
    write_archive(add("howto100m.tar.gz", "MODEL.arch=s3d_g_howto100m"), tensors(s3d_sources.HOWTO100M))
    np.savez_compressed(add("gluoncv.npz", i3d, symmetric), **tensors(s3d_sources.GLUONCV))
    write_bundle(add("deepmind.index", i3d).with_suffix(""), tensors(s3d_sources.deepmind()))
    np.savez_compressed(add("slim.npz", "MODEL.arch=s3d_g_slim"), **tensors(s3d_sources.slim()))
    write_archive(add("googlenet.tar.gz", partial=True), tensors(s3d_sources.GOOGLENET, is_image=True))
    return entries


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "weights"
    folder.mkdir(parents=True)
    entries = {**own_files(folder), **foreign_files(folder), **s3d_files(folder)}
    for file, entry in entries.items():
        arrays = loaded_arrays(folder / file, **entry)
        entry.update(tensors=len(arrays), sha256=checksum(arrays))
    rows = (f" {json.dumps(file)}: {json.dumps(entry)}" for file, entry in entries.items())
    with open(folder / "weights.json", "w", encoding="ascii") as stream:
        stream.write("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    main()
