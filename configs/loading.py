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
from typing import Any

import yaml

from configs.schema import KEYS_WITHOUT_EFFECT, Config
from utils.errors import UserError

DEPTH_OF_ARC = {1: 50, 2: 50, 3: 101, 4: 101}
MAX_CHARACTERS = 100_000  # of a file or an override with its aliases written out; configurations have some thousands
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = 100


def load_config(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a YAML file (and the files its `base` key names, relative to it), then the overrides `SECTION.key=value`.

    Keys of `KEYS_WITHOUT_EFFECT` are checked and not kept; a value other than the default is noted on stderr.

    Raises UserError with file, key and the nearest right key on an unknown key, a wrong type or a value out of range,
    and for YAML that is larger than MAX_CHARACTERS once its aliases are written out.
    """
    config, ignored = Config(), []
    for source, sections in _file_chain(Path(path)):
        for section, values in sections.items():
            ignored += _merge(config, section, values, str(source))
    for override in overrides:
        name, equals, text = override.partition("=")
        section, dot, option = name.strip().partition(".")
        source = f"-o {_shown(override)}"
        if not (equals and dot):
            raise UserError(f"{source}: write SECTION.key=value, for example -o TRAIN.batch_size=8")
        ignored += _merge(config, section, {option: _parse_yaml(text, source)}, source)
    if ignored:
        keys = ", ".join(dict.fromkeys(ignored))
        _tell(f"note: {path}: {keys}: accepted for the zoo's configurations; has no effect")
    check_consistency(config, str(path))
    return config


def config_from_args(args: argparse.Namespace, sections: tuple[str, ...]) -> Config:
    """The configuration of a script: --config, then -o, then each flag that names a key of `sections`.

    sections: the ones whose clips the script reads; the first is its own. Flags that are not given (None) change
    nothing; 0 is a value like any other and has to be in the key's range.
    Prints a warning on stderr when the clips of TRAIN differ from those the script, or an evaluation after it, reads.

    Raises UserError as `load_config`, and when --model_name is not the configuration's.
    """
    config = load_config(args.config, args.override)
    for section in sections:
        for field in dataclasses.fields(getattr(config, section)):
            value = getattr(args, field.name, None)
            if value is not None:
                _merge(config, section, {field.name: value}, f"--{field.name}")
    check_consistency(config, args.config)
    if args.model_name.upper() != config.MODEL.name:
        raise UserError(f"--model_name={args.model_name}: {args.config} describes {config.MODEL.name}")
    _warn_of_other_clips(config, ("VALID", "TEST", "INFER") if "TRAIN" in sections else sections, args.config)
    return config


def save_config(config: Config) -> str:
    """The resolved configuration as YAML text that `load_config` reads back to an equal one."""
    return yaml.safe_dump(dataclasses.asdict(config), sort_keys=False, allow_unicode=True)


def check_consistency(config: Config, source: str) -> None:
    """Refuse combinations of legal values that contradict each other; fills in MODEL.depth from the arc."""
    model, nonlocal_ = config.MODEL, config.NONLOCAL
    depth = DEPTH_OF_ARC[model.video_arc_choice]
    if model.depth not in (None, depth):
        raise UserError(
            f"{source}: MODEL.depth {model.depth} contradicts MODEL.video_arc_choice {model.video_arc_choice}, "
            f"which has depth {depth}; remove `depth` or choose another arc"
        )
    model.depth = depth
    if nonlocal_.use_affine and not nonlocal_.use_bn:
        raise UserError(f"{source}: NONLOCAL.use_affine needs NONLOCAL.use_bn: True (it takes the norm's place)")
    for name in ("TRAIN", "VALID", "TEST", "INFER"):
        _check_scales(name, getattr(config, name), source)


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


def _file_chain(path: Path, seen: tuple[Path, ...] = ()) -> list[tuple[Path, dict]]:
    """The file's sections after those of its bases, outermost base first."""
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
    chain = [] if base is None else _file_chain(path.parent / str(base), (*seen, path.resolve()))
    return [*chain, (path, sections)]


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


def _merge(config: Config, section: str, values: Any, source: str) -> list[str]:
    """Set a section's values in `config`; returns those keys without effect that have another than the usual value."""
    sections = [field.name for field in dataclasses.fields(config)]
    if section not in sections:
        raise UserError(f"{source}: unknown section {_shown(section)!r}{_nearest(str(section), sections)}")
    if values is None:
        return []
    if not isinstance(values, dict):
        raise UserError(f"{source}: section {section} must hold `key: value` lines")
    target = getattr(config, section)
    fields = {field.name: field for field in dataclasses.fields(target)}
    types = typing.get_type_hints(type(target))
    without_effect = KEYS_WITHOUT_EFFECT.get(section, {})
    ignored = []
    for name, value in values.items():
        if name in without_effect:
            default, limits = without_effect[name]
            if _checked(value, type(default), limits, f"{source}: {section}.{name}") != default:
                ignored.append(f"{section}.{name}")
            continue
        if name not in fields:
            homes = [other for other in sections if hasattr(getattr(config, other), str(name))]
            hint = f"; it belongs to {' or '.join(homes)}" if homes else _nearest(str(name), list(fields))
            raise UserError(f"{source}: unknown key {section}.{_shown(name)}{hint}")
        setattr(target, name, _checked(value, types[name], fields[name].metadata, f"{source}: {section}.{name}"))
    return ignored


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
    if typing.get_origin(kind) is dict:
        if not isinstance(value, dict):
            raise UserError(f"{where}: expected dict, found {type(value).__name__} {_shown(value)}")
        return {
            _as_scalar(name, arguments[0], where): _checked(item, arguments[1], limits, f"{where}: {_shown(name)}")
            for name, item in value.items()
        }
    if typing.get_origin(kind) is list:
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
