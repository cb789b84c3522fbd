"""The files of examples/kubernetes against Kubernetes' own schemas, and against what the program needs."""

from __future__ import annotations

import kubernetes_validate
import pytest
import yaml

from configs import config_from_args
from tests.script_runs import ROOT
from utils.errors import UserError

FILES = sorted((ROOT / "examples/kubernetes").glob("*.yaml"))


def documents(path) -> list[dict]:
    return list(yaml.safe_load_all(path.read_text()))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@pytest.mark.parametrize("version", ["1.31", "1.36"])
def test_kubernetes_accepts_the_files(path, version):
    """Strictly: a key that the schema does not have is an error."""
    for document in documents(path):
        kubernetes_validate.validate(document, version, strict=True)


def test_the_check_notices_a_wrong_key():
    service, job = documents(ROOT / "examples/kubernetes/train.yaml")
    job["spec"]["backofflimit"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, "1.36", strict=True)


def test_the_pods_of_a_training_find_each_other():
    """By the name that a headless Service gives the first pod of an indexed Job."""
    service, job = documents(ROOT / "examples/kubernetes/train.yaml")
    pod = job["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    env = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert service["spec"]["clusterIP"] == "None" and job["spec"]["completionMode"] == "Indexed"
    assert pod["spec"]["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert env["PADDLE_MASTER"].split(":")[0] == f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert int(env["PADDLE_NNODES"]) == job["spec"]["completions"] == job["spec"]["parallelism"]
    (rule,) = [rule for rule in job["spec"]["podFailurePolicy"]["rules"] if rule["action"] == "FailJob"]
    assert rule["onExitCodes"] == {"containerName": container["name"], "operator": "In", "values": [UserError.status]}


def test_the_command_of_the_training_is_one_that_train_py_takes(monkeypatch):
    import train

    _, job = documents(ROOT / "examples/kubernetes/train.yaml")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    *script, mode, network, config = container["command"]
    assert (script, mode) == (["bash", "run.sh"], "train")
    flags = [f"--model_name={network}", f"--config={config}", *container["args"]]
    monkeypatch.setattr("sys.argv", ["train.py", *flags])
    args = train.parse_args()
    assert (args.resume, args.restarts) == ("auto", 100)
    config_from_args(args, ("TRAIN",))
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        volume["name"] for volume in job["spec"]["template"]["spec"]["volumes"]
    }


def test_the_pods_of_a_classification_have_all_shares_of_the_list(monkeypatch):
    from clusters.dataset import Share
    from tools import classify_dataset

    (job,) = documents(ROOT / "examples/kubernetes/classify.yaml")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["bash", "run.sh", "classify"] and job["spec"]["completionMode"] == "Indexed"
    count = job["spec"]["completions"]
    shares = []
    for index in range(count):
        flags = [flag.replace("$(JOB_COMPLETION_INDEX)", str(index)) for flag in container["args"]]
        monkeypatch.setattr("sys.argv", ["classify_dataset.py", *flags])
        shares.append(Share.parse(classify_dataset.parse_args().share))
    assert shares == [Share(index, count) for index in range(count)]
