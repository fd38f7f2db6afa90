"""Records to JSON values and back: every field is checked against its type hint, and nothing is converted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, TypeVar, Union, cast, get_args, get_origin, get_type_hints

Record = TypeVar("Record")

_NAMES = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}


class BadRecord(ValueError):
    """JSON values that are not those of a record."""


def encode(record: Any) -> dict[str, Any]:
    """Return the fields of a record, a dataclass, as values that JSON can hold if its numbers are finite."""
    return asdict(record)


def decode(record_class: type[Record], values: object) -> Record:
    """Return the record that JSON values describe, or a value of another type that a record's field may have.

    The hints of a record's fields may be ``int``, ``float``, ``str``, ``bool``, ``Any``, ``Literal``, other frozen
    dataclasses, and of all these ``tuple[X, ...]``, ``tuple[X, Y]``, ``Mapping[str, X]`` and ``X | None``. An integer
    is accepted, and kept, as a ``float``; a field may be missing if it has a default.

    Raises
    ------
    BadRecord
        A field is missing, unknown or of another type, a number is not finite, or the record's own ``__post_init__``
        refuses its values. The message has the path of the field.
    """
    return cast(Record, _decoder_of(cast(Any, record_class))(values, ""))


def _refuse(path: str, expected: str, value: object) -> NoReturn:
    got = repr(value) if isinstance(value, int | float | str | None) else f"a {type(value).__name__}"
    raise BadRecord(f"{path or 'the record'}: expected {expected}, got {got:.80}")


@cache
def _decoders_of(record_class: type) -> dict[str, Callable[[object, str], Any]]:
    return {name: _decoder_of(hint) for name, hint in get_type_hints(record_class).items()}


@cache
def _required(record_class: Any) -> frozenset[str]:
    defaults = ((field.name, field.default, field.default_factory) for field in fields(record_class))
    return frozenset(name for name, default, factory in defaults if default is MISSING and factory is MISSING)


def _decode_record(record_class: Any, values: object, path: str) -> Any:
    if not isinstance(values, Mapping):
        _refuse(path, f"the fields of a {record_class.__name__}", values)
    decoders = _decoders_of(record_class)
    if missing := sorted(_required(record_class) - values.keys()):
        raise BadRecord(f"{path or 'the record'}: missing {', '.join(missing)}")
    if unknown := sorted(str(name) for name in values.keys() - decoders.keys()):
        raise BadRecord(f"{path or 'the record'}: unknown {', '.join(unknown)}")
    prefix = f"{path}." if path else ""
    decoded = {name: decoders[name](value, prefix + name) for name, value in values.items()}
    try:
        return record_class(**decoded)
    except ValueError as error:
        raise BadRecord(f"{path or 'the record'}: {error}") from error


@cache
def _decoder_of(hint: Any) -> Callable[[object, str], Any]:
    """Return what decodes a value of a type, given the value and its path."""
    if hint in _NAMES:
        return partial(_check_scalar, hint)
    if hint is Any:
        return _check_json
    if is_dataclass(hint):
        return partial(_decode_record, hint)
    origin, options = get_origin(hint), get_args(hint)
    if origin is tuple and options[-1] is Ellipsis:
        return partial(_decode_array, options[0], _decoder_of(options[0]))
    if origin is tuple:
        return partial(_decode_tuple, tuple(map(_decoder_of, options)))
    if origin is Mapping:
        return partial(_decode_mapping, _decoder_of(options[1]))
    if origin is Literal:
        return partial(_check_literal, options)
    if origin in (Union, UnionType) and NoneType in options and len(options) == 2:
        (inner,) = (_decoder_of(option) for option in options if option is not NoneType)
        return lambda value, path: None if value is None else inner(value, path)
    raise TypeError(f"a record cannot hold {hint}")


def _decode_array(hint: Any, decode_item: Callable[[object, str], Any], value: object, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        _refuse(path, "an array", value)
    if hint in (int, str) and set(map(type, value)) <= {hint}:  # in one step, as predictions are many
        return tuple(value)
    return tuple([decode_item(item, f"{path}[{i}]") for i, item in enumerate(value)])


def _decode_tuple(decoders: tuple[Callable[[object, str], Any], ...], value: object, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        _refuse(path, "an array", value)
    if len(value) != len(decoders):
        _refuse(path, f"{len(decoders)} values", len(value))
    return tuple([decoders[i](item, f"{path}[{i}]") for i, item in enumerate(value)])


def _decode_mapping(decode_item: Callable[[object, str], Any], value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        _refuse(path, "an object", value)
    return {_check_scalar(str, name, path): decode_item(item, f"{path}.{name}") for name, item in value.items()}


def _check_literal(options: tuple[Any, ...], value: object, path: str) -> object:
    if not any(value == option and type(value) is type(option) for option in options):
        _refuse(path, f"one of {', '.join(map(repr, options))}", value)
    return value


def _check_scalar(hint: type, value: object, path: str) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number if hint is float else isinstance(value, hint) and (is_number or hint is not int)):
        _refuse(path, _NAMES[hint], value)
    if hint is float and not _is_finite(value):
        _refuse(path, "a finite number", value)
    return value


def _is_finite(number: Any) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer that no float can hold
        return False


def _check_json(value: object, path: str) -> Any:
    """Return a JSON value as it is, however deep, if all its numbers are finite."""
    rest = [(value, path)]
    while rest:
        item, where = rest.pop()
        if isinstance(item, Mapping):
            rest += [(inner, f"{where}.{_check_scalar(str, key, where)}") for key, inner in item.items()]
        elif isinstance(item, list | tuple):
            rest += [(inner, f"{where}[{i}]") for i, inner in enumerate(item)]
        elif isinstance(item, float) and not math.isfinite(item):
            _refuse(where, "a finite number", item)
        elif not isinstance(item, int | float | str | None):
            _refuse(where, "a JSON value", item)
    return value
