"""Entries of torch.hub: functions of a hubconf.py, of the user's own folder or of a repository that the user trusts."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from probeline.backbones.user_code.calling import find_function, import_code
from probeline.backbones.user_code.errors import CodeFailed
from probeline.backbones.weights.download import check_download_is_allowed
from probeline.backbones.weights.reachable import check_url
from probeline.errors import BadOption, DownloadFailed, MissingExtra
from probeline.files.reading import TEXT, read_text

_GITHUB = "https://github.com"


def load_entry(repository: str, entry: str, *, is_folder: bool) -> tuple[Callable[[], Any], ModuleType]:
    """Return an entry, and the module of its hubconf.py.

    A repository of GitHub is downloaded by torch.hub if it is missing. Its code is run only if torch.hub's list of
    trusted repositories has it, or if the user says so when torch.hub asks in the terminal.

    Raises
    ------
    BadOption
        A repository that is not trusted, without a terminal to ask in.
    DownloadFailed, UnknownName, MissingExtra
        It cannot be fetched, it has no such entry, or it needs packages that are missing.
    CodeFailed
        An error of its code.
    """
    folder = Path(repository).expanduser() if is_folder else _fetch(repository, entry)
    try:
        module = import_code(str(folder / "hubconf.py"))
    except CodeFailed as error:
        if isinstance(error.__cause__, ModuleNotFoundError):
            package = error.__cause__.name
            raise MissingExtra(f"hub:{repository} needs {package}", remedy=f"pip install {package}") from error
        raise
    dependencies = getattr(module, "dependencies", [])
    missing = [name for name in dependencies if not _is_installed(str(name))]
    if missing:
        raise MissingExtra(f"hub:{repository} needs {', '.join(missing)}", remedy=f"pip install {' '.join(missing)}")
    return find_function(module, str(folder / "hubconf.py"), entry), module


def _is_installed(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


def _fetch(repository: str, entry: str) -> Path:
    """Return the folder of a repository in torch.hub's cache; what is in it was trusted when it was downloaded."""
    name, _, ref = repository.partition(":")
    cache = Path(torch.hub.get_dir())
    branches = [ref] if ref else ["main", "master"]
    folders = [cache / f"{name}_{branch}".replace("/", "_") for branch in branches]

    def find_cached() -> Path | None:
        return next((folder for folder in folders if folder.is_dir()), None)

    if (cached := find_cached()) is not None:
        return cached
    load = f'python -c \'import torch; torch.hub.load("{repository}", "{entry}", trust_repo=True)\''
    is_listed = _is_listed(cache, name.replace("/", "_"))
    if not is_listed and not sys.stdin.isatty():
        raise BadOption(
            f"hub:{repository} is code of {_GITHUB}/{name} that you have not trusted yet",
            remedy=f"read it, and if you trust it run: {load}",
        )
    remedy = f"run where there is a network: {load}, and bring {cache} here"
    check_download_is_allowed(f"hub:{repository}")
    check_url(f"{_GITHUB}/{name}", f"the code of hub:{repository}", remedy)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            # Torch's list of the entries downloads the code, after asking in the terminal whether it is trusted.
            torch.hub.list(repository, trust_repo="check" if is_listed else False, verbose=False)  # type: ignore[no-untyped-call]
    except Exception as error:  # torch has no kind of its own for a refusal
        if str(error) == "Untrusted repository.":
            raise BadOption(f"hub:{repository} is not trusted") from error
        if find_cached() is None:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise DownloadFailed(f"cannot fetch the code of hub:{repository}", got=reason, remedy=remedy) from error
    if (fetched := find_cached()) is None:
        raise DownloadFailed(f"no code of hub:{repository}", where=cache, expected=folders[0].name)
    return fetched


def _is_listed(cache: Path, name: str) -> bool:
    """Return whether torch.hub's list of trusted repositories has one."""
    with contextlib.suppress(OSError):
        return name in read_text(cache / "trusted_list", TEXT).split()
    return False
