"""paddle.hub.load from a program that has modules of our packages' names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import sys

import utils  # before the load
import models
import paddle

path, weights = list(sys.path), sys.argv[2]


def load(name, **options):
    small = {"blocks_per_stage": (1, 2, 1, 1), "widths": {"stem_channels": 4, "res2_channels": 8, "inner_channels": 2}}
    positions = {"nonlocal_positions": {3: (0,)}} if name.startswith("nonlocal") else {}
    return paddle.hub.load(sys.argv[1], name, source="local", num_classes=3, **small, **positions, **options)


model = load("nonlocal_i3d_r50")
paddle.save(model.state_dict(), weights)
again = load("nonlocal_i3d_r50", pretrained=weights)
plain = load("c2d_r50")
assert type(model) is type(again) is type(plain)

import configs  # after the load
import weights as own_weights
from models import part

assert (utils.NAME, models.NAME, configs.NAME, own_weights.NAME, part.NAME) == ("mine",) * 5
assert sys.modules["utils"] is utils and sys.modules["models"] is models and sys.path == path
assert "models.recognizer" not in sys.modules and "utils.errors" not in sys.modules

clips = paddle.randn([1, 3, 4, 32, 32])
logits = again(clips)
assert (logits == model(clips)).all() and logits.shape[2] == 3
again.train()
again(clips).sum().backward()
assert set(model.forward_features(clips)) == {"res2", "res3", "res4", "res5"}
exported = paddle.jit.to_static(
    model.prepare_for_export(4), [paddle.static.InputSpec([4, 3, 32, 32], "float32")], full_graph=True
)
scores, _ = exported(clips[0].transpose([1, 0, 2, 3]))
assert float((scores - model.class_scores(logits)).abs().max()) < 1e-5
try:
    load("c2d_r50", nonlocal_positions={3: (0,)})
except Exception as error:
    assert "nonlocal_positions" in str(error)
else:
    raise AssertionError
assert sys.modules["utils"] is utils and sys.path == path
print("all is well")
"""


def test_a_program_keeps_its_own_modules_and_the_networks_have_theirs(tmp_path):
    for name in ("utils.py", "models/__init__.py", "models/part.py", "configs.py", "weights.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("NAME = 'mine'\n")
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "script.py", str(ROOT), str(tmp_path / "w.pdparams")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "all is well"
    assert "w.pdparams" in done.stdout  # the report of what was loaded
