"""YAML lists of records; every scalar is text as written."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import yaml

from emdsl.data.records import DataError, Record

if TYPE_CHECKING:
    from pathlib import Path

MAX_NODES = 2_000_000  # aliases of aliases grow without bound ("billion laughs")


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


def read_yaml(path: Path) -> list[Record]:
    """Read a file that holds one list of records; raises DataError."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            items = yaml.load(file, Loader=_TextLoader)  # noqa: S506 - derived from SafeLoader
    except UnicodeDecodeError as error:
        raise DataError(f"`{path.name}` is not UTF-8 text (byte {error.start})", help="save it as UTF-8") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise DataError(f"`{path.name}`{where}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise DataError(f"`{path.name}`: {error}") from error
    except RecursionError:
        raise DataError(f"`{path.name}`: nested too deeply") from None
    if not isinstance(items, list):
        raise DataError(f"`{path.name}`: expected a list of records, each starting with `-`")
    budget = [MAX_NODES]
    records = []
    for i, value in enumerate(items, start=1):
        place = f"row {i}" + (
            f" (id `{value['id']}`)" if isinstance(value, dict) and isinstance(value.get("id"), str) else ""
        )
        if not isinstance(value, dict):
            raise DataError(f"`{path.name}`, {place}: expected a record of fields (`name: value`)")
        try:
            records.append(Record(_frozen(value, path, budget), place))
        except RecursionError:
            raise DataError(f"`{path.name}`, {place}: nested too deeply, or within itself") from None
    return records


def _frozen(value: Any, path: Path, budget: list[int]) -> Any:
    budget[0] -= 1
    if budget[0] < 0:
        raise DataError(f"`{path.name}`: its aliases expand to more than the maximum of {MAX_NODES:,} values")
    if isinstance(value, list):
        return tuple(_frozen(x, path, budget) for x in value)
    if isinstance(value, dict):
        return {str(k): _frozen(v, path, budget) for k, v in value.items()}
    return value if isinstance(value, str) else str(value)
