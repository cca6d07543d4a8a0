"""YAML settings read node by node, so that every mistake is refused with its file, line and remedy."""

from __future__ import annotations

import re
from dataclasses import dataclass

import yaml


class ConfigurationError(ValueError):
    """A settings file that cannot be used; the message reads ``FILE:LINE: field: what is wrong; remedy``."""


def compose(raw: bytes, file: str) -> Field:
    """Return the root of the YAML document in ``raw``; ``file`` names it in errors. Raises ConfigurationError."""
    line, problem = 1, "is empty"
    try:
        text = raw.decode()
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            return Field(file, node.start_mark.line + 1, "", node)
    except UnicodeDecodeError as error:
        line, problem = raw.count(b"\n", 0, error.start) + 1, "is not UTF-8"
    except yaml.reader.ReaderError as error:
        line, problem = text.count("\n", 0, error.position) + 1, "holds a control character"
    except yaml.MarkedYAMLError as error:
        # The scanner notices an open quote or a lost colon lines later; its context is where that began.
        mark = (error.context_mark if isinstance(error, yaml.scanner.ScannerError) else None) or error.problem_mark
        line, problem = mark.line + 1 if mark else 1, f"is not valid YAML ({error.problem})"
    raise ConfigurationError(f"{file}:{line}: file: {problem}; correct this line or restore the bundled file")


@dataclass(frozen=True, slots=True)
class Field:
    """A YAML node with the file, line and path by which a person finds it; each method reads it as one kind."""

    file: str
    line: int
    path: str
    node: yaml.Node

    def error(self, problem: str, remedy: str) -> ConfigurationError:
        return ConfigurationError(f"{self.file}:{self.line}: {self.path or 'file'}: {problem}; {remedy}")

    def mapping(self, *keys: str, optional: tuple[str, ...] = ()) -> dict[str, Field]:
        """The values by key: all of ``keys`` must be there, those in ``optional`` may, others may not."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error("is not a mapping", f"write the keys {', '.join(keys)}")
        fields: dict[str, Field] = {}
        for key, value in self.node.value:
            field = self.inner(f".{key.value}", key.start_mark.line + 1, value)
            if key.value not in (*keys, *optional):
                raise field.error("unknown key", f"use only {', '.join((*keys, *optional))}")
            if key.value in fields:
                raise field.error("key given twice", "keep one of the two")
            fields[key.value] = field
        for key in keys:
            if key not in fields:
                raise self.inner(f".{key}", self.line, self.node).error("missing", "add this key")
        return fields

    def inner(self, step: str, line: int, node: yaml.Node) -> Field:
        return Field(self.file, line, (self.path + step).lstrip("."), node)

    def entries(self) -> dict[str, Field]:
        """The values of a mapping whose keys are free."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error("is not a mapping", "write entries 'name: value'")
        return self.mapping(*(key.value for key, _ in self.node.value))

    def items(self) -> list[Field]:
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.error("is not a list", "write entries that begin with '- '")
        return [self.inner(f"[{i}]", node.start_mark.line + 1, node) for i, node in enumerate(self.node.value)]

    def records(self, *keys: str, parent: str = "", least: int = 0, needed: str = "") -> dict[str, dict[str, Field]]:
        """The entries of a list by their code; each has ``code`` and exactly these other keys."""
        entries: dict[str, dict[str, Field]] = {}
        for item in self.items():
            entry = item.mapping("code", *keys)
            code = entry["code"].code(parent)
            if code in entries:
                first = entries[code]["code"].line
                raise entry["code"].error(f"{code} is already used in line {first}", "give each entry its own code")
            entries[code] = entry
        if len(entries) < least:
            raise self.error(f"has fewer entries than {least}", f"add entries, {needed} among them")
        if needed and needed not in entries:
            raise self.error(f"{needed} is missing", "add it, passing on and confidentiality rest on it")
        return entries

    def scalar(self, kind: str, pattern: str, wanted: str, example: str) -> str:
        value = str(self.node.value).strip() if isinstance(self.node, yaml.ScalarNode) else "a list or mapping"
        if not value:
            raise self.error("is empty", f"write for example {example}")
        if self.node.tag != f"tag:yaml.org,2002:{kind}" or not re.fullmatch(pattern, value):
            raise self.error(f"{value} is not {wanted}", f"write for example {example}")
        return value

    def text(self) -> str:
        return self.scalar("str", r"(?s).+", "text", "教育收费, in quotes if it looks like a number, a date or yes/no")

    def code(self, parent: str = "") -> str:
        if parent:
            pattern, wanted = rf"{parent}\.[a-z0-9_]+", f"{parent}. and small letters, digits or _"
            return self.scalar("str", pattern, wanted, f"{parent}.other")
        return self.scalar("str", r"[a-z][a-z0-9_]*", "a code of small letters, digits or _", "own_topic")

    def number(self) -> int:
        return int(self.scalar("int", r"[1-9][0-9]{0,3}", "a whole number from 1 to 9999", "15"))

    def flag(self) -> bool:
        return self.scalar("bool", "true|false", "true or false", "true") == "true"


def compile_pattern(field: Field, words: dict[str, str]) -> re.Pattern[str]:
    """Return the regular expression in ``field``, ``{name}`` replaced from ``words``.

    Raises ConfigurationError for an unknown name, an unbounded repetition, a syntax error or a
    pattern that matches where nothing stands.
    """
    source = field.text()
    for name in re.findall(r"\{([^\W\d][^{}]*)\}", source):
        if name not in words:
            raise field.error(f"unknown word list {{{name}}}", "define it under words")
        source = source.replace("{" + name + "}", words[name])
    bare = re.sub(r"\[\^?\]?[^\]]*\]", "x", re.sub(r"\\.", "x", source))
    if re.search(r"[*+]|\{\d*,\}|\{(?:\d*,)?\d{4,}\}", bare):
        raise field.error("unbounded repetition", "bound it, for example {0,20}, so that time stays linear")
    try:
        pattern = re.compile(source)
    except (re.error, OverflowError) as error:
        raise field.error(f"not a regular expression ({error})", "correct the pattern") from None
    if pattern.search(""):
        raise field.error("matches where nothing stands", "let it ask for at least one character")
    return pattern
