"""Words without one of which a pattern cannot match: a text that has none need not be searched.

Read from Python's own parse of the pattern (``re._parser``). Where that module or a construct is
unknown nothing is claimed, and the pattern is simply searched.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

_MOST_WORDS = 96


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
