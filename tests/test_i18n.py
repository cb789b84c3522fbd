"""Chinese help, errors and pages: complete, current, and without effect where the locale is not Chinese."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib
import os
import re
import string
import subprocess
import sys
from pathlib import Path

import pytest

from configs import schema
from tests.script_runs import ROOT, run_script
from utils import messages_zh
from utils.i18n import Catalogue, catalogue, columns, language, tr, wrap

SCRIPTS = ("train", "eval", "predict", "export", "serve")
CHINESE = re.compile("[\u4e00-\u9fff]")
LOCALE = ("LC_ALL", "LC_MESSAGES", "LANGUAGE", "LANG")


def set_locale(monkeypatch, **variables: str) -> None:
    for name in LOCALE:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def chinese(monkeypatch):
    set_locale(monkeypatch, LANG="zh_CN.UTF-8")


def run(*command: str, **variables: str) -> subprocess.CompletedProcess:
    """A script in a process of its own, with `variables` as the whole locale; output as bytes."""
    environment = {name: value for name, value in os.environ.items() if name not in (*LOCALE, "PYTHONIOENCODING")}
    return subprocess.run([sys.executable, *command], cwd=ROOT, env={**environment, **variables}, capture_output=True)


# The locale


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN"}, "zh"),
        ({"LANG": "zh-Hans"}, "zh"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({"LC_ALL": "en_US.UTF-8", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LC_ALL": "zh_CN.UTF-8", "LANG": "en_US.UTF-8"}, "zh"),
        ({"LC_ALL": "", "LC_MESSAGES": "zh_CN.UTF-8", "LANG": "en_US.UTF-8"}, "zh"),
        ({"LC_MESSAGES": "en_US.UTF-8", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LANGUAGE": "zh_CN:en", "LANG": "en_US.UTF-8"}, "zh"),
        ({"LANGUAGE": "en:zh_CN", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LANGUAGE": "de:zh_CN", "LANG": "de_DE.UTF-8"}, "zh"),
        ({"LANGUAGE": "zh_CN", "LC_ALL": "C.UTF-8"}, "en"),
        ({"LANGUAGE": "zh_CN"}, "zh"),
    ],
)
def test_the_language_follows_the_locale(monkeypatch, variables, expected):
    set_locale(monkeypatch, **variables)
    assert language() == expected


def test_the_table_is_not_imported_without_a_chinese_locale():
    code = "import sys, utils.cli as cli; cli.tr('error: '); print('utils.messages_zh' in sys.modules)"
    assert run("-c", code, LANG="en_US.UTF-8").stdout.strip() == b"False"
    assert run("-c", code, LANG="zh_CN.UTF-8").stdout.strip() == b"True"


# Help


def parser_of(script: str, monkeypatch) -> argparse.ArgumentParser:
    """The parser that a script builds."""
    found = []
    monkeypatch.setattr(argparse.ArgumentParser, "print_help", lambda self, file=None: found.append(self))
    monkeypatch.setattr(sys, "argv", [f"{script}.py", "--help"])
    with pytest.raises(SystemExit):
        importlib.import_module(script).parse_args()
    return found[0]


@pytest.mark.parametrize("script", [*SCRIPTS, "tools.report"])
def test_every_help_text_has_a_chinese_entry(script, monkeypatch):
    assert untranslated(parser_of(script, monkeypatch)) == []


def untranslated(parser: argparse.ArgumentParser) -> list[str]:
    """The help texts and paragraphs of a parser without a Chinese entry; command lines need none."""
    table = catalogue("zh")
    texts = [action.help for action in parser._actions if action.help not in (None, argparse.SUPPRESS)]
    texts += [group.title for group in parser._action_groups if group._group_actions]
    paragraphs = [" ".join(paragraph.split()) for paragraph in parser.description.strip().split("\n\n")]
    texts += [paragraph for paragraph in paragraphs if not paragraph.startswith(("python ", "bash "))]
    return [text for text in texts if table.find(text) is None]


@pytest.mark.parametrize("job", ["offsets", "tsne", "reversal", "cost", "tables"])
def test_every_help_text_of_the_analyses_has_a_chinese_entry(job, monkeypatch):
    found = []
    monkeypatch.setattr(argparse.ArgumentParser, "print_help", lambda self, file=None: found.append(self))
    with pytest.raises(SystemExit):
        importlib.import_module(f"tools.analyses.{job}")._parse(["--help"])
    assert untranslated(found[0]) == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_chinese_in_a_chinese_locale_and_english_elsewhere(script, monkeypatch, capsys):
    texts = []
    for locale in ("en_US.UTF-8", "zh_CN.UTF-8"):
        set_locale(monkeypatch, LANG=locale)
        assert run_script(monkeypatch, script, "--help") == 0
        texts.append(capsys.readouterr())
    before, after = (text.out for text in texts)
    assert not texts[0].err and not texts[1].err
    assert not CHINESE.search(before) and "show this help message and exit" in before
    assert after.startswith("用法：") and "选项:" in after and "显示本帮助并退出" in after
    flags = re.compile(r"--\w+")
    assert set(flags.findall(before)) >= set(flags.findall(after)) >= set(re.findall(r"^  .*?(--\w+)", before, re.M))
    assert all(columns(line) <= 120 for line in after.splitlines()[1:] if CHINESE.search(line))


def test_every_key_of_the_configuration_has_a_chinese_meaning():
    sections = [field.default_factory for field in dataclasses.fields(schema.Config)]
    texts = [" ".join(section.__doc__.split()) for section in sections]
    texts += [field.metadata["doc"] for section in sections for field in dataclasses.fields(section)]
    texts += [old.limits["doc"] for old in schema.OLD_KEYS.values()]
    texts += [limits["doc"] for keys in schema.KEYS_WITHOUT_EFFECT.values() for _, limits in keys.values()]
    assert [text for text in texts if catalogue("zh").find(text) is None] == []


def test_lines_are_cut_by_the_columns_of_a_terminal():
    lines = wrap("每段视频的片段数 x 裁剪数，例如 10x3（默认：按 INFER.num_test_clips 取 Nx3）；或 whole：整帧。", 20)
    assert all(columns(line) <= 23 for line in lines)  # one word of 23 columns cannot be cut
    assert "INFER.num_test_clips" in " ".join(lines)
    assert not any(line[0] in "，。；：）" for line in lines)
    assert wrap("", 20) == [""]


# Errors


def text_of(node: ast.AST) -> str | None:
    """A string, f-string or sum of them in the code, with {} for each value; of a choice the first one."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(value.value if isinstance(value, ast.Constant) else "{}" for value in node.values)
    if isinstance(node, ast.IfExp):
        return text_of(node.body)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return (text_of(node.left) or "{}") + (text_of(node.right) or "{}")
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
        return "{}" + (text_of(node.value) or "{}")
    return None


def texts_of_the_program() -> set[str]:
    found = set()
    folders = ("configs", "data", "datareader", "inference", "metrics", "models", "tasks", "tools", "training", "utils")
    folders = ("clusters", "serving", *folders)
    files = [*ROOT.glob("*.py"), *(path for name in (*folders, "weights") for path in (ROOT / name).rglob("*.py"))]
    for path in files:
        if not path.name.startswith("messages_"):
            found.update(map(text_of, ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
    found.discard(None)
    paragraphs = {" ".join(paragraph.split()) for text in found for paragraph in text.split("\n\n")}
    return found | paragraphs


def lines_of_the_server() -> list[str]:
    """What serving/ tells its clients: the texts of its errors, written there or in a variable, with 7 for values."""
    found: list[ast.AST] = []
    for path in sorted((ROOT / "serving").glob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        variables = [(ast.unparse(node.targets[0]), node.value) for node in nodes if isinstance(node, ast.Assign)]
        for node in nodes:
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("Problem", "UserError", "RunError"):
                text = node.args[:2][-1]
                found += [text, *(value for name, value in variables if name == ast.unparse(text))]
        found += [text for name, value in variables if name == "REFUSALS" for text in value.values]  # type: ignore[attr-defined]
    texts = [text.replace("{}", "7") for text in map(text_of, found) if text]
    return [text for text in texts if re.search("[a-z]{2}", text)]


def test_every_line_that_the_server_tells_its_clients_has_a_chinese_form():
    lines = lines_of_the_server()
    assert {"7 videos are waiting, no more are taken; try again later", "this video has just been deleted"} <= {*lines}
    assert [line for line in lines if catalogue("zh").find(line) is None] == [] and len(lines) >= 50


def stale_entries() -> list[str]:
    """Entries of the catalogue whose English does not stand in the code."""
    texts, stale = texts_of_the_program(), []
    tables = (messages_zh.HELP, messages_zh.TOOLS, messages_zh.ERRORS, messages_zh.KEYS)
    for english in (text for table in tables for text in table):
        parts = [(text, field) for text, field, *_ in string.Formatter().parse(english)]
        plain = "".join(text + ("" if field is None else "{}") for text, field in parts)
        without_hint = "".join(text + ("" if field in (None, "hint") else "{}") for text, field in parts)
        if plain not in texts and without_hint not in texts:
            stale.append(english)
    return stale


def test_the_english_of_every_entry_stands_in_the_code():
    assert stale_entries() == []


def test_entries_keep_their_placeholders_and_are_chinese():
    for english, chinese in messages_zh.MESSAGES.items():
        fields, kept = ({f for _, f, *_ in string.Formatter().parse(text) if f} for text in (english, chinese))
        assert kept == fields, english
        assert sorted(re.findall(r"%\(\w+\)s", english)) == sorted(re.findall(r"%\(\w+\)s", chinese)), english
        assert CHINESE.search(chinese) or "：" in chinese or "；" in chinese, english
    assert len(messages_zh.ERRORS) >= 60


def test_placeholders_keep_their_values(chinese):
    assert tr("/data/视频 1.mp4: no such file or directory") == "/data/视频 1.mp4：没有该文件或目录"
    assert tr("cannot read the list a b.txt: Permission denied") == "无法读取列表 a b.txt：权限不足"
    assert tr("x.yaml: unknown key TRAIN.epochs; did you mean epoch?") == (
        "x.yaml：未知的配置项 TRAIN.epochs；是否想写 epoch？"
    )
    assert tr("{odd}: {} {0} no such file or directory") == "{odd}: {} {0} no such file or directory"
    assert tr("{odd}{}: no such file or directory") == "{odd}{}：没有该文件或目录"
    assert tr("something nobody has translated") == "something nobody has translated"


def test_of_several_templates_the_most_specific_is_taken():
    table = Catalogue(
        {"{a}: {cause}": "[{a}] {cause}", "{a}: no {b}": "[{a}] kein {b}", "twice {a} {a}": "2 {a}", "y": "z"}
    )
    assert table.find("x: no y") == "[x] kein y"
    assert table.find("x: y: no z") == "[x: y] kein z"
    assert table.find("x: y") == "[x] z" and table.find("x: unknown cause") is None
    assert table.find("twice 1 1") == "2 1" and table.find("twice 1 2") is None


def test_messages_inside_a_message_are_translated_too(chinese):
    assert tr("error: a.mp4: permission denied") == "错误：a.mp4：权限不足"
    assert tr("argument --hop: expected seconds above 0, found 'x'") == "参数 --hop：应为大于 0 的秒数，实际为 'x'"
    assert tr("the folder /v holds no video; skipped 3 files that are not videos") == (
        "目录 /v 中没有视频；跳过了 3 个非视频文件"
    )
    assert tr("the folder /v holds no video") == "目录 /v 中没有视频"


def test_a_broken_video_is_named_in_chinese_and_written_in_english(chinese, monkeypatch, tmp_path, capsys):
    (tmp_path / "空.mp4").write_bytes(b"")
    flags = [f"--video_path={tmp_path / '空.mp4'}", f"--save_dir={tmp_path}"]
    assert run_script(monkeypatch, "predict", *flags, "--backend=paddle") == 2
    output = capsys.readouterr()
    assert "空.mp4：文件为空" in output.out and "1 段无法预测" in output.err
    assert "the file is empty" in (tmp_path / "predictions.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("command", "english", "chinese"),
    [
        (("predict", "--video_path=/no/such.mp4"), "no such file", "/no/such.mp4：没有该文件或目录"),
        (("train", "--config=/no/such.yaml"), "cannot read the configuration", "无法读取配置文件 /no/such.yaml"),
        (("train", "-o", "TRAIN.epochs=1"), "did you mean epoch?", "未知的配置项 TRAIN.epochs；是否想写 epoch？"),
        (("eval", "-o", "TEST.batch_size=0"), "must be at least 1", "TEST.batch_size: 0 须不小于 1"),
        (("predict", "--infer_topk=0"), "whole number above 0", "参数 --infer_topk：应为大于 0 的整数，实际为 '0'"),
        (("predict", "--no_such_flag"), "unrecognized arguments", "无法识别的参数：--no_such_flag"),
        (("export", "--format=tf"), "invalid choice", "参数 --format：取值 'tf' 无效（可选："),
        (("train", "--config"), "expected one argument", "参数 --config：需要一个值"),
    ],
)
def test_errors_are_chinese_with_the_same_exit_status(command, english, chinese, monkeypatch, capsys):
    errors = []
    for locale in ("en_US.UTF-8", "zh_CN.UTF-8"):
        set_locale(monkeypatch, LANG=locale)
        assert run_script(monkeypatch, *command) == 2
        errors.append(capsys.readouterr().err)
    before, after = errors
    assert english in before and "error: " in before and not CHINESE.search(before)
    assert chinese in after and "错误：" in after
    assert len(before.splitlines()) == len(after.splitlines())


def test_a_terminal_that_cannot_show_chinese_gets_english():
    result = run("predict.py", "--video_path=/no/such.mp4", LANG="zh_CN.UTF-8", PYTHONIOENCODING="ascii")
    assert result.returncode == 2 and b"error: /no/such.mp4: no such file" in result.stderr
    result = run("predict.py", "--help", LANG="zh_CN.UTF-8", PYTHONIOENCODING="ascii")
    assert result.returncode == 0 and result.stdout.startswith(b"usage: ") and not result.stderr


def test_a_terminal_of_gb18030_gets_its_own_encoding():
    result = run("predict.py", "--video_path=/no/such.mp4", LANG="zh_CN.GB18030", PYTHONIOENCODING="gb18030")
    assert "错误：" in result.stderr.decode("gb18030")


# Pages


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def chinese_page(page: Path) -> Path:
    return ROOT / "README_cn.md" if page.name == "README.md" else ROOT / "docs" / "zh" / page.name


COMMAND = re.compile(r"(python|bash|pip|git|source|docker|[A-Z_]+=\S+ +python) ")


def code_of(text: str) -> list[str]:
    """The lines of a page's code blocks that are the same in every language: commands, code, keys; without comments."""
    found, language_of_block = [], None
    for line in text.split("\n"):
        fence = re.match(r"\s*```(.*)", line)
        if fence:
            language_of_block = None if language_of_block is not None else fence[1].strip()
            continue
        is_indented = line.startswith("    ")
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        in_code = language_of_block in ("bash", "sh", "console", "python", "yaml")
        is_command = COMMAND.match(line) and (language_of_block is not None or is_indented)
        if line and (in_code or is_command):
            found.append(line)
    return found


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_a_page_and_its_chinese_one_have_the_same_commands_and_sections(page):
    other = chinese_page(page)
    assert other.exists(), f"{other} is missing"
    english, chinese = page.read_text(encoding="utf-8"), other.read_text(encoding="utf-8")
    assert CHINESE.search(chinese)
    assert code_of(chinese) == code_of(english)
    assert len(re.findall(r"^## ", chinese, re.M)) == len(re.findall(r"^## ", english, re.M))
