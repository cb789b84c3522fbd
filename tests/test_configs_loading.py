from __future__ import annotations

import argparse
import ast
import dataclasses
from pathlib import Path

import pytest
import yaml

from configs import config_from_args, load_config, loading, save_config
from configs.schema import ARCHS, FLOW_SETTINGS, KEYS_WITHOUT_EFFECT, OLD_KEYS, PHASES, Config
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


OUR_FILES = sorted(Path("configs").rglob("*.yaml"))


def write(path, content) -> str:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return str(path)


def value_of(config: Config, section: str, name: str):
    """A key's value, also of one that now has another name."""
    old = OLD_KEYS.get((section, name))
    if old is None or old.target is None or old.target == ("MODEL", "arch"):
        return getattr(getattr(config, section), name)
    value = getattr(getattr(config, old.target[0]), old.target[1])
    return value[0] if isinstance(value, list) and value == value[:1] * 3 else value


def arguments(**flags) -> argparse.Namespace:
    return argparse.Namespace(**{"config": ZOO, "override": [], "model_name": None, **flags})


def test_a_copy_of_the_zoos_file_is_read_key_by_key(tmp_path, capsys):
    config = load_config(write(tmp_path / "own.yaml", ZOO_SECTIONS))
    for section, values in ZOO_SECTIONS.items():
        for name, value in values.items():
            if name not in KEYS_WITHOUT_EFFECT.get(section, {}):
                assert value_of(config, section, name) == value, f"{section}.{name}"
    assert capsys.readouterr().err == ""


def test_our_file_means_the_same_as_the_zoos(tmp_path):
    theirs = dataclasses.asdict(load_config(write(tmp_path / "own.yaml", ZOO_SECTIONS)))
    theirs["TEST"]["dataset_size"], theirs["INFER"]["kinetics_labels"] = None, ""
    theirs["TEST"]["checkpoint_dir"] = theirs["INFER"]["checkpoint_dir"] = "./data/checkpoints"  # where train.py writes
    assert dataclasses.asdict(load_config(ZOO)) == theirs


def test_the_defaults_are_the_file():
    assert dataclasses.asdict(load_config(ZOO)) == dataclasses.asdict(Config())


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


def test_a_null_key_does_not_pass_for_an_empty_section(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("MODEL: {null: 3}\n")
    with pytest.raises(UserError, match="unknown key MODEL.null"):
        load_config(file)


def test_a_number_of_channels_that_fills_the_memory_is_refused():
    with pytest.raises(UserError, match="INPUT.channels: 1025 must be at most 1024"):
        load_config(ZOO, ["INPUT.channels=1025"])


def test_a_missing_file_names_the_flag(tmp_path):
    with pytest.raises(UserError, match="--config"):
        load_config(tmp_path / "none.yaml")


def test_flags_override_the_file_and_those_not_given_leave_it():
    args = arguments(override=["TRAIN.batch_size=5"], model_name="nonlocal", batch_size=2, epoch=None)
    config = config_from_args(args, ("TRAIN", "VALID"))
    assert (config.TRAIN.batch_size, config.VALID.batch_size, config.TRAIN.epoch) == (2, 2, 120)
    with pytest.raises(UserError, match="--model_name=TSN"):
        config_from_args(arguments(model_name="TSN"), ("TRAIN",))


def test_zero_is_a_value_and_not_a_flag_that_was_left_out():
    assert config_from_args(arguments(learning_rate=0.0), ("TRAIN", "VALID")).TRAIN.learning_rate == 0.0
    assert config_from_args(arguments(video_path=""), ("INFER",)).INFER.video_path == ""
    for flag, section in (("epoch", "TRAIN"), ("batch_size", "TRAIN"), ("batch_size", "TEST"), ("crop_size", "INFER")):
        with pytest.raises(UserError, match=rf"--{flag}: {section}.{flag}: 0 must be at least") as caught:
            config_from_args(arguments(**{flag: 0}), (section,))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["NONLOCAL.positions", "MODEL.num_classes", "TRAIN.step_sizes", "TRAIN.filelist"])
def test_aliases_that_grow_without_bound_are_refused_in_one_line_whatever_the_key(tmp_path, key):
    section, name = key.split(".")
    levels = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    levels += [f"{outer}: &{outer} [{', '.join([f'*{inner}'] * 10)}]" for inner, outer in zip("abcdef", "bcdefg")]
    lines = [f"{section}:", f"    {name}:", *(f"        {level}" for level in levels)]
    with pytest.raises(UserError, match="own.yaml: more than 100000 characters") as caught:
        load_config(write(tmp_path / "own.yaml", "\n".join(lines)))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    with pytest.raises(UserError, match="more than 100000 characters") as caught:
        load_config(ZOO, [f"{key}={{{', '.join(levels)}}}"])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("text", ["&a [*a]", "{b: &a {c: *a}}", "{<<: &a {<<: *a}}"])
def test_an_alias_inside_of_what_it_stands_for_is_refused(text):
    with pytest.raises(UserError, match="100000 characters|not valid YAML"):
        load_config(ZOO, [f"NONLOCAL.positions={text}"])


def test_an_alias_of_bearable_size_is_an_ordinary_copy(tmp_path):
    config = load_config(ZOO, ["NONLOCAL.positions={res3: &two [1, 3], res4: *two}"])
    assert config.NONLOCAL.positions == {"res3": [1, 3], "res4": [1, 3]}
    assert "&" not in save_config(config) and load_config(write(tmp_path / "saved.yaml", save_config(config))) == config


def test_a_long_text_without_aliases_is_refused_too(tmp_path):
    with pytest.raises(UserError, match="100000 characters"):
        load_config(write(tmp_path / "own.yaml", {"TRAIN": {"filelist": "x" * 100_001}}))
    path = "x" * (loading.MAX_CHARACTERS - 100)
    assert load_config(write(tmp_path / "own.yaml", {"TRAIN": {"filelist": path}})).TRAIN.filelist == path


@pytest.mark.parametrize(
    "override",
    [
        "NONLOCAL.positions={res3: 1}",
        "NONLOCAL.positions={res3: [a]}",
        "NONLOCAL.positions={res3: [-1]}",
        "NONLOCAL.positions={res3: [[1]]}",
        "NONLOCAL.positions={3: [1]}",
        "NONLOCAL.positions=[1, 3]",
        "NONLOCAL.group_frames={res3: [4]}",
        "NONLOCAL.group_frames={res3: 0}",
        "TRAIN.max_iter=0x" + "f" * 20_000,  # more digits than Python prints
        "TRAIN.learning_rate=0x" + "f" * 20_000,
        "TRAIN.batch_size=" + "many " * 10_000,
        "TRAIN.batch_size=[" + "1, " * 10_000 + "1]",
        "TRAIN." + "batch" * 5_000 + "=1",
        "N" * 20_000 + ".positions=1",
    ],
)
def test_a_value_of_any_size_and_depth_is_checked_and_refused_in_a_short_line(override):
    with pytest.raises(UserError) as caught:
        load_config(ZOO, [override])
    text = str(caught.value)
    assert override.split(".")[0][:20] in text and "\n" not in text and len(text) < 2000, text[:300]


def test_no_blocks_and_no_groups_can_be_said():
    config = load_config(ZOO, ["NONLOCAL.positions={res3: [], res4: [0]}", "NONLOCAL.group_frames={}"])
    assert config.NONLOCAL.positions == {"res3": [], "res4": [0]} and config.NONLOCAL.group_frames == {}


@pytest.mark.parametrize(
    ("sections", "overrides", "words"),
    [
        (("TRAIN", "VALID"), ["TRAIN.video_length=32", "TRAIN.sample_rate=2"], ["VALID", "32 frames at stride 2"]),
        (("TRAIN", "VALID"), ["TEST.sample_rate=4"], ["TEST", "8 frames at stride 4"]),
        (("TRAIN", "VALID"), ["INFER.video_length=16"], ["INFER", "16 frames at stride 8"]),
        (("TEST",), ["TEST.video_length=4"], ["TEST", "4 frames at stride 8"]),
        (("INFER",), ["INFER.video_length=4"], ["INFER", "4 frames at stride 8"]),
        (("TEST",), ["INFER.video_length=4", "VALID.video_length=4"], []),  # which an evaluation does not read
        (("INFER",), ["TEST.sample_rate=4"], []),
        (("TRAIN", "VALID"), ["TEST.crop_size=224"], []),
    ],
)
def test_other_clips_than_trainings_are_warned_of_in_one_line(capsys, sections, overrides, words):
    config_from_args(arguments(override=overrides), sections)
    err = capsys.readouterr().err
    assert len(err.splitlines()) == bool(words)
    assert all(word in err for word in ["warning", ZOO, *words] if words), err


def test_a_warning_comes_from_the_first_of_several_processes_only(monkeypatch, capsys):
    for rank, lines in (("0", 1), ("1", 0)):
        monkeypatch.setenv("PADDLE_TRAINER_ID", rank)
        config_from_args(arguments(override=["TEST.sample_rate=4"]), ("TEST",))
        assert len(capsys.readouterr().err.splitlines()) == lines


@pytest.mark.parametrize("path", OUR_FILES, ids=str)
def test_our_files_have_no_key_without_effect_and_the_same_clips_everywhere(path, capsys):
    assert len(OUR_FILES) > 20
    config_from_args(arguments(config=str(path)), ("TRAIN", "VALID"))
    assert capsys.readouterr().err == ""
    sections = yaml.safe_load(path.read_text(encoding="utf-8"))
    for section, keys in KEYS_WITHOUT_EFFECT.items():
        assert not keys.keys() & sections.get(section, {}).keys()


def test_keys_without_effect_are_noted_in_one_line_where_they_differ_from_the_usual_value(tmp_path, capsys):
    sections = {
        "TRAIN": {"num_gpus": 4, "scale_momentum": False},
        "RESNETS": {"trans_func": "bottleneck_transformation_3d"},
    }
    config = load_config(write(tmp_path / "own.yaml", sections), ["TRAIN.num_gpus=2"])
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and "own.yaml" in err and "TRAIN.num_gpus, TRAIN.scale_momentum: " in err
    assert "no effect" in err and "trans_func" not in err
    assert config == load_config(ZOO) and "num_gpus" not in save_config(config)


@pytest.mark.parametrize(
    "override", ["TRAIN.num_gpus=0", "TRAIN.num_gpus=a", "TRAIN.scale_momentum=1", "MODEL.num_gpus=8"]
)
def test_keys_without_effect_are_checked_like_the_others(override):
    with pytest.raises(UserError, match=override.partition("=")[0]):
        load_config(ZOO, [override])


def test_a_configuration_saved_by_an_earlier_version_loads_without_a_line(tmp_path, capsys):
    sections = dataclasses.asdict(load_config(ZOO))
    del sections["INPUT"], sections["MODEL"]["arch"], sections["MODEL"]["dropout_rate"]
    sections["MODEL"].update(video_arc_choice=2, depth=50, image_mean=100.0, image_std=50.0)
    sections["TRAIN"].update(dropout_rate=0.25, video_length=16)
    for section, keys in KEYS_WITHOUT_EFFECT.items():
        sections[section].update({name: usual for name, (usual, _) in keys.items()})
    sections["TEST"]["checkpoint_dir"] = "./output"
    for name in PHASES:
        sections[name]["video_length"] = 16
    config = config_from_args(arguments(config=write(tmp_path / "saved.yaml", sections)), ("TEST",))
    assert config.TEST.checkpoint_dir == "./output"
    assert capsys.readouterr().err == ""
    assert (config.MODEL.arch, config.MODEL.dropout_rate, config.INPUT.num_frames) == ("i3d_r50", 0.25, 16)
    assert (config.INPUT.mean, config.INPUT.std) == ([100.0] * 3, [50.0] * 3)


def clip_of(config: Config, phase: str) -> tuple:
    section = getattr(config, phase)
    return section.video_length, section.sample_rate, section.crop_size, section.jitter_scales


def test_input_says_what_a_clip_is_and_the_phases_of_the_same_file_override_it(tmp_path):
    sections = {
        "INPUT": {"num_frames": 16, "frame_stride": 4, "crop_size": 112, "scales": [128, 160]},
        "VALID": {"jitter_scales": [120, 120]},
        "INFER": {"sample_rate": 2, "crop_size": 112},
    }
    config = load_config(write(tmp_path / "own.yaml", sections))
    assert clip_of(config, "TRAIN") == (16, 4, 112, [128, 160])
    assert clip_of(config, "VALID") == (16, 4, 112, [120, 120])
    assert clip_of(config, "TEST") == (16, 4, 128, [128, 128])  # crops as large as the short side
    assert clip_of(config, "INFER") == (16, 2, 112, [128, 128])


def test_a_later_input_replaces_what_earlier_files_say_of_the_phases(tmp_path):
    path = write(tmp_path / "own.yaml", ZOO_SECTIONS)
    config = load_config(path, ["TRAIN.sample_rate=3", "INPUT.num_frames=32", "INPUT.frame_stride=2"])
    assert [getattr(config, name).video_length for name in PHASES] == [32] * 4
    assert [getattr(config, name).sample_rate for name in PHASES] == [3, 2, 2, 2]  # the order of -o does not matter
    assert config.INPUT.frame_stride == 2
    assert config.TEST.crop_size == 256


def test_input_takes_trainings_clip_where_a_file_does_not_say_it(tmp_path):
    config = load_config(ZOO, ["TRAIN.video_length=32", "TRAIN.crop_size=160", "TRAIN.jitter_scales=[180, 200]"])
    assert (config.INPUT.num_frames, config.INPUT.crop_size, config.INPUT.scales) == (32, 160, [180, 200])
    assert clip_of(config, "TEST") == clip_of(load_config(ZOO), "TEST")


def test_mean_and_deviation_are_per_channel_and_one_number_serves_all():
    config = load_config(ZOO, ["INPUT.channels=2", "INPUT.std=[10, 20]"])
    assert (config.INPUT.mean, config.INPUT.std) == ([114.75, 114.75], [10.0, 20.0])
    for override in ("INPUT.mean=[1, 2]", "INPUT.std=[1, 2, 0]", "INPUT.mean=a", "INPUT.mean={a: 1}"):
        with pytest.raises(UserError, match="INPUT"):
            load_config(ZOO, [override])


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_an_architecture_has_a_name_and_the_zoos_number(number):
    config = load_config(ZOO, [f"MODEL.video_arc_choice={number}"])
    name = list(ARCHS)[number - 1]
    assert config == load_config(ZOO, [f"MODEL.arch={name}"])
    assert (config.MODEL.arch, config.MODEL.video_arc_choice) == (name, number)
    assert config.MODEL.depth == int(name.rpartition("_r")[2])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["MODEL.arch=r50"], ["MODEL.arch", "i3d_r50"]),
        (["MODEL.arch=i3d_r50", "MODEL.video_arc_choice=1"], ["arch", "video_arc_choice", "contradict"]),
        (["INPUT.mean=3", "MODEL.image_mean=4"], ["INPUT.mean", "MODEL.image_mean", "contradict"]),
        (["INPUT.scales=[300, 200]"], ["jitter_scales"]),
        (["INPUT.dropout_rate=0.1"], ["INPUT.dropout_rate", "MODEL"]),
        (["TRAIN.dropout_rate=1.5"], ["TRAIN.dropout_rate", "at most"]),
        (["TEST.image_mean=3"], ["TEST.image_mean", "MODEL"]),
    ],
)
def test_old_and_new_names_are_checked_alike(overrides, words):
    with pytest.raises(UserError) as caught:
        load_config(ZOO, overrides)
    assert all(word in str(caught.value) for word in words), caught.value


def test_an_empty_section_is_allowed_and_an_unknown_one_is_not(tmp_path):
    assert load_config(write(tmp_path / "own.yaml", "TRAIN:\nMODEL:\n")) == Config()
    with pytest.raises(UserError, match="unknown section 'TRAN'"):
        load_config(write(tmp_path / "own.yaml", "TRAN:\n"))


def test_the_task_of_several_labels_and_its_old_key_agree(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("MODEL: {task: multi_label}\n")
    assert load_config(path).MODEL.multi_label
    path.write_text("MODEL: {task: classification, multi_label: true}\n")
    with pytest.raises(UserError, match="leave one of them out"):
        load_config(path)


def test_every_key_is_read_by_somebody():
    root = Path(__file__).resolve().parents[1]
    folders = ("datareader", "inference", "metrics", "models", "tasks", "training", "utils", "weights")
    files = [*root.glob("*.py"), *(path for name in folders for path in (root / name).rglob("*.py"))]
    attributes = {
        node.attr
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
    }
    config = Config()
    keys = {
        key.name for section in dataclasses.fields(config) for key in dataclasses.fields(getattr(config, section.name))
    }
    # read through sample_rate of the phases, which follow it, and by datareader.flow.methods.FlowProvenance.of
    followed = {"frame_stride", *FLOW_SETTINGS.values()}
    assert keys - attributes - followed == set()
