"""Each test process computes with one thread: pytest-xdist already gives every core a process. Nothing is written into
the user's folder of downloads and exported networks. Messages are English whatever the user's locale is. On every
processor --precision=auto is float32, but in its own tests."""

import atexit
import os
import shutil
import tempfile

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")
os.environ.setdefault("GLOG_minloglevel", "2")
os.environ["PADDLE_NONLOCAL_HOME"] = tempfile.mkdtemp(prefix="nonlocal_tests.")
os.environ["LC_ALL"] = "C.UTF-8"
os.environ.pop("LANGUAGE", None)
atexit.register(shutil.rmtree, os.environ["PADDLE_NONLOCAL_HOME"], ignore_errors=True)


@pytest.fixture(autouse=True)
def no_bfloat16(monkeypatch):
    monkeypatch.setattr("inference.auto_precision.processor_has_bfloat16", lambda: False)


LONGEST_FILES = (
    "test_training_resume.py",
    "test_serving_page.py",
    "test_inference_backends.py",
    "test_tools_demo.py",
    "test_clusters.py",
    "test_models_s3d.py",
    "test_weights_s3d.py",
    "test_training_precision.py",
    "test_train.py",
    "test_models_counts.py",
    "test_training_trainer.py",
    "test_tools_study.py",
    "test_utils_parallel.py",
    "test_inference_s3d.py",
    "test_models_nonlocal_attention.py",
    "test_eval.py",
    "test_weights_sources.py",
    "test_docs.py",
    "test_training_ranks.py",
    "test_tools_demo_detection.py",
)


def pytest_collection_modifyitems(items: list) -> None:
    place = {name: number for number, name in enumerate(LONGEST_FILES)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))  # stable: all others keep their order
