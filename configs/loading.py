"""YAML files and command-line overrides into a checked `Config`: an unknown key or a wrong value stops the program."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import os
import reprlib
import sys
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from configs.schema import (
    FLOW_INPUT,
    KEYS_WITHOUT_EFFECT,
    NETWORK_SECTIONS,
    OLD_KEYS,
    PHASE_KEYS,
    PHASES,
    Config,
    limits_of,
)
from utils.errors import UserError

MAX_CHARACTERS = 100_000  # of a file or an override with its aliases written out; configurations have some thousands
SECTIONS = {name: kind for name, kind in typing.get_type_hints(Config).items()}
KEPT_APART = tuple(name for name, old in OLD_KEYS.items() if old.target is None)  # MODEL.depth
_CONFIG_CLASSES: dict[str, type[Config]] = {}  # family -> `Config` with its sections
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = 100


class Entry(NamedTuple):
    """A value that a file, an override or a flag gives to a key; `source` names it in messages.

    key: None for an empty section of a file.
    """

    section: str
    key: str | None
    value: Any
    source: str


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a YAML file (and the files its `base` key names, relative to it), then the overrides `SECTION.key=value`.

    Later values replace earlier ones: the outermost base, the file, all overrides together. A key of INPUT sets those
    of the phases, too; within one file the phases' own keys override it. A file that gives TRAIN's keys and not
    INPUT's sets INPUT's to them. Keys of `OLD_KEYS` are stored under their new names. Keys of `KEYS_WITHOUT_EFFECT`
    are checked and not kept; a value other than the default is noted on stderr.

    Raises UserError with file, key and the nearest right key on an unknown key, a wrong type or a value out of range,
    for values that contradict each other, and for YAML that is larger than MAX_CHARACTERS once its aliases are
    written out.
    """
    return _resolve([*_layers_of_file(Path(path)), [_override(text) for text in overrides]], str(path))


def config_from_args(args: argparse.Namespace, sections: tuple[str, ...]) -> Config:
    """The configuration of a script: --config, then -o, then each flag that names a key of `sections`.

    args.config None: configs/<args.model_name>.yaml; args.model_name None: the configuration's own.

    sections: the ones whose clips the script reads; the first is its own. Flags that are not given (None) change
    nothing; 0 is a value like any other and has to be in the key's range.
    Prints a warning on stderr when the clips of TRAIN differ from those the script, or an evaluation after it, reads.

    Raises UserError as `load_config`, and when --model_name is not the configuration's.
    """
    flags = [
        Entry(section, field.name, getattr(args, field.name), f"--{field.name}")
        for section in sections
        for field in dataclasses.fields(SECTIONS[section])
        if getattr(args, field.name, None) is not None
    ]
    path = args.config or _default_file(args.model_name)
    config = _resolve([*_layers_of_file(Path(path)), [_override(text) for text in args.override], flags], path)
    if args.model_name and args.model_name.upper() != config.MODEL.name:
        raise UserError(f"--model_name={args.model_name}: {path} describes {config.MODEL.name}")
    _warn_of_other_clips(config, ("VALID", "TEST", "INFER") if "TRAIN" in sections else sections, path)
    return config


def save_config(config: Config) -> str:
    """The resolved configuration as YAML text that `load_config` reads back to an equal one."""
    foreign = _foreign_sections(config.MODEL.name)
    sections = {name: keys for name, keys in dataclasses.asdict(config).items() if name not in foreign}
    return yaml.safe_dump(sections, sort_keys=False, allow_unicode=True)


def check_consistency(config: Config, source: str) -> None:
    """Raise UserError for combinations of legal values that contradict each other."""
    model = config.MODEL
    if model.task == "classification" and model.multi_label:
        raise UserError(f"{source}: MODEL.task classification contradicts MODEL.multi_label; leave one of them out")
    model.multi_label = model.multi_label or model.task == "multi_label"
    if model.task == "detection" and not _families()[model.name].detects:
        names = ", ".join(name for name, family in _families().items() if family.detects)
        raise UserError(f"{source}: MODEL.task detection is there for MODEL.name {names}, not for {model.name}")
    if config.DETECTION.proposal_network and config.INPUT.channels != 3:
        raise UserError(
            f"{source}: DETECTION.proposal_network sees 3 channels, INPUT.channels is {config.INPUT.channels}"
        )
    if config.DETECTION.proposals == "rpn" and not config.DETECTION.proposal_network:
        raise UserError(f"{source}: DETECTION.proposals rpn needs DETECTION.proposal_network: True")
    if config.DETECTION.train_proposals and config.DETECTION.proposal_network:
        raise UserError(
            f"{source}: DETECTION.train_proposals contradicts DETECTION.proposal_network, which proposes boxes itself; "
            "leave one of them out"
        )
    if config.NONLOCAL.use_affine and not config.NONLOCAL.use_bn:
        raise UserError(f"{source}: NONLOCAL.use_affine needs NONLOCAL.use_bn: True (it takes the norm's place)")
    for name in PHASES:
        _check_scales(name, getattr(config, name), source)
    if len(config.INPUT.scales) != 2 or config.INPUT.scales[0] > config.INPUT.scales[1]:
        raise UserError(f"{source}: INPUT.scales is [smallest, largest] short side, not {config.INPUT.scales}")
    if config.TRAIN.mirror in ("swap", "skip"):
        for name in ("TEST", "INFER"):
            if getattr(config, name).use_multi_crop == 2:
                raise UserError(
                    f"{source}: {name}.use_multi_crop 2 adds mirrored views, whose left and right are other classes "
                    f"(TRAIN.mirror {config.TRAIN.mirror}); set it to 1"
                )
    for name, value in FLOW_INPUT.items():
        found = getattr(config.INPUT, name)
        if config.READER.modality == "flow" and found != value:
            raise UserError(
                f"{source}: INPUT.{name} {found} contradicts READER.modality flow, whose clips have {value}; leave "
                "one of them out"
            )
    for name, values in (("mean", config.INPUT.mean), ("std", config.INPUT.std)):
        if len(values) != config.INPUT.channels:
            raise UserError(
                f"{source}: INPUT.{name} has {len(values)} numbers for {config.INPUT.channels} channels "
                "(INPUT.channels); write one for each, or one for all"
            )


def config_class(family: str) -> type[Config]:
    """`Config` with the sections of a family of `models.FAMILIES`."""
    sections = _families()[family].configuration_sections()
    if not sections:
        return Config
    if family not in _CONFIG_CLASSES:
        fields = [(name, kind, dataclasses.field(default_factory=kind)) for name, kind in sections.items()]
        _CONFIG_CLASSES[family] = dataclasses.make_dataclass("Config", fields, bases=(Config,))
    return _CONFIG_CLASSES[family]


def _default_file(model_name: str | None) -> str:
    """The configuration of a family; of NONLOCAL where none is named."""
    family = _checked(
        (model_name or "NONLOCAL").upper(), str, limits_of("", choices=tuple(_families())), "--model_name"
    )
    return f"./configs/{family.lower()}.yaml"


def _families() -> dict:
    from models import FAMILIES  # here: models/ imports configs.schema

    return FAMILIES


def _foreign_sections(family: str) -> tuple[str, ...]:
    """Sections that the networks of `family` do not read; they keep their defaults and are not saved."""
    return tuple(name for name in NETWORK_SECTIONS if name not in _families()[family].shared_sections)


def _resolve(layers: list[list[Entry]], source: str) -> Config:
    """The checked configuration of the layers, later ones over earlier ones."""
    names = [e for layer in layers for e in layer if (e.section, e.key) == ("MODEL", "name")]
    families, family = _families(), "NONLOCAL"
    if names:
        limits = limits_of("", choices=tuple(families))
        family = _checked(names[-1].value, str, limits, f"{names[-1].source}: MODEL.name")
    config = config_class(family)()
    config.MODEL.name, config.MODEL.arch = family, families[family].archs[0]
    depths, ignored = [], []
    defaults = [
        Entry(*name.split("."), _copied(value), "models.FAMILIES") for name, value in families[family].defaults.items()
    ]
    for layer in [defaults, *layers]:
        stored = _stored_entries(config, layer)
        for entry, value in stored:
            if (entry.section, entry.key) == ("READER", "modality") and value != config.READER.modality:
                _set_modality(config, value)
        for entry, value in stored:
            if entry.section == "INPUT":
                _set_input(config, entry.key, value)
        given = {(entry.section, entry.key) for entry, _ in stored}
        if ("MODEL", "name") in given and config.MODEL.arch not in families[family].archs:
            config.MODEL.arch, depths = families[family].archs[0], []  # the base's was of its family
        for entry, value in stored:
            if (entry.section, entry.key) in KEPT_APART:
                depths += [value] if value is not None else []
            elif entry.key in KEYS_WITHOUT_EFFECT.get(entry.section, {}):
                ignored += [f"{entry.section}.{entry.key}"] if value is not None else []
            elif entry.section != "INPUT":
                setattr(getattr(config, entry.section), entry.key, value)
        for name, phase_name in PHASE_KEYS.items():
            if ("TRAIN", phase_name) in given and ("INPUT", name) not in given:
                setattr(config.INPUT, name, _copied(getattr(config.TRAIN, phase_name)))
    for name in ("mean", "std"):
        values = getattr(config.INPUT, name)
        if len(set(values)) == 1:
            setattr(config.INPUT, name, values[:1] * config.INPUT.channels)
    for name in _foreign_sections(family):
        setattr(config, name, SECTIONS[name]())
    if config.MODEL.arch not in families[family].archs:
        choices = ", ".join(families[family].archs)
        raise UserError(f"{source}: MODEL.arch: {_shown(config.MODEL.arch)} is none of {choices}")
    if depths and depths[-1] != config.MODEL.depth:
        raise UserError(
            f"{source}: MODEL.depth {depths[-1]} contradicts MODEL.arch {config.MODEL.arch} (video_arc_choice "
            f"{config.MODEL.video_arc_choice}), which has depth {config.MODEL.depth}; remove `depth` or choose another"
        )
    if ignored:
        keys = ", ".join(dict.fromkeys(ignored))
        _tell(f"note: {source}: {keys}: accepted for the zoo's configurations; has no effect")
    check_consistency(config, source)
    return config


def _set_modality(config: Config, modality: str) -> None:
    """Set READER.modality, and INPUT's channels, mean and std to what it has where nobody says otherwise."""
    config.READER.modality = modality
    values = FLOW_INPUT
    if modality == "rgb":
        fresh, defaults = SECTIONS["INPUT"](), _families()[config.MODEL.name].defaults
        values = {name: defaults.get(f"INPUT.{name}", getattr(fresh, name)) for name in FLOW_INPUT}
    for name, value in values.items():
        setattr(config.INPUT, name, _copied(value))


def _set_input(config: Config, name: str, value: Any) -> None:
    """Set a key of INPUT, and what follows it in the phases."""
    setattr(config.INPUT, name, value)
    for phase in PHASES if name in PHASE_KEYS else ():
        section = getattr(config, phase)
        is_test = phase in ("TEST", "INFER")
        if name == "scales" and is_test:  # the paper's test: crops as large as the short side
            section.jitter_scales, section.crop_size = [value[0]] * 2, value[0]
        elif not (name == "crop_size" and is_test):
            setattr(section, PHASE_KEYS[name], _copied(value))


def _stored_entries(config: Config, layer: list[Entry]) -> list[tuple[Entry, Any]]:
    """The layer's entries, checked, under the names they are stored under; the last of several of a key."""
    found: dict[tuple[str, str], tuple[Entry, Any]] = {}
    for entry in layer:
        value = _checked_entry(config, entry)
        if entry.key is None:
            continue
        old = OLD_KEYS.get((entry.section, entry.key))
        place = (entry.section, entry.key) if old is None or old.target is None else old.target
        if old is not None and old.target is not None:
            value = old.convert(value)
            if place[0] == "INPUT":
                value = [value]
        before = found.get(place)
        if before and before[0].key != entry.key and before[1] != value:
            names = " and ".join(f"{e.section}.{e.key}" for e in (before[0], entry))
            raise UserError(f"{entry.source}: {names} contradict each other; leave one of them out")
        found[place] = (entry, value)
    return [(Entry(*place, entry.value, entry.source), value) for place, (entry, value) in found.items()]


def _checked_entry(config: Config, entry: Entry) -> Any:
    """The entry's value as its key's type; for a key without effect None when it is the usual one."""
    section, name, value, source = entry
    where = f"{source}: {section}.{name}"
    if name in KEYS_WITHOUT_EFFECT.get(section, {}):
        usual, limits = KEYS_WITHOUT_EFFECT[section][name]
        return None if _checked(value, type(usual), limits, where) == usual else value
    if (section, name) in OLD_KEYS:
        old = OLD_KEYS[section, name]
        return _checked(value, old.kind, old.limits, where)
    sections = [field.name for field in dataclasses.fields(config)]
    if section not in sections:
        raise UserError(f"{source}: unknown section {_shown(section)!r}{_nearest(str(section), sections)}")
    if name is None:
        return None
    target = getattr(config, section)
    fields = {field.name: field for field in dataclasses.fields(target)}
    if name not in fields:
        homes = [other for other in sections if hasattr(getattr(config, other), str(name)) or (other, name) in OLD_KEYS]
        hint = f"; it belongs to {' or '.join(homes)}" if homes else _nearest(str(name), list(fields))
        raise UserError(f"{source}: unknown key {section}.{_shown(name)}{hint}")
    return _checked(value, typing.get_type_hints(type(target))[name], fields[name].metadata, where)


def _copied(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value


def _warn_of_other_clips(config: Config, names: Iterable[str], source: str) -> None:
    """Print a line when a network trained on TRAIN's clips will see other clips in the sections `names`."""

    def clip(name: str) -> str:
        section = getattr(config, name)
        return f"{section.video_length} frames at stride {section.sample_rate}"

    others = [f"{name}'s of {clip(name)}" for name in names if clip(name) != clip("TRAIN")]
    if others:
        keys = "video_length, sample_rate"
        _tell(f"warning: {source}: TRAIN's clips are of {clip('TRAIN')}, but {', '.join(others)} ({keys})")


def _check_scales(name: str, section: Any, source: str) -> None:
    scales = section.jitter_scales
    if len(scales) != 2 or scales[0] > scales[1]:
        raise UserError(f"{source}: {name}.jitter_scales is [smallest, largest] short side, not {scales}")
    if name in ("TEST", "INFER") and scales[0] != scales[1]:
        raise UserError(f"{source}: {name}.jitter_scales {scales}: a test uses one short side; write it twice")
    if section.crop_size > scales[0]:
        raise UserError(
            f"{source}: {name}.crop_size {section.crop_size} is larger than the smallest short side "
            f"{scales[0]} ({name}.jitter_scales)"
        )
    if name in ("TEST", "INFER") and section.num_test_clips % 3:
        raise UserError(
            f"{source}: {name}.num_test_clips {section.num_test_clips}: three crops a clip make it a multiple of 3"
        )


def _layers_of_file(path: Path, seen: tuple[Path, ...] = ()) -> list[list[Entry]]:
    """The file's values after those of its bases, outermost base first."""
    if path.resolve() in seen:
        raise UserError(f"{path}: `base` leads back to the same file")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"cannot read the configuration {path}: {reason}; pass --config=FILE.yaml") from error
    sections = _parse_yaml(text, str(path))
    if not isinstance(sections, dict):
        raise UserError(f"{path}: expected sections such as MODEL: and TRAIN:, found {type(sections).__name__}")
    base = sections.pop("base", None)
    layers = [] if base is None else _layers_of_file(path.parent / str(base), (*seen, path.resolve()))
    entries = []
    for section, values in sections.items():
        if values is not None and not isinstance(values, dict):
            raise UserError(f"{path}: section {_shown(section)} must hold `key: value` lines")
        if values and None in values:  # stands for an empty section in an Entry
            raise UserError(f"{path}: unknown key {_shown(section)}.null")
        entries += [Entry(section, name, value, str(path)) for name, value in (values or {None: None}).items()]
    return [*layers, entries]


def _override(text: str) -> Entry:
    """-o SECTION.key=value"""
    name, equals, value = text.partition("=")
    section, dot, option = name.strip().partition(".")
    source = f"-o {_shown(text)}"
    if not (equals and dot):
        raise UserError(f"{source}: write SECTION.key=value, for example -o TRAIN.batch_size=8")
    return Entry(section, option, _parse_yaml(value, source), source)


def _parse_yaml(text: str, source: str) -> Any:
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        if _written_out(root) > MAX_CHARACTERS:
            raise UserError(f"{source}: more than {MAX_CHARACTERS} characters once its YAML aliases are written out")
        return loader.construct_document(root)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise UserError(f"{source}{line}: not valid YAML: {problem}") from error


def _written_out(root: yaml.Node) -> int:
    """About how many characters `root` has with every alias replaced by a copy of what it stands for.

    Each node is visited once, so that a small text of many nested aliases takes no time. Infinite for an alias inside
    of what it stands for.
    """
    sizes: dict[int, float] = {}

    def size(node: yaml.Node) -> float:
        if id(node) in sizes:
            return sizes[id(node)]
        sizes[id(node)] = float("inf")  # for an alias that leads back here
        if isinstance(node, yaml.ScalarNode):
            content: float = len(node.value)
        elif isinstance(node, yaml.MappingNode):
            content = sum(size(name) + size(value) for name, value in node.value)
        else:
            content = sum(size(item) for item in node.value)
        sizes[id(node)] = 1 + content
        return sizes[id(node)]

    return size(root)


def _tell(line: str) -> None:
    """Print a line on stderr, once for all processes of a launcher."""
    if os.environ.get("PADDLE_TRAINER_ID", "0") in ("", "0"):
        print(line, file=sys.stderr)


def _shown(value: Any) -> str:
    """`value` in a message: strings as they are, others by repr, both cut where they are long."""
    try:
        text = value if isinstance(value, str) else SHORT.repr(value)
    except ValueError:  # of integers with more digits than Python prints
        text = "a huge number"
    return text if len(text) <= 200 else f"{text[:160]}...{text[-20:]}"


def _nearest(word: str, words: list[str]) -> str:
    word = word[:100]
    near = difflib.get_close_matches(word, words, 1, 0.5) or difflib.get_close_matches(word.upper(), words, 1, 0.5)
    return f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(words)}"


def _checked(value: Any, kind: Any, limits: Any, where: str) -> Any:
    """`value` as the field's type, or a UserError that says what was expected."""
    arguments = typing.get_args(kind)
    if type(None) in arguments:
        if value is None:
            return None
        kind = arguments[0]
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Union:  # of types that `choices` lists values of
        if not any(type(value) is type(choice) and value == choice for choice in limits["choices"]):
            raise UserError(f"{where}: {_shown(value)} is none of {', '.join(map(str, limits['choices']))}")
        return value
    if typing.get_origin(kind) is dict:
        if not isinstance(value, dict):
            raise UserError(f"{where}: expected dict, found {type(value).__name__} {_shown(value)}")
        return {
            _as_scalar(name, arguments[0], where): _checked(item, arguments[1], limits, f"{where}: {_shown(name)}")
            for name, item in value.items()
        }
    if typing.get_origin(kind) is list:
        if limits["may_be_scalar"] and not isinstance(value, (list, tuple)):
            value = [value]
        if not isinstance(value, (list, tuple)) or not (value or limits["may_be_empty"]):
            raise UserError(f"{where}: expected a list of {arguments[0].__name__}, found {_shown(value)}")
        return [_checked(item, arguments[0], limits, where) for item in value]
    value = _as_scalar(value, kind, where)
    if limits["choices"] and value not in limits["choices"]:
        raise UserError(f"{where}: {_shown(value)} is none of {', '.join(map(str, limits['choices']))}")
    for bound, wrong, word in (("low", -1, "at least"), ("high", 1, "at most")):
        limit = limits[bound]
        if limit is not None and not isinstance(value, str) and not (value - limit) * wrong <= 0:
            raise UserError(f"{where}: {_shown(value)} must be {word} {limit}")
    return value


def _as_scalar(value: Any, kind: Any, where: str) -> Any:
    if kind is float and not isinstance(value, bool):
        try:
            number = float(value)  # YAML reads 1e-5 as a string
        except (TypeError, ValueError, OverflowError):
            number = None
        if number is not None and number - number == 0:  # neither infinite nor NaN
            return number
    elif kind is type(value) and (kind is not int or abs(value) < 1 << 63):
        return value
    raise UserError(f"{where}: expected {kind.__name__}, found {type(value).__name__} {_shown(value)}")
