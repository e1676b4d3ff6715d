"""YAML lists of records; every scalar is text as written."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import yaml

from emdsl.data.records import DataError
from emdsl.data.rows import rows_of

if TYPE_CHECKING:
    from emdsl.data.records import File, Layout, Record

LEVELS = 3  # of a file, whose parts have a line
MAX_NODES = 2_000_000  # aliases of aliases grow without bound ("billion laughs")
_WAYS = {  # what to do, by libyaml's words
    "mapping values are not allowed": "put quotes around a text that contains `: `",
    "cannot start any token": "indent by spaces, not tabs, and put quotes around a text that begins with %, @ or `",
    "unknown escape character": "use single quotes around a text with backslashes",
    "undefined alias": "put quotes around a text that begins with *",
    "expected alphabetic or numeric character": "put quotes around a text that begins with * or &",
    "did not find expected": "put quotes around a text that holds quotes or brackets, and align the items of a list",
}


class _TextLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # libyaml's, if installed
    """The safe loader without type guesses: `007`, `1.50`, `yes` and `~` stay texts."""

    yaml_implicit_resolvers: dict[str, Any] = {  # noqa: RUF012 - PyYAML's own class attribute
        key: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:merge"]
        for key, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _text(loader: _TextLoader, _suffix: str, node: yaml.Node) -> Any:
    """Return a scalar as text, whatever its tag."""
    if not isinstance(node, yaml.ScalarNode):
        raise yaml.constructor.ConstructorError(None, None, f"the tag `{node.tag}` is not supported", node.start_mark)
    return loader.construct_scalar(node)


def _mapping(loader: _TextLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    """Return a mapping; a duplicate key is an error, as in JSON."""
    keys = [k.value for k, _ in node.value if isinstance(k, yaml.ScalarNode) and k.tag != "tag:yaml.org,2002:merge"]
    for key, n in Counter(keys).items():
        if n > 1:
            raise yaml.constructor.ConstructorError(
                None, None, f"the field `{key}` appears twice in one record", node.start_mark
            )
    mapping: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return mapping


_TextLoader.yaml_constructors = {
    "tag:yaml.org,2002:seq": lambda loader, node: loader.construct_sequence(node, deep=True),
    "tag:yaml.org,2002:str": yaml.SafeLoader.construct_yaml_str,
    "tag:yaml.org,2002:map": _mapping,
}
_TextLoader.yaml_multi_constructors = {"": _text}


class Tagged(str):
    """A scalar with a tag of its own, such as `!function utils.process` in tasks of lm-eval."""

    __slots__ = ()


class _TaggedLoader(_TextLoader):
    """The same, which keeps scalars with a tag apart."""


def _tagged(loader: _TaggedLoader, suffix: str, node: yaml.Node) -> Any:
    return Tagged(_text(loader, suffix, node))


_TaggedLoader.yaml_multi_constructors = {"!": _tagged, "": _text}


def read_yaml(file: File, layout: Layout) -> list[Record]:
    """Read a file that holds a list or an object, or several documents; raises DataError."""
    tree = _tree(file, _TextLoader)
    return [] if tree is None else rows_of(tree, file.name, layout, _place)


def read_tree(file: File) -> tuple[Any, dict[tuple[str | int, ...], int]]:
    """Return the content of a file, with its tags, and the lines of its parts down to the third level.

    Raises:
        DataError: The file cannot be read.
    """
    tree = _tree(file, _TaggedLoader)
    lines: dict[tuple[str | int, ...], int] = {}
    for node in yaml.compose_all(file.text, Loader=_TaggedLoader):
        _note_lines(node, (), lines)
        break  # of several documents the first
    return tree, lines


def _note_lines(node: Any, path: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int]) -> None:
    lines[path] = node.start_mark.line + 1
    if len(path) < LEVELS and isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            _note_lines(item, (*path, i), lines)
    elif len(path) < LEVELS and isinstance(node, yaml.MappingNode):
        for key, item in node.value:
            if isinstance(key, yaml.ScalarNode):
                _note_lines(item, (*path, key.value), lines)
                lines[*path, key.value] = key.start_mark.line + 1


def _tree(file: File, loader: type[_TextLoader]) -> Any:
    name = file.name
    try:
        documents = list(yaml.load_all(file.text, Loader=loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        help_ = next((way for problem, way in _WAYS.items() if problem in str(error.problem)), "")
        raise DataError(f"`{name}`{where}: {error.problem}", help=help_) from error
    except yaml.YAMLError as error:
        raise DataError(f"`{name}`: {error}") from error
    except RecursionError:
        raise DataError(f"`{name}`: nested too deeply") from None
    if not documents:
        return None
    while len(documents) > 1 and documents[-1] in (None, ""):  # after a last `---`
        documents.pop()
    try:
        return _frozen(documents[0] if len(documents) == 1 else documents, name, [MAX_NODES])
    except RecursionError:
        raise DataError(f"`{name}`: nested too deeply, or within itself") from None


def _place(i: int, value: Any) -> str:
    return f"row {i}" + (
        f" (id `{value['id']}`)" if isinstance(value, dict) and isinstance(value.get("id"), str) else ""
    )


def _frozen(value: Any, name: str, budget: list[int]) -> Any:
    budget[0] -= 1
    if budget[0] < 0:
        raise DataError(f"`{name}`: its aliases expand to more than the maximum of {MAX_NODES:,} values")
    if isinstance(value, list):
        return tuple(_frozen(x, name, budget) for x in value)
    if isinstance(value, dict):
        return {str(k): _frozen(v, name, budget) for k, v in value.items()}
    return value if isinstance(value, str) else str(value)
