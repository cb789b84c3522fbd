from __future__ import annotations

import argparse
import dataclasses

import pytest
import yaml

from configs import config_from_args, load_config, save_config
from configs.schema import Config
from tests.script_runs import ROOT
from utils.errors import UserError

ZOO = "configs/nonlocal.yaml"

# The zoo's own file, written out: users bring their copies of it.
ZOO_SECTIONS = {
    "MODEL": dict(
        name="NONLOCAL", num_classes=400, image_mean=114.75, image_std=57.375, depth=50, dataset="kinetics400",
        video_arc_choice=1, use_affine=False, fc_init_std=0.01, bn_momentum=0.9, bn_epsilon=1e-5, bn_init_gamma=0.0,
    ),
    "RESNETS": dict(num_groups=1, width_per_group=64, trans_func="bottleneck_transformation_3d"),
    "NONLOCAL": dict(
        bn_momentum=0.9, bn_epsilon=1e-5, bn_init_gamma=0.0, layer_mod=2, conv3_nonlocal=True, conv4_nonlocal=True,
        conv_init_std=0.01, no_bias=0, use_maxpool=True, use_softmax=True, use_scale=True, use_zero_init_conv=False,
        use_bn=True, use_affine=False,
    ),
    "TRAIN": dict(
        epoch=120, num_reader_threads=8, batch_size=64, num_gpus=8, crop_size=224, sample_rate=8, video_length=8,
        filelist="./data/dataset/nonlocal/trainlist.txt", jitter_scales=[256, 320], dropout_rate=0.5,
        learning_rate=0.01, learning_rate_decay=0.1, step_sizes=[150000, 150000, 100000], max_iter=400000,
        weight_decay=0.0001, weight_decay_bn=0.0, momentum=0.9, nesterov=True, scale_momentum=True,
    ),
    "VALID": dict(
        num_reader_threads=8, batch_size=64, filelist="./data/dataset/nonlocal/vallist.txt", crop_size=224,
        sample_rate=8, video_length=8, jitter_scales=[256, 320],
    ),
    "TEST": dict(
        num_reader_threads=8, batch_size=4, filelist="./data/dataset/nonlocal/testlist.txt", dataset_size=19761,
        filename_gt="./data/dataset/nonlocal/vallist.txt", checkpoint_dir="./output", crop_size=256, sample_rate=8,
        video_length=8, jitter_scales=[256, 256], num_test_clips=30, use_multi_crop=1,
    ),
    "INFER": dict(
        num_reader_threads=1, batch_size=1, filelist="./data/dataset/nonlocal/inferlist.txt", crop_size=256,
        checkpoint_dir="./output", sample_rate=8, video_length=8, jitter_scales=[256, 256], num_test_clips=30,
        use_multi_crop=1, video_path="", kinetics_labels="./data/dataset/kinetics_labels.json",
    ),
}  # fmt: skip


def write(path, content) -> str:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


def test_a_copy_of_the_zoos_file_is_read_key_by_key(tmp_path):
    config = load_config(write(tmp_path / "own.yaml", ZOO_SECTIONS))
    for section, values in ZOO_SECTIONS.items():
        for name, value in values.items():
            assert getattr(getattr(config, section), name) == value, f"{section}.{name}"


# Where ours is not the zoo's: train.py's folder is searched for weights; any list's size is right; names by dataset.
DELIBERATE_DIFFERENCES = {
    ("TEST", "checkpoint_dir"): ("./output", "./data/checkpoints"),
    ("INFER", "checkpoint_dir"): ("./output", "./data/checkpoints"),
    ("TEST", "dataset_size"): (19761, None),
    ("INFER", "kinetics_labels"): ("./data/dataset/kinetics_labels.json", ""),
}


def test_our_file_means_the_same_as_the_zoos_but_for_the_differences_named_here(tmp_path):
    theirs = dataclasses.asdict(load_config(write(tmp_path / "own.yaml", ZOO_SECTIONS)))
    ours = dataclasses.asdict(load_config(ZOO))
    differing = {
        (section, name): (value, ours[section][name])
        for section, values in theirs.items()
        for name, value in values.items()
        if value != ours[section][name]
    }
    assert differing == DELIBERATE_DIFFERENCES
    assert {section: set(values) for section, values in ours.items()} == {
        section: set(values) for section, values in theirs.items()
    }


def test_keys_without_effect_stand_in_none_of_our_files_and_are_noted_in_others(tmp_path, capsys):
    without = {"num_gpus", "trans_func", "scale_momentum"}
    for path in ROOT.glob("configs/**/*.yaml"):
        sections = yaml.safe_load(path.read_text(encoding="utf-8"))
        keys = {key for values in sections.values() if isinstance(values, dict) for key in values}
        assert not keys & without, path
    load_config(write(tmp_path / "own.yaml", ZOO_SECTIONS))
    assert capsys.readouterr().out == ""  # the zoo's own values
    load_config(write(tmp_path / "own.yaml", {"TRAIN": {"num_gpus": 4, "scale_momentum": False}}))
    said = capsys.readouterr().out
    assert "TRAIN.num_gpus: 4" in said and "TRAIN.scale_momentum: False" in said and "no effect" in said


def test_clips_that_differ_between_training_and_its_use_are_told(tmp_path, capsys):
    def read(section: str, *overrides: str) -> str:
        config_from_args(argparse.Namespace(config=ZOO, override=overrides, model_name="NONLOCAL"), (section,))
        return capsys.readouterr().err

    for section in ("VALID", "TEST", "INFER"):
        assert read(section) == ""
        said = read(section, "TRAIN.video_length=32", "TRAIN.sample_rate=2")
        assert said.count("\n") == 1 and said.startswith("warning: ")
        assert f"{section} has clips of 8 frames at stride 8, TRAIN of 32 at stride 2" in said
        assert "stride 4" in read(section, f"{section}.sample_rate=4")


@pytest.mark.parametrize("depth", [4, 8, 60])
def test_aliases_that_write_more_than_they_say_are_refused(tmp_path, depth):
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, depth)]
    nested = "{" + ", ".join(lines) + "}"
    with pytest.raises(UserError, match="own.yaml.*aliases") as error:
        load_config(write(tmp_path / "own.yaml", f"NONLOCAL:\n  positions: {nested}\n"))
    assert len(str(error.value)) < 300
    with pytest.raises(UserError, match="-o NONLOCAL.positions"):
        load_config(ZOO, [f"NONLOCAL.positions={nested}"])


def test_a_value_that_contains_itself_is_refused_and_an_ordinary_alias_is_not(tmp_path):
    with pytest.raises(UserError, match="aliases"):
        load_config(write(tmp_path / "own.yaml", "NONLOCAL:\n  positions: &p {res3: *p}\n"))
    text = "TRAIN:\n  jitter_scales: &s [256, 320]\nVALID:\n  jitter_scales: *s\n"
    assert load_config(write(tmp_path / "own.yaml", text)).VALID.jitter_scales == [256, 320]


def test_the_defaults_are_the_file():
    default = dataclasses.asdict(Config())
    default["MODEL"]["depth"] = 50
    assert dataclasses.asdict(load_config(ZOO)) == default


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("TRAIN.batchsize=3", ["TRAIN.batchsize", "batch_size"]),
        ("TRAN.batch_size=3", ["TRAN", "TRAIN"]),
        ("MODEL.batch_size=3", ["MODEL.batch_size", "TRAIN"]),
        ("TRAIN.batch_size=many", ["TRAIN.batch_size", "int", "many"]),
        ("TRAIN.batch_size=2.5", ["TRAIN.batch_size", "int"]),
        ("TRAIN.batch_size=True", ["TRAIN.batch_size", "int"]),
        ("TRAIN.batch_size=0", ["TRAIN.batch_size", "at least 1"]),
        ("TRAIN.nesterov=1", ["TRAIN.nesterov", "bool"]),
        ("TRAIN.step_sizes=[1, a]", ["TRAIN.step_sizes", "int"]),
        ("TRAIN.step_sizes=[]", ["TRAIN.step_sizes", "list"]),
        ("TRAIN.learning_rate=.nan", ["TRAIN.learning_rate", "float"]),
        ("TRAIN.crop_size=300", ["TRAIN.crop_size", "jitter_scales"]),
        ("TEST.jitter_scales=[256, 320]", ["TEST.jitter_scales", "one short side"]),
        ("TEST.num_test_clips=31", ["num_test_clips", "multiple of 3"]),
        ("RESNETS.trans_func=basic", ["RESNETS.trans_func", "bottleneck_transformation_3d"]),
        ("MODEL.name=TSN", ["MODEL.name", "NONLOCAL"]),
        ("MODEL.video_arc_choice=5", ["MODEL.video_arc_choice", "at most 4"]),
        ("MODEL.depth=101", ["depth", "contradicts", "video_arc_choice"]),
        ("batch_size", ["SECTION.key=value"]),
        ("TRAIN.epoch=[", ["not valid YAML"]),
    ],
)
def test_a_wrong_key_or_value_is_named_with_the_way_out(override, words):
    with pytest.raises(UserError) as error:
        load_config(ZOO, [override])
    assert all(word in str(error.value) for word in words), error.value


def test_a_frozen_norm_needs_a_norm():
    with pytest.raises(UserError, match="NONLOCAL.use_affine"):
        load_config(ZOO, ["NONLOCAL.use_bn=False", "NONLOCAL.use_affine=True"])


def test_the_file_is_named_in_the_message(tmp_path):
    path = write(tmp_path / "own.yaml", {"TRAIN": {"learning_rat": 1}})
    with pytest.raises(UserError, match="own.yaml.*TRAIN.learning_rat.*learning_rate"):
        load_config(path)


@pytest.mark.parametrize("arc", [3, 4])
def test_the_arc_sets_the_depth_and_a_contradiction_is_refused(tmp_path, arc):
    assert load_config(ZOO, [f"MODEL.video_arc_choice={arc}"]).MODEL.depth == 101
    with pytest.raises(UserError, match="contradicts"):
        load_config(write(tmp_path / "own.yaml", ZOO_SECTIONS), [f"MODEL.video_arc_choice={arc}"])


def test_numbers_that_yaml_takes_for_text_are_read():
    assert load_config(ZOO, ["TRAIN.weight_decay=1e-3"]).TRAIN.weight_decay == 1e-3


def test_a_base_is_merged_below_and_a_circle_is_refused(tmp_path):
    write(tmp_path / "base.yaml", {"TRAIN": {"epoch": 7, "batch_size": 3}})
    config = load_config(write(tmp_path / "own.yaml", {"base": "base.yaml", "TRAIN": {"epoch": 9}}))
    assert (config.TRAIN.epoch, config.TRAIN.batch_size) == (9, 3)
    write(tmp_path / "base.yaml", {"base": "own.yaml"})
    with pytest.raises(UserError, match="same file"):
        load_config(tmp_path / "own.yaml")


def test_the_saved_configuration_reads_back_equal(tmp_path):
    config = load_config(ZOO, ["MODEL.video_arc_choice=4", "TRAIN.step_sizes=[1, 2]", "MODEL.class_names=类别.txt"])
    assert load_config(write(tmp_path / "saved.yaml", save_config(config))) == config


@pytest.mark.parametrize("content", ["- a\n", "MODEL: 3\n", "a: [", "\x00", "!!python/object/apply:os.getcwd []\n"])
def test_files_that_are_no_configuration_are_refused_in_words(tmp_path, content):
    with pytest.raises(UserError, match="own.yaml"):
        load_config(write(tmp_path / "own.yaml", content))


def test_a_missing_file_names_the_flag(tmp_path):
    with pytest.raises(UserError, match="--config"):
        load_config(tmp_path / "none.yaml")


def test_flags_override_the_file_and_zero_is_a_value():
    args = argparse.Namespace(
        config=ZOO, override=["TRAIN.batch_size=5"], model_name="nonlocal", batch_size=2, epoch=None, learning_rate=0.0
    )
    config = config_from_args(args, ("TRAIN", "VALID"))
    assert (config.TRAIN.batch_size, config.VALID.batch_size, config.TRAIN.epoch) == (2, 2, 120)
    assert config.TRAIN.learning_rate == 0.0
    for name in ("epoch", "batch_size"):
        with pytest.raises(UserError, match=f"--{name}.*at least 1"):
            config_from_args(argparse.Namespace(**{**vars(args), name: 0}), ("TRAIN",))
    with pytest.raises(UserError, match="--model_name=TSN"):
        config_from_args(argparse.Namespace(**{**vars(args), "model_name": "TSN"}), ("TRAIN",))
