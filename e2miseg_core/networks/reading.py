"""Configurations as JSON values and back, with every value checked."""

import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, TypeVar

from e2miseg_core.errors import ConfigError

__all__ = ["check_choices", "check_setting", "read_config"]

T = TypeVar("T")

WORDS = {bool: "true or false", int: "a whole number", float: "a number"}


def read_config(kind: type[T], values: Mapping[str, Any]) -> T:
    """Make the dataclass `kind` from JSON values.

    Fields that have defaults may be missing: so what an older version wrote is read.

    Raises
    ------
    ConfigError
        For unknown or missing keys, or values of another type.
    """
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    required = {
        name
        for name, f in known.items()
        if f.default is MISSING and f.default_factory is MISSING
    }
    if not required <= set(values) <= set(known):
        raise ConfigError(
            found=f"a network configuration with the keys {sorted(values)}",
            needed=f"keys out of {sorted(known)}",
            do="open the model with the version that wrote it, or newer",
        )
    hints = typing.get_type_hints(kind)
    return kind(**{name: _read(name, hints[name], v) for name, v in values.items()})


def check_choices(config: object) -> None:
    """Raise ConfigError if a field with a closed set of values has another one."""
    for name, hint in typing.get_type_hints(type(config)).items():
        value = getattr(config, name)
        if typing.get_origin(hint) is Literal and value not in typing.get_args(hint):
            raise ConfigError(
                found=f"{name} = {value!r}",
                needed=f"one of {', '.join(map(repr, typing.get_args(hint)))}",
                do="correct the network's configuration",
            )


def check_setting(kind: type, path: Sequence[str], value: Any) -> None:
    """Raise ConfigError in the words of the command line if a field cannot be so.

    Parameters
    ----------
    kind : type
        The dataclass.
    path : sequence of str
        Groups and name of a field that there is.
    value : JSON value
    """
    hint: Any = kind
    for name in path:
        hint = typing.get_type_hints(hint)[name]
    if is_dataclass(hint) and isinstance(value, Mapping):
        return  # `read_config` checks each
    read = tuple(value) if isinstance(value, list) else value
    is_other = typing.get_origin(hint) is Literal and read not in typing.get_args(hint)
    if is_other or not _fits(hint, read):
        raise ConfigError(
            found=f"--network {'.'.join(path)} = {value!r}",
            needed=_words(hint),
            do="correct the option",
        )


def _read(name: str, hint: Any, value: Any) -> Any:
    """One value as its field's type; JSON knows no tuples and no dataclasses."""
    if is_dataclass(hint) and isinstance(value, Mapping):
        return read_config(typing.cast("type[Any]", hint), value)
    read = tuple(value) if isinstance(value, list) else value
    if not _fits(hint, read):
        raise ConfigError(
            found=f"{name} = {value!r} in a network configuration",
            needed=_words(hint),
            do="correct the network's configuration",
        )
    return read


def _words(hint: Any) -> str:
    """A field's type as a user knows it."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is UnionType:
        return ", or ".join(map(_words, inner))
    if origin is Literal:
        return f"one of {', '.join(map(repr, inner))}"
    if origin is tuple and inner[-1] is Ellipsis:
        return "whole numbers in a list, such as [32, 64]"
    if origin is tuple:
        count = {2: "two", 3: "three"}[len(inner)]
        example = list(range(32, 32 * len(inner) + 1, 32))
        return f"{count} whole numbers in a list, such as {example}"
    if is_dataclass(hint):
        return f"its settings, one by one: {', '.join(f.name for f in fields(hint))}"
    return WORDS[hint]


def _fits(hint: Any, value: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is UnionType:
        return any(_fits(one, value) for one in inner)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if inner[-1] is Ellipsis:
            return all(_fits(inner[0], v) for v in value)
        return len(value) == len(inner) and all(map(_fits, inner, value))
    if origin is Literal:
        return isinstance(value, str)  # which one, the dataclass checks
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is hint
