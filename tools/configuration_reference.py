"""Writes docs/configuration.md and docs/zh/configuration.md from configs/schema.py.

python -m tools.configuration_reference
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import typing
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from configs.schema import KEYS_WITHOUT_EFFECT, OLD_KEYS, PHASE_KEYS, Config  # noqa: E402 - also started as a file
from models import FAMILIES  # noqa: E402
from utils.cli import run  # noqa: E402
from utils.files import write_text  # noqa: E402
from utils.i18n import catalogue  # noqa: E402

PAGES = {"en": "docs/configuration.md", "zh": "docs/zh/configuration.md"}
CHOICES = {("MODEL", "name"): tuple(FAMILIES)}  # the choices that schema.py does not know
TEXTS = {
    "en": {
        "title": "Configuration",
        "intro": """\
<!-- Written by `python -m tools.configuration_reference` from configs/schema.py; change that file. -->

Every key, with its type, its default and what it means. A configuration is a YAML file of sections:

```yaml
base: nonlocal.yaml            # another file, relative to this one; what follows overrides it
MODEL: {arch: i3d_r50, num_classes: 51}
INPUT: {num_frames: 32, frame_stride: 2}
TRAIN: {batch_size: 16}
```

`-o SECTION.key=value` overrides a key on the command line, e.g. `-o TRAIN.batch_size=8`; flags such as
`--batch_size` override both. An unknown key or a value out of range stops the program with one line that names the
nearest right key. The resolved configuration is saved with every run as `config.yaml` and can be passed as `--config`.

**What a clip is** stands in INPUT. Its keys set those of the phases, too ({phases}); a phase may override them in the
same file or in a later one, and a later INPUT replaces what an earlier file says of the phases. Where a file gives
TRAIN's keys and not INPUT's, INPUT takes TRAIN's.""",
        "header": ("key", "type", "default", "meaning"),
        "range": {"low": "at least {}", "high": "at most {}", "both": "{} to {}", "choices": "one of {}"},
        "defaults": "Defaults of families",
        "defaults_intro": "Where a family's default of a key above is another one.",
        "defaults_header": ("key", "default", "family"),
        "old": "Old keys",
        "old_intro": "Accepted as before and stored under their new names.",
        "old_header": ("key", "now", "values"),
        "checked": "checked only",
        "ignored": "Keys without effect",
        "ignored_intro": "Of the zoo's configurations: accepted and checked, not saved; another value prints a note.",
        "ignored_header": ("key", "usual value", "meaning"),
        "phases": "{} in TRAIN, VALID, TEST and INFER",
        "types": {"int": "integer", "float": "number", "str": "text", "bool": "True or False"},
        "list": "list of {}", "dict": "stage: {}", "none": "{} or none", "either": " or ", "empty": '""',
        "and": ", ", "also": "; {}",
    },
    "zh": {
        "title": "配置",
        "intro": """\
<!-- 由 `python -m tools.configuration_reference` 根据 configs/schema.py 生成；请修改该文件。 -->

全部配置项的类型、默认值与含义。配置是由若干小节组成的 YAML 文件：

```yaml
base: nonlocal.yaml            # 另一个文件，相对于本文件；下面的内容覆盖它
MODEL: {arch: i3d_r50, num_classes: 51}
INPUT: {num_frames: 32, frame_stride: 2}
TRAIN: {batch_size: 16}
```

命令行上用 `-o SECTION.key=value` 覆盖某一项，例如 `-o TRAIN.batch_size=8`；`--batch_size` 之类的参数优先于两者。\
未知的配置项或超出范围的值会让程序以一行信息停止，并指出最接近的正确写法。每次运行都把解析后的配置保存为 \
`config.yaml`，可以再用 `--config` 传入。

**片段的定义**写在 INPUT 中。它的各项同时决定各阶段的对应项（{phases}）；各阶段可以在同一文件或之后的文件中覆盖，\
之后文件中的 INPUT 则取代之前文件对各阶段的设置。文件只写了 TRAIN 的各项而没有写 INPUT 时，INPUT 取 TRAIN 的值。""",
        "header": ("配置项", "类型", "默认值", "含义"),
        "range": {"low": "不小于 {}", "high": "不大于 {}", "both": "{} 到 {}", "choices": "可选 {}"},
        "defaults": "各网络族的默认值",
        "defaults_intro": "某一网络族对上述配置项另有默认值的情形。",
        "defaults_header": ("配置项", "默认值", "网络族"),
        "old": "旧配置项",
        "old_intro": "照旧接受，并以新名称保存。",
        "old_header": ("配置项", "现在", "取值"),
        "checked": "只做检查",
        "ignored": "不起作用的配置项",
        "ignored_intro": "来自模型库的配置：接受并检查，不保存；取其他值时打印一行提示。",
        "ignored_header": ("配置项", "通常的值", "含义"),
        "phases": "TRAIN、VALID、TEST、INFER 中的 {}",
        "types": {"int": "整数", "float": "数", "str": "文本", "bool": "True 或 False"},
        "list": "{}列表", "dict": "阶段: {}", "none": "{}，可不设", "either": " 或 ", "empty": '""',
        "and": "、", "also": "；{}",
    },
}  # fmt: skip


def reference(language: str) -> str:
    """The page in a language, "en" or "zh"."""
    texts = TEXTS[language]

    def translated(text: str) -> str:
        text = " ".join(text.split())
        return text if language == "en" else catalogue(language).translate(text)

    phases = texts["and"].join(f"`{key}`" for key in PHASE_KEYS.values())
    parts = [f"# {texts['title']}", texts["intro"].replace("{phases}", texts["phases"].format(phases))]
    own = {name: kind for family in FAMILIES.values() for name, kind in family.configuration_sections().items()}
    for section, kind in {**typing.get_type_hints(Config), **own}.items():
        types = typing.get_type_hints(kind)
        rows = []
        for field in dataclasses.fields(kind):
            meaning = translated(field.metadata["doc"])
            limits = _limits(texts, field.metadata, CHOICES.get((section, field.name), ()))
            meaning += texts["also"].format(limits) if limits else ""
            rows.append((f"`{field.name}`", _type(texts, types[field.name]), _default(texts, field), meaning))
        parts += [f"## {section}", translated(kind.__doc__), _table(texts["header"], rows)]
    rows = [
        (f"`{name}`", f"`{value}`", family)
        for family, entry in FAMILIES.items()
        for name, value in entry.defaults.items()
    ]
    parts += [f"## {texts['defaults']}", texts["defaults_intro"], _table(texts["defaults_header"], rows)]
    rows = [
        (f"`{section}.{name}`", f"`{'.'.join(old.target)}`" if old.target else texts["checked"],
         translated(old.limits["doc"]))
        for (section, name), old in OLD_KEYS.items()
    ]  # fmt: skip
    parts += [f"## {texts['old']}", texts["old_intro"], _table(texts["old_header"], rows)]
    rows = [
        (f"`{section}.{name}`", f"`{usual}`", translated(limits["doc"]))
        for section, keys in KEYS_WITHOUT_EFFECT.items()
        for name, (usual, limits) in keys.items()
    ]
    parts += [f"## {texts['ignored']}", texts["ignored_intro"], _table(texts["ignored_header"], rows)]
    return "\n\n".join(parts) + "\n"


def _type(texts: dict, kind: Any) -> str:
    arguments = typing.get_args(kind)
    if type(None) in arguments:
        return texts["none"].format(_type(texts, arguments[0]))
    if typing.get_origin(kind) is typing.Union:
        return texts["either"].join(_type(texts, argument) for argument in arguments)
    if typing.get_origin(kind) is list:
        return texts["list"].format(_type(texts, arguments[0]))
    if typing.get_origin(kind) is dict:
        return texts["dict"].format(_type(texts, arguments[1]))
    return texts["types"][kind.__name__]


def _default(texts: dict, field: dataclasses.Field) -> str:
    value = field.default_factory() if field.default is dataclasses.MISSING else field.default
    if value is None:
        return "`null`"
    return f"`{value}`" if value != "" else texts["empty"]


def _limits(texts: dict, limits: Any, choices: tuple) -> str:
    words, low, high = texts["range"], limits["low"], limits["high"]
    if choices or limits["choices"]:
        return words["choices"].format(texts["and"].join(f"`{choice}`" for choice in choices or limits["choices"]))
    if low is not None and high is not None:
        return words["both"].format(low, high)
    if low is not None:
        return words["low"].format(low)
    return "" if high is None else words["high"].format(high)


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in [header, ("---",) * len(header), *rows])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.parse_args()
    for language, page in PAGES.items():
        write_text(ROOT / page, reference(language))
        print(f"wrote {page}")


if __name__ == "__main__":
    run(main)
