"""Published data sets as one archive each: taken as they lie there, unpacked, or downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from probeline.console import Console
from probeline.data.archives.download import difference, fetch
from probeline.data.archives.unpack import extract_tar, extract_zip
from probeline.errors import BadData, MissingData


@dataclass(frozen=True)
class Archive:
    """A published archive that holds one folder.

    Attributes
    ----------
    url, sha256 : str
    size : int
        Bytes of the archive.
    folder : str
        Name of its one folder.
    entries, unpacked : int
        The most files and folders, and the most bytes, that unpacking it may give.
    """

    url: str
    sha256: str
    size: int
    folder: str
    entries: int
    unpacked: int

    @property
    def name(self) -> str:
        """The archive's file name."""
        return self.url.rsplit("/", 1)[-1]


def obtain(archives: tuple[Archive, ...], data: Path, console: Console, *, download: bool) -> Path:
    """Return the folder of one of the archives: as it lies in `data`, unpacked from there, or downloaded.

    Parameters
    ----------
    archives : tuple of Archive
        Forms of the same data set; the first is the one to download.
    data : Path
        The parent of the folders, and where archives are looked for and kept.
    console : Console
    download : bool
        Whether a download is allowed.

    Raises
    ------
    MissingData
        Where there is none and nothing may be downloaded.
    BadData
        For an archive with other bytes than the published ones.
    CannotWrite, DownloadFailed
    """
    for archive in archives:
        if (data / archive.folder).is_dir():
            return data / archive.folder
    for archive in archives:
        if (data / archive.name).exists():
            return _unpacked(archive, data, console)
    first = archives[0]
    if not download:
        names = [name for archive in archives for name in (f"{archive.folder}/", archive.name)]
        raise MissingData(
            "data set is not there",
            where=data,
            expected=" or ".join(names),
            remedy=f"allow the download, or fetch {first.url} into {data} by hand",
        )
    fetch(first.url, data / first.name, sha256=first.sha256, size=first.size, console=console)
    return _unpacked(first, data, console)


def _unpacked(archive: Archive, data: Path, console: Console) -> Path:
    """Verify the archive in `data`, unpack it there and return its folder."""
    path = data / archive.name
    if wrong := difference(path.read_bytes(), archive.sha256, archive.size):
        expected, got = wrong
        raise BadData(
            "archive is not the published one",
            where=path,
            expected=expected,
            got=got,
            remedy="remove it and run the command again",
        )
    folder = data / archive.folder
    console.say(f"unpacking {path}")
    extract = extract_zip if archive.name.endswith(".zip") else extract_tar
    extract(path, folder, entries=archive.entries, size=archive.unpacked)
    return folder
