"""A frozen backbone as a transformer of scikit-learn, backed by the cache."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from probeline.api.features import extract
from probeline.errors import BadData
from probeline.types import AnyArray, FloatArray


class Embedder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turns images into the features of a frozen backbone, each image once for all fits.

    It goes into a pipeline before any classifier: ``make_pipeline(Embedder("resnet50"), LogisticRegression())``. The
    features are read from the cache where they are there already, also by content: an image under another path is not
    run again.

    Parameters
    ----------
    backbone : str or nn.Module, default="resnet18"
        ``NAME[@WEIGHTS]``, or a net.
    weights, tap, image_size, preprocess, preprocess_name, device, cache : optional
        As :func:`probeline.extract` takes them.
    batch_size : int, optional
        Images per batch; by default as the device suggests.
    workers : int, optional
        Threads that decode; by default all cores.
    verbose : bool, default=False
        Whether what is done is printed.

    Attributes
    ----------
    n_features_out_ : int
        D; defined by the first `transform`, or by `fit` on images.
    """

    def __init__(
        self,
        backbone: Any = "resnet18",
        *,
        weights: str | None = None,
        tap: str | None = None,
        image_size: int | None = None,
        preprocess: Any = None,
        preprocess_name: str | None = None,
        device: str | None = None,
        cache: Any = None,
        batch_size: int | None = None,
        workers: int | None = None,
        verbose: bool = False,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.tap = tap
        self.image_size = image_size
        self.preprocess = preprocess
        self.preprocess_name = preprocess_name
        self.device = device
        self.cache = cache
        self.batch_size = batch_size
        self.workers = workers
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: ARG002 - nothing is learnt
        """Extract the features of the images, so that `transform` finds them.

        Parameters
        ----------
        X : list or array of paths [N], array uint8 [N, H, W, 3], list of images, or one column of a data frame
        y : ignored

        Returns
        -------
        self
        """
        self.transform(X)
        return self

    def transform(self, X: Any) -> FloatArray:
        """Return the features float32 [N, D] of the images, in their order.

        Parameters
        ----------
        X : list or array of paths [N], array uint8 [N, H, W, 3], list of images, or one column of a data frame

        Raises
        ------
        BadData
            An image that cannot be read: a row is never left out.
        ProbelineError
        """
        images, rows = _distinct(X)
        features = extract(images, strict=True, **self.get_params())
        self.n_features_out_ = features.shape[1]
        values = features.numpy()
        return values if rows is None else values[rows]

    def get_feature_names_out(self, input_features: Any = None) -> AnyArray:  # noqa: ARG002
        """Return ``f0`` to ``f<D-1>``, str [D]."""
        check_is_fitted(self, "n_features_out_")
        return np.array([f"f{dim}" for dim in range(self.n_features_out_)], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        """Return True: a frozen net needs no fit."""
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.requires_fit = False
        tags.no_validation = True
        return tags


def _distinct(X: Any) -> tuple[Any, AnyArray | None]:
    """Return images without repeated paths, and the row of each image among them; None if there is none to repeat."""
    if hasattr(X, "columns"):
        if len(X.columns) != 1:
            got = ", ".join(map(str, X.columns))
            raise BadData("one column of paths is needed", expected="frame[['path']]", got=got)
        X = X.iloc[:, 0]
    is_array = isinstance(X, np.ndarray)
    if is_array and X.ndim == 2 and X.shape[1] == 1 and X.dtype.kind in "OUS":
        X = X[:, 0]
    if (is_array and X.dtype.kind not in "OUS") or not len(X):
        return X, None
    items = list(X)
    if not all(isinstance(item, str) or hasattr(item, "__fspath__") for item in items):
        return items, None
    paths, rows = np.unique([str(path) for path in items], return_inverse=True)
    return paths.tolist(), rows
