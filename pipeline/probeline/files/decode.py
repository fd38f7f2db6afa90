"""Records to JSON values and back: every field is checked against its type hint, and nothing is converted.

What no record needs is refused wherever it is: text of more than `LONGEST_TEXT` characters, with a NUL or with half a
character, integers of more than 64 bits, numbers beyond `LARGEST`, values nested deeper than `DEEPEST`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache, partial
from itertools import chain
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NoReturn, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from probeline.files.packed import MOST_LISTED, Packed, PackedFloats, pack, pack_floats, unpack, unpack_floats
from probeline.text import printable

Record = TypeVar("Record")
_Decoder = Callable[[object, str], Any]

LONGEST_TEXT = 1 << 16
"""Characters of one text; a thumbnail in base64 has some thousands."""

LARGEST = 1e100
"""Of numbers, so that sums and squares of many are finite."""

DEEPEST = 32
"""Levels of nested values, so that no walk through them ends in the interpreter's limit."""

_NAMES = {int: "an integer", float: "a number", str: "a string", bool: "true or false", NoneType: "null"}


class BadRecord(ValueError):
    """JSON values that are not those of a record."""


@dataclass(frozen=True)
class Members:
    """In ``Annotated[Mapping[str, X], Members(C)]``: members that are called like fields of C have their hints.

    The fields of the dataclass C without a default must be there; the mapping may have others, and stays as it is.
    """

    record_class: type


@dataclass(frozen=True)
class IfKnown:
    """In ``Annotated[X | None, IfKnown()]``: a field with the default None that is written only if it is another value.

    Records of programs that did not know the field keep their bytes.
    """


def encode(record: Any) -> dict[str, Any]:
    """Return the fields of a record, a dataclass, as values that JSON can hold if its numbers are finite."""
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    record_class = cast(Any, type(record))
    is_packed, are_floats = (_marked_fields(record_class, mark) for mark in (Packed(), PackedFloats()))
    for name in _marked_fields(record_class, IfKnown()):
        if values[name] is None:
            del values[name]
    return {
        name: pack_floats(value)
        if name in are_floats
        else pack(value)
        if name in is_packed and len(value) > MOST_LISTED
        else _encode_value(value)
        for name, value in values.items()
    }


def _encode_value(value: Any) -> Any:
    if is_dataclass(value):
        return encode(value)
    if isinstance(value, Mapping):
        return {name: _encode_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple) and not set(map(type, value)) <= _SCALARS:
        return [_encode_value(item) for item in value]
    return value


_SCALARS = {int, float, str, bool, NoneType}


@cache
def _marked_fields(record_class: Any, mark: Packed | PackedFloats | IfKnown) -> frozenset[str]:
    hints = get_type_hints(record_class, include_extras=True)
    return frozenset(name for name, hint in hints.items() if mark in get_args(hint))


def parse_json(data: bytes | str) -> Any:
    """Return the value of a JSON text of anybody's; BadRecord for all that is none or that no parser can hold."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:  # ValueError also for integers of thousands of digits
        raise BadRecord(f"not valid JSON: {str(error) or type(error).__name__:.80}") from error


def decode(record_class: type[Record], values: object) -> Record:
    """Return the record that JSON values describe, or a value of another type that a record's field may have.

    The hints of a record's fields may be ``int``, ``float``, ``str``, ``bool``, ``None``, ``Any``, ``Literal``, other
    frozen dataclasses, and of all these ``tuple[X, ...]``, ``tuple[X, Y]``, ``Mapping[str, X]``, ``X | Y`` and
    ``Annotated[X, check]``, where a check returns what it expects instead of a value (see
    :mod:`probeline.files.limits`), or is `Members` or `IfKnown`. An integer is accepted, and kept, as a ``float``; a
    field may be missing if it has a default.

    Raises
    ------
    BadRecord
        A field is missing, unknown or of another type, a number is not finite, a check or the record's own
        ``__post_init__`` refuses its values. The message has the path of the field, and is one line.
    """
    return cast(Record, _decoder_of(cast(Any, record_class))(values, ""))


def check_members(record_class: type, values: object) -> None:
    """Raise BadRecord unless the members of a mapping that are called like fields of a dataclass have their hints.

    It may have others; see `Members`.
    """
    _decode_record(record_class, values, "", others=True)
    _check_json(values, "the record")


def _refuse(path: str, expected: str, value: object) -> NoReturn:
    raise BadRecord(f"{path or 'the record'}: expected {expected}, got {_shown(value):.80}")


def _shown(value: object) -> str:
    """Return a value for a message: no integer whose digits Python refuses to write, no text that is not printable."""
    if isinstance(value, int) and value.bit_length() > 2048:
        return f"an integer of {value.bit_length():,} bits"
    return repr(value) if isinstance(value, int | float | str | None) else f"a {type(value).__name__}"


def _below(path: str, name: str) -> str:
    """Return the path of a member; its name may be anybody's text."""
    name = printable(name)[:40]
    return f"{path}.{name}" if path else name


@cache
def _decoders_of(record_class: type) -> dict[str, _Decoder]:
    return {name: _decoder_of(hint) for name, hint in get_type_hints(record_class, include_extras=True).items()}


@cache
def _required(record_class: Any) -> frozenset[str]:
    defaults = ((field.name, field.default, field.default_factory) for field in fields(record_class))
    return frozenset(name for name, default, factory in defaults if default is MISSING and factory is MISSING)


def _decode_record(record_class: Any, values: object, path: str, *, others: bool = False) -> Any:
    if not isinstance(values, Mapping):
        _refuse(path, f"the fields of a {record_class.__name__}", values)
    decoders = _decoders_of(record_class)
    if missing := sorted(_required(record_class) - values.keys()):
        raise BadRecord(f"{path or 'the record'}: missing {', '.join(missing)}")
    if not others and (unknown := sorted(_below("", str(name)) for name in values.keys() - decoders.keys())):
        raise BadRecord(f"{path or 'the record'}: unknown {', '.join(unknown):.80}")
    decoded = {name: decoders[name](value, _below(path, name)) for name, value in values.items() if name in decoders}
    try:
        return record_class(**decoded)
    except ValueError as error:
        raise BadRecord(f"{path or 'the record'}: {error}") from error


@cache
def _decoder_of(hint: Any) -> _Decoder:
    """Return what decodes a value of a type, given the value and its path."""
    if hint in _NAMES:
        return partial(_check_scalar, hint)
    if hint is Any:
        return _check_json
    if is_dataclass(hint):
        return partial(_decode_record, hint)
    origin, options = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return partial(_decode_checked, _decoder_of(options[0]), options[1:])
    if origin is tuple and options[-1] is Ellipsis:
        return partial(_decode_array, options[0], _decoder_of(options[0]))
    if origin is tuple:
        return partial(_decode_tuple, tuple(map(_decoder_of, options)))
    if origin is Mapping:
        return partial(_decode_mapping, _decoder_of(options[1]))
    if origin is Literal:
        return partial(_check_literal, options)
    if origin in (Union, UnionType):
        return partial(_decode_union, options, tuple(map(_decoder_of, options)))
    raise TypeError(f"a record cannot hold {hint}")


def _json_types(hint: Any) -> tuple[type, ...]:
    """Return the types of the JSON values that a hint may accept."""
    origin, options = get_origin(hint), get_args(hint)
    if hint is Any:
        return (object,)
    if hint is float:
        return (int, float)
    if hint in _NAMES:
        return (hint,)
    if origin is Annotated:
        return _json_types(options[0])
    if origin is Literal:
        return tuple({type(option) for option in options})
    return (list, tuple) if origin is tuple else (dict,)


def _decode_union(hints: tuple[Any, ...], decoders: tuple[_Decoder, ...], value: object, path: str) -> Any:
    """Return the value by the one hint that accepts values of its type; the hints of a union must differ in these."""
    for hint, decode_value in zip(hints, decoders, strict=True):
        types = _json_types(hint)
        if type(value) in types or object in types:
            return decode_value(value, path)
    accepted = [_json_types(hint) for hint in hints if hint is not NoneType]
    names = (_NAMES.get(types[0], "an array" if list in types else "an object") for types in accepted)
    _refuse(path, " or ".join(names), value)


def _decode_checked(decode_value: _Decoder, checks: tuple[Any, ...], value: object, path: str) -> Any:
    if PackedFloats() in checks and not isinstance(value, Mapping):
        _refuse(path, "a packed column", value)
    if (Packed() in checks or PackedFloats() in checks) and isinstance(value, Mapping):
        try:
            return unpack(value) if Packed() in checks else unpack_floats(value)
        except ValueError as error:
            raise BadRecord(f"{path}: {error}") from error
    decoded = decode_value(value, path)
    for check in checks:
        if isinstance(check, Packed | PackedFloats | IfKnown):
            continue
        if isinstance(check, Members):
            _decode_record(check.record_class, value, path, others=True)
        elif expected := check(decoded):
            _refuse(path, expected, value)
    return decoded


def _decode_array(hint: Any, decode_item: _Decoder, value: object, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        _refuse(path, "an array", value)
    # In one step, as predictions and samples are many.
    types = set(map(type, value)) if hint in (int, str, tuple[str, str]) else set()
    if hint is int and types == {int} and max(value) <= _MOST_INT and min(value) >= -_MOST_INT:
        return tuple(value)
    if hint is str and types == {str} and _are_plain(value):
        return tuple(value)
    if hint == tuple[str, str] and types == {list} and set(map(len, value)) == {2}:
        texts = list(chain.from_iterable(value))
        if set(map(type, texts)) == {str} and _are_plain(texts):
            return tuple(map(tuple, value))
    return tuple([decode_item(item, f"{path}[{i}]") for i, item in enumerate(value)])


def _are_plain(texts: Sequence[str]) -> bool:
    """Return whether texts pass :func:`_check_text`, in steps that take no second copy of them all."""
    return all(_fault_of("".join(texts[i : i + 1000])) is None for i in range(0, len(texts), 1000)) and (
        len(max(texts, key=len)) <= LONGEST_TEXT
    )


def _decode_tuple(decoders: tuple[_Decoder, ...], value: object, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        _refuse(path, "an array", value)
    if len(value) != len(decoders):
        _refuse(path, f"{len(decoders)} values", len(value))
    return tuple([decoders[i](item, f"{path}[{i}]") for i, item in enumerate(value)])


def _decode_mapping(decode_item: _Decoder, value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        _refuse(path, "an object", value)
    return {_check_scalar(str, name, path): decode_item(item, _below(path, name)) for name, item in value.items()}


def _check_literal(options: tuple[Any, ...], value: object, path: str) -> object:
    if not any(value == option and type(value) is type(option) for option in options):
        _refuse(path, f"one of {', '.join(map(repr, options))}", value)
    return value


_MOST_INT = (1 << 64) - 1


def _check_scalar(hint: type, value: object, path: str) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number if hint is float else isinstance(value, hint) and (is_number or hint is not int)):
        _refuse(path, _NAMES[hint], value)
    if isinstance(value, str):
        _check_text(value, path)
    elif is_number:
        _check_number(value, path, hint)
    return value


def _check_number(value: Any, path: str, hint: type) -> None:
    if hint is float or isinstance(value, float):
        if not _is_finite(value):
            _refuse(path, "a finite number", value)
        if abs(value) > LARGEST:
            _refuse(path, f"a number up to {LARGEST:g}", value)
    elif abs(value) > _MOST_INT:
        _refuse(path, "an integer of at most 64 bits", value)


def _is_finite(number: Any) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer that no float can hold
        return False


def _check_text(value: str, path: str) -> None:
    if len(value) > LONGEST_TEXT:
        _refuse(path, f"at most {LONGEST_TEXT:,} characters", len(value))
    if fault := _fault_of(value):
        _refuse(path, f"text without {fault}", value)


def _fault_of(text: str) -> str | None:
    """Return what keeps a text out of files and pages: a NUL, or half of a character beyond 16 bits."""
    if "\0" in text:
        return "a NUL"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "half a character"
    return None


def _check_json(value: object, path: str) -> Any:
    """Return a JSON value as it is, if all in it is within the limits."""
    rest = [(value, path, 0)]
    while rest:
        item, where, depth = rest.pop()
        if depth > DEEPEST:
            raise BadRecord(f"{path}: expected at most {DEEPEST} levels of nested values, got more")
        if isinstance(item, Mapping):
            for key in item:
                _check_scalar(str, key, where)
            rest += [(inner, _below(where, key), depth + 1) for key, inner in item.items()]
        elif isinstance(item, list | tuple):
            rest += [(inner, f"{where}[{i}]", depth + 1) for i, inner in enumerate(item)]
        elif isinstance(item, str):
            _check_text(item, where)
        elif isinstance(item, int | float) and not isinstance(item, bool):
            _check_number(item, where, type(item))
        elif not isinstance(item, bool | None):
            _refuse(where, "a JSON value", item)
    return value
