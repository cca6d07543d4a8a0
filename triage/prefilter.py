"""What a pattern needs: words without one of which it cannot match, characters with which a match begins.

A text that has none of the words need not be searched, and other places of a text need not be tried.

Read from Python's own parse of the pattern (``re._parser``). Where that module or a construct is
unknown nothing is claimed, and the pattern is simply searched.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from typing import Any

_MOST_WORDS = 96
_MOST_FIRST = 600


def needed_words(pattern: str) -> frozenset[str]:
    """Return words of which every match of ``pattern`` holds at least one; empty where none can be named."""
    try:
        parsed = importlib.import_module("re._parser").parse(pattern)
    except (ImportError, AttributeError):
        return frozenset()
    return _of_sequence(parsed) or frozenset()


def _of_sequence(items: Iterable[Any]) -> frozenset[str] | None:
    """Return the most selective of what the items in a row need."""
    found: list[frozenset[str]] = []
    run = ""
    for operation, argument in items:
        if str(operation) == "LITERAL":
            run += chr(argument)
            continue
        found += [frozenset({run})] if run else []
        run = ""
        needed = _of_item(str(operation), argument)
        found += [needed] if needed else []
    found += [frozenset({run})] if run else []
    return max(found, key=lambda words: (min(map(len, words)), -len(words)), default=None)


def _of_item(operation: str, argument: Any) -> frozenset[str] | None:
    if operation == "SUBPATTERN":
        return _of_sequence(argument[3])
    if operation in ("MAX_REPEAT", "MIN_REPEAT"):
        return _of_sequence(argument[2]) if argument[0] else None
    if operation == "BRANCH":
        branches = [_of_sequence(branch) for branch in argument[1]]
        words = frozenset(word for branch in branches for word in branch or ())
        return words if all(branches) and len(words) <= _MOST_WORDS else None
    if operation == "IN" and all(str(kind) == "LITERAL" for kind, _ in argument):
        return frozenset(chr(code) for _, code in argument)
    return None


def guarded(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """Return ``pattern`` compiled so that it is tried only where one of its first characters stands.

    Python's engine does so by itself only for patterns of plain words; an alternation of groups it
    tries branch by branch at every place of the text.
    """
    compiled = re.compile(pattern, flags)
    try:
        first = _first_of_sequence(importlib.import_module("re._parser").parse(pattern, flags))
    except (ImportError, AttributeError):
        return compiled
    if not first or len(first) > _MOST_FIRST:
        return compiled
    return re.compile(f"(?=[{re.escape(''.join(sorted(first)))}])(?:{pattern})", flags)


def _first_of_sequence(items: Iterable[Any]) -> frozenset[str] | None:
    """Return the characters with which a match of the items in a row may begin; None where any may."""
    first: frozenset[str] = frozenset()
    for operation, argument in items:
        name = str(operation)
        if name in ("ASSERT", "ASSERT_NOT", "AT"):
            continue
        here = _first_of_item(name, argument)
        if here is None:
            return None
        first |= here
        if not (name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT") and argument[0] == 0):
            return first
    return None


def _first_of_item(operation: str, argument: Any) -> frozenset[str] | None:
    if operation == "LITERAL":
        return frozenset(chr(argument))
    if operation == "SUBPATTERN":
        return _first_of_sequence(argument[3])
    if operation in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        return _first_of_sequence(argument[2])
    if operation == "BRANCH":
        branches = [_first_of_sequence(branch) for branch in argument[1]]
        return None if None in branches else frozenset().union(*(branch or () for branch in branches))
    if operation == "IN":
        return _first_of_set(argument)
    return None


def _first_of_set(members: Iterable[Any]) -> frozenset[str] | None:
    characters: set[str] = set()
    for kind, value in members:
        if str(kind) == "LITERAL":
            characters.add(chr(value))
        elif str(kind) == "RANGE" and value[1] - value[0] < _MOST_FIRST:
            characters.update(map(chr, range(value[0], value[1] + 1)))
        else:
            return None
    return frozenset(characters)
