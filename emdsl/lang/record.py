"""Record: the base of the syntax tree's nodes."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn, Self, dataclass_transform


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Record:
    """A frozen value of the fields that its class declares, as a dataclass with keywords alone.

    A dataclass is made by `exec`: fifty of them took 12 ms of every start.
    """

    fields: ClassVar[tuple[str, ...]] = ()  # without the spans
    _all: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        declared = vars(cls)["__annotations__"]
        cls.fields += tuple(name for name in declared if not name.endswith("span"))
        cls._all |= declared.keys()

    def __init__(self, **fields: Any) -> None:
        if fields.keys() != self._all:
            raise TypeError(f"{type(self).__name__} has the fields {', '.join(sorted(self._all))}")
        self.__dict__.update(fields)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"`{name}` is frozen")

    __delattr__ = __setattr__  # type: ignore[assignment]  # it raises, whatever it is called with

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in self.fields)})"

    def _values(self) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in self.fields])

    def replaced(self, **changes: Any) -> Self:
        """Return a copy with other values of some fields."""
        return type(self)(**{**self.__dict__, **changes})
