"""8-bit networks: made on real clips, close to the float network, refused where they do not belong."""

from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import pytest

from inference.backends import open_session, processor_has_bfloat16
from inference.quantization import _Notes
from tests.script_runs import run_script, tiny_network

pytest.importorskip("nncf", reason="nncf is not installed (the extra `quantize`)")
pytest.importorskip("openvino", reason="openvino is not installed (the extra `fast`)")
pytest.importorskip("paddle2onnx", reason="paddle2onnx is not installed (the extra `fast`)")
pytestmark = pytest.mark.skipif(
    pytest.importorskip("paddle").__version__ < "3", reason="paddle2onnx needs Paddle 3"
)  # fmt: skip


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    """A configuration, a file of weights with its 8-bit network beside it, and what making it printed."""
    folder = tmp_path_factory.mktemp("int8")
    config, weights, _ = tiny_network(folder, 12)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("inference.quantization.MAX_DROP", 0.5)  # giving operations back takes a minute
        assert export(monkeypatch, config, weights, folder / "list.txt") == 0
    return config, weights


def export(monkeypatch, config, weights, filelist):
    flags = [f"--config={config}", f"--weights={weights}", "--precision=int8", f"--calibration={filelist}"]
    return run_script(monkeypatch, "export", *flags)


def evaluate(monkeypatch, setup, folder, *flags):
    config, weights = setup
    return run_script(monkeypatch, "eval", f"--config={config}", f"--weights={weights}", f"--save_dir={folder}", *flags)


def test_scores_are_near_the_float_networks_and_not_the_same(monkeypatch, tmp_path, setup):
    for precision in ("float32", "int8"):
        flags = ["--backend=openvino", f"--precision={precision}"]
        assert evaluate(monkeypatch, setup, tmp_path / precision, *flags) == 0
    exact, found = (np.load(tmp_path / name / "scores.npz")["scores"] for name in ("float32", "int8"))
    difference = np.abs(found - exact).max(axis=1)
    assert 0 < difference.mean() < 0.5 * np.ptp(exact[:, 0])  # of random weights; trained ones differ much less
    result = json.loads((tmp_path / "int8/results.json").read_text())
    assert (result["backend"], result["precision"]) == ("openvino", "int8")
    facts = json.loads((setup[1].parent / "int8/facts.json").read_text())
    assert facts["num_calibration"] == facts["num_judged"] == 6 and facts["mean_difference"] <= facts["max_drop"]
    assert facts["calibration"].endswith("list.txt") and facts["nncf"] and isinstance(facts["floating_point"], list)


def test_operations_that_stay_in_floating_point_are_read_in_nncfs_log():
    notes = _Notes()
    for message in ("Reverted 1 operations to the floating-point precision: \n\tConv.0", "done"):
        notes.handle(logging.makeLogRecord({"msg": message}))
    assert notes.floating_point == []
    last = "2 out of 51 were reverted back to the floating-point precision:\n\tReduceMean.2\n\tConv.0"
    notes.handle(logging.makeLogRecord({"msg": last}))
    assert notes.floating_point == ["ReduceMean.2", "Conv.0"]


def test_processes_beside_each_other_are_not_bound_to_the_same_cores(setup):
    session = open_session("openvino", setup[1].parent / "int8", "int8", "cpu")
    assert session.compiled.get_property("ENABLE_CPU_PINNING") is False


def test_what_is_not_quantised_is_bfloat16_where_the_processor_has_it(setup):
    import openvino

    session = open_session("openvino", setup[1].parent / "int8", "int8", "cpu")
    expected = openvino.Type.bf16 if processor_has_bfloat16() else openvino.Type.f32
    assert session.compiled.get_property("INFERENCE_PRECISION_HINT") == expected


def test_convolutions_are_quantised_and_products_with_what_takes_their_results_are_not(setup):
    import openvino

    network = openvino.Core().read_model(str(setup[1].parent / "int8/net.xml"))
    quantized = {"FakeQuantize": 0, "MatMul": 0, "Convolution": 0}

    def touches(operation) -> set[str]:
        """Types of operations on the way from the operands to the takers of the result, past changes of shape."""
        found = set()
        for ends in (
            lambda op: [value.get_node() for value in op.input_values()],
            lambda op: [target.get_node() for target in op.output(0).get_target_inputs()],
        ):
            waiting = ends(operation)
            while waiting:
                other = waiting.pop()
                found.add(other.get_type_name())
                if other.get_type_name() in ("Reshape", "Transpose", "Multiply"):
                    waiting += ends(other)
        return found

    for operation in network.get_ordered_ops():
        kind = operation.get_type_name()
        if kind in quantized:
            quantized[kind] += kind == "FakeQuantize" or "FakeQuantize" in touches(operation)
    assert quantized["FakeQuantize"] and quantized["Convolution"] and not quantized["MatMul"], quantized


def test_auto_takes_it_and_predicts(monkeypatch, tmp_path, setup):
    config, weights = setup
    video = next((weights.parent / "videos").glob("*.mp4"))
    flags = [f"--config={config}", f"--weights={weights}", f"--video_path={video}", f"--save_dir={tmp_path}"]
    assert run_script(monkeypatch, "predict", *flags, "--precision=int8") == 0
    assert len(json.loads((tmp_path / "predictions.json").read_text())[0]["top"]) == 3


def copy_of(setup, tmp_path):
    config, weights = setup
    shutil.copy(weights, tmp_path)
    shutil.copytree(weights.parent / "int8", tmp_path / "int8")
    return config, tmp_path / weights.name


def test_what_does_not_belong_is_refused_in_one_line(monkeypatch, tmp_path, setup, capsys):
    config, weights = copied = copy_of(setup, tmp_path)
    facts = json.loads((tmp_path / "int8/facts.json").read_text())

    def refused(message, *flags, found=None, status=2):
        if found is not None:
            (tmp_path / "int8/facts.json").write_text(found)
        assert evaluate(monkeypatch, copied, tmp_path / "out", "--precision=int8", *flags) == status
        printed = capsys.readouterr().err
        assert message in printed and printed.count("\n") == 1, printed

    refused("runs in OpenVINO on CPUs", "--backend=onnxruntime")
    refused("is damaged", found="{")
    refused("is damaged", found="{}")
    refused("of other weights", found=json.dumps({**facts, "weights_sha256": "0" * 64}))
    refused("another number of frames", found=json.dumps({**facts, "num_frames": 5}))
    refused("not 4 x 32 x 32", found=json.dumps({**facts, "side_px": 64}))
    refused("computes other scores here", found=json.dumps({**facts, "check": [[0.0, 0.0, 1.0]]}), status=1)
    (tmp_path / "int8/net.xml").write_text("<net")
    refused("cannot load the exported network", found=json.dumps(facts), status=1)
    shutil.rmtree(tmp_path / "int8")
    refused("there is no")


def test_calibration_lists_are_checked_before_anything_is_written(monkeypatch, tmp_path, setup, capsys):
    config, weights = setup
    shutil.copy(weights, tmp_path)
    videos = sorted((weights.parent / "videos").glob("*.mp4"))
    (tmp_path / "few.txt").write_text("".join(f"{path} 0\n" for path in [*videos[:5], tmp_path / "missing.mp4"]))
    (tmp_path / "label.txt").write_text("".join(f"{path} 9\n" for path in videos))
    (tmp_path / "empty.txt").write_text("")
    for name, message in (
        ("few.txt", "5 readable videos; at least 10"),
        ("label.txt", "label"),
        ("empty.txt", "empty"),
        ("none.txt", "none.txt"),
    ):
        assert export(monkeypatch, config, tmp_path / "weights.pdparams", tmp_path / name) == 2
        assert message in capsys.readouterr().err
    assert run_script(monkeypatch, "export", f"--config={config}", f"--weights={weights}", "--precision=int8") == 2
    assert "go together" in capsys.readouterr().err
    assert not (tmp_path / "int8").exists()
