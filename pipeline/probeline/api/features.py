"""Extraction from Python, and the features that come of it."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from probeline.analysis.similar.search import CachedImages, SimilarImage
from probeline.api.console import LogConsole, raises_in_keywords
from probeline.api.measures.similar import find_similar
from probeline.api.scratch import ScratchFolder
from probeline.api.sessions import open_session, option_values, register_net
from probeline.data.objects.spec import spec_of
from probeline.data.sampling.splits import HeldOut
from probeline.errors import BadOption
from probeline.evaluate.features import CachedRows, vectors_of
from probeline.evaluate.tokens import cached_rows
from probeline.extraction.fill import fill as fill_cache
from probeline.files.paths import path_of
from probeline.identity import digest
from probeline.options.checks import check_settings
from probeline.options.settings import GROUP_OF
from probeline.session import Session, leaving_out_unreadable
from probeline.text import printable
from probeline.types import AnyArray, Backbone, DataSet, FloatArray, IntArray

if TYPE_CHECKING:
    import pandas as pd


class Features:
    """The embeddings of a data set by one frozen backbone, an array float32 [N, D] with what is known of its rows.

    :func:`probeline.extract` returns one; ``numpy.asarray(features)`` and indexing give arrays. The rows are those of
    all parts, one after the other. Tokens [N, T, D] become no array: ``probe-attentive`` reads them.
    """

    def __init__(self, session: Session, *taps: Backbone, folder: ScratchFolder | None = None) -> None:
        self._cached: CachedRows[Any] = cached_rows(session, *taps)
        self._folder = folder

    def __repr__(self) -> str:
        name = f"{self.session.dataset.name} x {self.backbone.name}"
        return printable(f"<Features {name}, {self.dtype.name} {list(self.shape)}, key {self.key[:12]}>")

    def __len__(self) -> int:
        return self.shape[0]

    def with_options(self, *, verbose: bool = False, reports: Any = None, **options: Any) -> Features:
        """Return the same features with other options of fitting, and another folder of reports.

        Raises
        ------
        TypeError
            An option does not concern fitting.
        """
        session, changes = self.session, option_values(options)
        for name in changes:
            if GROUP_OF[name] not in ("fitting", "heads", "training", "curve", "compute"):
                raise TypeError(f"{name} is no option of fitting; probeline.extract takes it")
        changes |= {} if reports is None else {"reports": path_of(reports).expanduser()}
        settings = replace(session.settings, console=LogConsole(verbose=verbose)).changed(**changes)
        check_settings(settings)
        return Features(session.under(settings, keep_features=True), *self._cached.taps, folder=self._folder)

    def on(self, data: DataSet, held_out: HeldOut, data_seed: int) -> Features:
        """Return the same features with other labels, groups, test and val rows, or another seed of the splits."""
        return Features(self.session.on(data, held_out, data_seed), *self._cached.taps, folder=self._folder)

    @property
    def session(self) -> Session:
        """The session that has data set, splits and cache."""
        return self._cached.session

    @property
    def cached(self) -> CachedRows[Any]:
        """The features as heads are fitted on them."""
        return self._cached

    @property
    def backbone(self) -> Backbone:
        """The record of the backbone, its weights, tap and preprocessing."""
        return self._cached.backbone

    @property
    def tap(self) -> str:
        """Where the net was read."""
        return self._cached.tap

    @property
    def shape(self) -> tuple[int, ...]:
        """N and D, or of tokens N, T and D."""
        rows, taps = sum(len(self.session.dataset.parts[part]) for part in self._parts), self._cached.taps
        return rows, *(taps[0].row_shape if len(taps) == 1 else (sum(tap.dim for tap in taps),))

    @property
    def ndim(self) -> int:
        """2, or 3 of tokens."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of every value: float32, or float16 of tokens."""
        return np.dtype(np.float16 if self._cached.taps[0].tokens else np.float32)

    @property
    def keys(self) -> dict[str, str]:
        """The key of the cache entry of each part, 64 hexadecimal digits; of several taps the digest of theirs."""
        keys = {part: [self.session.entry(tap, part).key for tap in self._cached.taps] for part in self._parts}
        return {part: own[0] if len(own) == 1 else digest(own) for part, own in keys.items()}

    @property
    def key(self) -> str:
        """What identifies the features: the key of the one part, or the digest of the parts' keys."""
        keys = self.keys
        return next(iter(keys.values())) if len(keys) == 1 else digest(keys)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names [K], in the order of the labels; empty if nothing is labelled."""
        return self.session.dataset.class_names

    @cached_property
    def labels(self) -> IntArray:
        """The class of each row, int64 [N]; -1 for a row without a label."""
        return np.concatenate([self.session.dataset.parts[part].labels for part in self._parts])

    @cached_property
    def sample_ids(self) -> AnyArray:
        """What names each row, str [N]; for files the POSIX path below the data set's folder."""
        parts = self.session.dataset.parts
        return np.array([name for part in self._parts for name in parts[part].sample_ids])

    @cached_property
    def parts(self) -> AnyArray:
        """The part of each row, str [N]."""
        sizes = [len(self.session.dataset.parts[part]) for part in self._parts]
        return np.repeat(np.array(self._parts), sizes)

    @cached_property
    def _parts(self) -> tuple[str, ...]:
        return self.session.parts()

    def numpy(self) -> FloatArray:
        """Return all rows as a new array float32 [N, D]."""
        blocks = [[self.session.features(tap, part).features for tap in self._cached.taps] for part in self._parts]
        return np.concatenate([np.concatenate(taps, axis=1) for taps in blocks])

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> AnyArray:
        if copy is False:
            raise ValueError("cached features become an array only by being copied")
        return self.numpy().astype(self.dtype if dtype is None else dtype, copy=False)

    def __getitem__(self, index: Any) -> AnyArray:
        """Return rows, or rows and columns, of :meth:`numpy`."""
        rows: AnyArray = self._array[index]
        return rows.copy()

    @cached_property
    def _array(self) -> FloatArray:
        return self.numpy()

    def to_frame(self, *, features: bool = False) -> pd.DataFrame:
        """Return a pandas data frame of N rows: ``sample_id``, ``part``, ``split`` and ``label``.

        Parameters
        ----------
        features : bool
            Whether the embeddings come along, as columns ``f0`` to ``f<D-1>``.
        """
        from probeline.api.frames import frame

        names = np.array([*self.classes, ""], dtype=object)
        columns: dict[str, Any] = {
            "sample_id": self.sample_ids,
            "part": self.parts,
            "split": self._roles(),
            "label": names[self.labels],
        }
        if features:
            columns |= {f"f{dim}": column for dim, column in enumerate(np.ascontiguousarray(self.numpy().T))}
        return frame(columns)

    def similar(self, image: Any, k: int = 10, *, approximate: bool = False) -> list[SimilarImage]:
        """Return the k images nearest to an image by cosine, the nearest first; of an index of faiss some are missed.

        Parameters
        ----------
        image : path, PIL image, array uint8 [H, W, 3], tensor uint8 [3, H, W], or int
            A new image, which goes through the preprocessing and the net of these features, or the number of a row.
        k : int
        approximate : bool, whether to search an index, built at the first such call
        """
        return find_similar(self._images, image, k, approximate=approximate)

    @cached_property
    def _images(self) -> CachedImages:
        return CachedImages(vectors_of(self._cached))

    def save(self, path: str | Path) -> list[Path]:
        """Write the features with labels, predictions and a projection, as ``probeline features`` does.

        Parameters
        ----------
        path : path
            With the suffix ``.parquet``, ``.npy``, ``.h5ad`` or ``.safetensors``; existing files are replaced.

        Returns
        -------
        list of Path
            The files; with ``.npy`` the columns are in a second one.
        """
        from probeline.export.feature_files import write_features
        from probeline.export.feature_table import tabulate_features

        table = tabulate_features(self.session, [vectors_of(self._cached)])
        return write_features(table, path_of(path).expanduser())

    def _roles(self) -> AnyArray:
        """Return train, val or test for each row, empty for a row that is in no split."""
        if not self.session.dataset.has_labels:
            return np.full(len(self), "", dtype=object)
        roles = {part: np.full(len(self.session.dataset.parts[part]), "", dtype=object) for part in self._parts}
        splits = self.session.splits
        for split in (splits.train, splits.val, splits.test):
            roles[split.part][split.rows] = split.role
        return np.concatenate(list(roles.values()))


@raises_in_keywords
def extract(
    data: Any,
    backbone: Any = "resnet18",
    *,
    labels: Any = None,
    groups: Any = None,
    name: str | None = None,
    preprocess: Any = None,
    preprocess_name: str | None = None,
    weights: str | None = None,
    tap: str | None = None,
    image_size: int | None = None,
    device: str | None = None,
    cache: Any = None,
    verbose: bool = False,
    **options: Any,
) -> Features:
    """Run a frozen backbone once over a data set, or read its features from the cache.

    Parameters
    ----------
    data : object
        A data set as ``--dataset`` takes it: ``cifar10``, ``folder:PATH``; or a folder or a file by path, a list of
        paths or of images, an array uint8 [N, H, W, 3], a pandas data frame with a column of paths, a torch ``Dataset``
        of (image, label), a Hugging Face ``Dataset``, or a mapping of ``train``, ``val`` and ``test`` to these.
    backbone : str or nn.Module
        ``NAME[@WEIGHTS]``, as ``--backbone`` takes it, or any net that gives [N, D] for images float32 [N, 3, S, S].
    labels : array_like [N] or path, optional
        The class of each image of a data object, as text or whole numbers, None for an image without one; for any data
        also a file, as ``--labels`` takes it. Images without labels can be extracted too.
    groups : array_like [N] or path, optional
        What each image belongs to, such as a patient: no split separates a group. Or a file, as ``--groups`` takes it.
    name : str, optional
        What a data object is called in paths and reports; by default it follows from the content.
    preprocess : mapping, transform, image processor or function, optional
        How images become the input of a net that is given as an object: a mapping with ``resize``, ``crop``,
        ``interpolation``, ``mean`` and ``std``, a transform of torchvision, or an image processor of transformers. By
        default what the net states itself. With `preprocess_name` it may be any function of an RGB Pillow image that
        returns the net's input, floats [3, S, S].
    preprocess_name : str, optional
        What such a function is called in every key: one that does something else needs another name.
    weights : str, optional
        ``DEFAULT``, the name of weights, ``none`` for random ones, or the path of a checkpoint.
    tap : str, optional
        Where the net is read: ``penultimate`` by default, or a module such as ``layer3``.
    image_size : int, optional
        Side of the net's input in pixels; by default as the weights say.
    device : str, optional
        ``auto`` by default, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
    cache : path, optional
        Folder of the cached features; ``cache`` by default.
    verbose : bool
        Whether what is done is printed; the logger ``probeline`` has it in any case.
    **options
        Any other option of ``probeline extract`` by its name there, with ``_`` for ``-``: ``precision="bf16"``,
        ``limit=100``; one that takes ``NAME=VALUE`` as a mapping: ``columns={"label": "breed"}``. ``data_folder`` is
        that of ``--data``, where named data sets are looked for.

    Returns
    -------
    Features
        Of all parts of the data set.

    Raises
    ------
    ProbelineError
        With what is wrong and the next step.
    TypeError
        No option has this name.

    Warns
    -----
    DataWarning
        What to know of the data or the net, once for each call.

    Examples
    --------
    >>> features = probeline.extract("folder:flowers", "resnet50")  # doctest: +SKIP
    >>> features.shape, features.classes  # doctest: +SKIP
    ((3670, 2048), ('daisy', 'tulip'))
    """
    if isinstance(data, Features):
        raise TypeError("these are features already: probeline.probe takes them")
    session = open_data(
        data,
        backbone,
        labels=labels,
        groups=groups,
        name=name,
        preprocess=preprocess,
        preprocess_name=preprocess_name,
        weights=weights,
        taps=tap,
        image_size=image_size,
        device=device,
        cache=cache,
        verbose=verbose,
        **options,
    )
    return leaving_out_unreadable(session, lambda session: Features(session, *one_tap(session, fill=True)))


def open_data(
    data: Any,
    backbone: Any = None,
    *,
    labels: Any = None,
    groups: Any = None,
    name: str | None = None,
    preprocess: Any = None,
    preprocess_name: str | None = None,
    **options: Any,
) -> Session:
    """Return the session of a data set and a backbone, by name or as objects, as :func:`extract` takes them."""
    files = {option: path for option, path in (("labels", labels), ("groups", groups)) if _is_path(path)}
    own_labels, own_groups = (None if _is_path(values) else values for values in (labels, groups))
    is_named = backbone is None or isinstance(backbone, str | list | tuple)
    if isinstance(backbone, list | tuple) and not all(isinstance(name, str) for name in backbone):
        raise BadOption("one backbone at a time", got=f"{len(backbone)} objects", remedy="loop over them")
    if is_named and preprocess is not None:
        raise BadOption("preprocess= is for a net of yours", expected="a torch.nn.Module", got=f"backbone {backbone}")
    return open_session(
        **files,
        dataset=spec_of(data, own_labels, own_groups, name),
        backbones=backbone if is_named else register_net(backbone, preprocess, preprocess_name),
        **options,
    )


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike)


def one_tap(session: Session, *, fill: bool) -> tuple[Backbone, ...]:
    """Return the records of the one backbone at the one tap of a session, several if taps are concatenated.

    With `fill`, missing features are extracted.

    Raises
    ------
    BadOption
        The settings name several backbones, or several taps.
    """
    names = session.settings.nets.backbones
    if len(names) > 1:
        raise BadOption("one backbone at a time", got=", ".join(names), remedy="name one, and loop over the others")
    if fill:
        fill_cache(session, names)
    taps, _ = session.taps(names[0])
    if len(taps) > 1:
        together = "+".join(tap.tap for (tap,) in taps)
        raise BadOption("one tap at a time", got=f"{len(taps)} taps", remedy=f'name one, or tap="{together}"')
    return taps[0]
