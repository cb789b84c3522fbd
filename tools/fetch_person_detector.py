"""Fetch the person detector once: python tools/fetch_person_detector.py

SSD-MobileNetV2 with 24 classes of Open Images V4, by Google, Apache-2.0; it lies inside the npm package
@mediapipe/objectron. `npm pack` fetches the package (33 MB); without npm pass it with --file, or the .tflite file.
What was fetched is checked by its SHA-256, and its weights are written to person_detector.pdparams in
$PADDLE_NONLOCAL_HOME, else ~/.paddle/weights.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from inference.person_detector import detector_file  # noqa: E402 - the tool is started as a file
from utils.cli import Parser, run  # noqa: E402
from utils.errors import RunError, UserError  # noqa: E402
from utils.files import write_text  # noqa: E402

PACKAGE = "@mediapipe/objectron@0.4.1675468480"
NPM_SECONDS = 900  # that fetching the package may take
MEMBER = "package/objectron_solution_packed_assets.data"
BEGIN, END = 184, 9_987_912  # of the .tflite file in the member
SHA256 = "d0a5255bf8c4f5a0bc4240741a76c41d5e939f7655078f945f50ab53a9375da6"  # of the .tflite file
NOTICE = f"""SSD-MobileNetV2 object detector of MediaPipe Objectron, from the npm package {PACKAGE}.
Copyright The MediaPipe Authors, licensed under the Apache License 2.0: https://www.apache.org/licenses/LICENSE-2.0
Trained by Google on Open Images V4. The weights were converted to another format and not changed otherwise.
"""


def main() -> None:
    parser = Parser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--file", help="the npm package (.tgz) or the .tflite file, in place of a download")
    args = parser.parse_args()
    try:
        import tflite  # noqa: F401
    except ImportError as error:
        raise UserError('reading the file needs the package tflite: pip install ".[detect]"') from error
    if args.file:
        data = read_model(Path(args.file))
    else:
        with tempfile.TemporaryDirectory() as folder:
            data = read_model(fetch_package(Path(folder)))
    arrays = convert(data)
    from weights import save_weights

    target = detector_file()
    save_weights(target, arrays)
    write_text(target.with_name(f"{target.stem}.NOTICE.txt"), NOTICE)
    print(f"the person detector is in {target} (Apache-2.0, see the notice beside it)")


def fetch_package(folder: Path) -> Path:
    """The package's file, fetched by npm. Raises UserError without npm, RunError when it cannot be fetched."""
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(
            f"there is no npm to fetch {PACKAGE} with; install it, or fetch the package elsewhere and pass --file"
        )
    try:
        done = subprocess.run(
            [npm, "pack", PACKAGE, "--silent"], cwd=folder, capture_output=True, text=True, errors="replace",
            check=False, stdin=subprocess.DEVNULL, timeout=NPM_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise RunError(
            f"npm has not fetched {PACKAGE} within {NPM_SECONDS} s; fetch it elsewhere and pass --file"
        ) from None
    files = list(folder.glob("*.tgz"))
    if done.returncode or len(files) != 1:
        cause = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise RunError(f"npm cannot fetch {PACKAGE}: {cause}; fetch it elsewhere and pass --file")
    return files[0]


def read_model(path: Path) -> bytes:
    """The .tflite file, taken out of the package where it is one. Raises UserError for anything else."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    if data[:2] == b"\x1f\x8b":
        try:
            with tarfile.open(fileobj=io.BytesIO(data)) as archive:
                member = archive.extractfile(MEMBER)
                data = member.read()[BEGIN:END] if member else b""
        except (tarfile.TarError, zlib.error, KeyError, EOFError, OSError) as error:
            raise UserError(f"{path} is not the package {PACKAGE}: {error}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != SHA256:
        raise UserError(f"{path} is not the detector of {PACKAGE} (SHA-256 {found[:12]}..., expected {SHA256[:12]}...)")
    return data


def convert(data: bytes) -> dict[str, np.ndarray]:
    """The tensors of SsdMobileNetV2 by name, from the checked .tflite file: its convolutions, in order.

    Values that float16 holds exactly, as most of the published ones, are float16.
    """
    import tflite

    from models.person_detector import SsdMobileNetV2

    graph = tflite.Model.GetRootAsModel(data, 0)
    main_graph = graph.Subgraphs(0)
    sources = {}  # of tensors that are made from float16 constants
    convolutions = []
    for operator in map(main_graph.Operators, range(main_graph.OperatorsLength())):
        code = graph.OperatorCodes(operator.OpcodeIndex())
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if kind == tflite.BuiltinOperator.DEQUANTIZE:
            sources[operator.Outputs(0)] = operator.Inputs(0)
        elif kind in (tflite.BuiltinOperator.CONV_2D, tflite.BuiltinOperator.DEPTHWISE_CONV_2D):
            convolutions.append([sources.get(operator.Inputs(k), operator.Inputs(k)) for k in (1, 2)])

    def constant(number: int) -> np.ndarray:
        tensor = main_graph.Tensors(number)
        dtype = {tflite.TensorType.FLOAT16: np.float16, tflite.TensorType.FLOAT32: np.float32}[tensor.Type()]
        values = graph.Buffers(tensor.Buffer()).DataAsNumpy().tobytes()
        return np.frombuffer(values, dtype).astype(np.float32).reshape(tensor.ShapeAsNumpy())

    network = SsdMobileNetV2()
    names = {id(layer): name for name, layer in network.named_sublayers()}
    arrays = {}
    for layer, (weight, bias) in zip(network.convolutions(), convolutions):
        kernel = constant(weight)  # [out, h, w, in], of a depthwise one [1, h, w, channels]
        kernel = kernel.transpose(0, 3, 1, 2) if kernel.shape[0] > 1 else kernel.transpose(3, 0, 1, 2)
        if list(kernel.shape) != layer.weight.shape:
            raise RunError(f"{names[id(layer)]}: {list(kernel.shape)} in the file, {layer.weight.shape} in the network")
        for name, array in (("weight", kernel), ("bias", constant(bias))):
            narrow = array.astype(np.float16)
            arrays[f"{names[id(layer)]}.{name}"] = narrow if (narrow == array).all() else np.ascontiguousarray(array)
    return arrays


if __name__ == "__main__":
    run(main)
