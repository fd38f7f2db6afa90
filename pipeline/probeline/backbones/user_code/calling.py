"""Calls of the user's own code: a function of a file or a module that returns a net."""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import importlib
import importlib.util
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from torch import nn

from probeline.backbones.user_code.errors import CodeFailed, is_library, reported
from probeline.environment import declare_missing_operators
from probeline.errors import BadOption, MissingData, UnknownName

_PREFIX = "probeline_user_"
"""Of the names of modules that are made of files."""

SEED = 0
"""Of the random states while a factory runs, so that equal code gives an equal net."""


def load_factory(module: str, factory: str) -> tuple[Callable[[], Any], ModuleType]:
    """Return a function of a module, or of a file if its name ends in ``.py``, and the module.

    Raises
    ------
    MissingData, UnknownName, CodeFailed
        No such file, module or function, or an error of its code.
    """
    loaded = import_code(module)
    return find_function(loaded, module, factory), loaded


def import_code(module: str) -> ModuleType:
    """Return a module, or a file's if the name ends in ``.py``.

    A file is run anew, and may import what lies next to it; a module may lie in the working directory.
    """
    declare_missing_operators()
    return _import_file(Path(module).expanduser()) if module.endswith(".py") else _import_module(module)


def find_function(loaded: ModuleType, module: str, factory: str) -> Callable[[], Any]:
    """Return a function of a module that :func:`import_code` returned, which may import what lies next to it."""
    function = getattr(loaded, factory, None)
    folder = Path(module).expanduser().resolve().parent if module.endswith(".py") else Path.cwd()
    if not callable(function):
        functions = [name for name, value in vars(loaded).items() if callable(value) and not name.startswith("_")]
        raise UnknownName(f"function of {module}", factory, functions, remedy="it returns the net, without arguments")

    @functools.wraps(function)  # with its attributes, such as `preprocess`
    def call() -> Any:
        with _importable(folder):
            return function()

    return call


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise MissingData("no such file", where=path, remedy="check the path of --backbone python:FILE.py:FUNCTION")
    # Under a name of its own, so that two files called net.py do not meet, and pickles of its classes work.
    name = _PREFIX + hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise MissingData("cannot import the file", where=path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _importable(path.resolve().parent), reported(f"importing {path}"):
        spec.loader.exec_module(module)
    return module


def _import_module(name: str) -> ModuleType:
    with _importable(Path.cwd()):
        try:
            with reported(f"importing {name}"):
                return importlib.import_module(name)
        except CodeFailed as error:
            cause = error.__cause__
            if isinstance(cause, ModuleNotFoundError) and name.startswith(str(cause.name)):
                expected = "an installed module, one in this folder, or a FILE.py"
                raise MissingData("no such module", where=name, expected=expected) from error
            raise


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a block import modules of a folder, and unload them afterwards: another folder may use the same names."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and folder in Path(file).parents and not is_library(file) and not name.startswith(_PREFIX):
                del sys.modules[name]


def call_factory(factory: Callable[[], Any], what: str) -> nn.Module:
    """Return the net of a factory, float32 and on the CPU, if it is one.

    Torch's random state is as the caller has it; those of Python and NumPy are seeded meanwhile, and then restored.

    Raises
    ------
    CodeFailed, BadOption
        An error of the code, or something else than a net.
    """
    with _seeded(), reported(f"calling {what}"):
        net = factory()
    if not isinstance(net, nn.Module):
        raise BadOption(f"{what} returns no net", expected="a torch.nn.Module", got=type(net).__name__)
    # A copy, as it will be changed, and the function may return the same net each time.
    with contextlib.suppress(Exception):
        net = copy.deepcopy(net)
    return net.cpu().float()


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """Seed the random states of Python and NumPy for a block."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - what a user's code may use
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
