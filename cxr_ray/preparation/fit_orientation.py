"""Fit the weights that tell inverted and rotated radiographs, and measure them on images that they have not seen."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import cxr_ray
from cxr_ray.archive.datasets import dataset_fingerprint, read_dataset, rows_of_split
from cxr_ray.archive.uris import write_bytes
from cxr_ray.config.orientation import FitOrientationConfig
from cxr_ray.errors import DatasetError
from cxr_ray.imaging.load import load_images
from cxr_ray.imaging.quality.flags import THRESHOLD
from cxr_ray.imaging.quality.orientation import SIDE, OrientationModel, standard_form, views

READ_SIZE = 64
"""Size in pixels at which images are decoded; they are reduced much further."""
MIN_IMAGES = 30
"""Least number of images that can be fitted or measured."""
ITERATIONS = 200
DECIMALS = 5  # of the weights in the file
Forms = NDArray[np.float64]


def fit_orientation(config: FitOrientationConfig) -> dict[str, Any]:
    """Fit weights to the train split, write them to `config.output_uri`, and print how they do on the test split.

    Returns:
        The content of the file: `weights`, counts of images, and the figures of `measure_orientation` as `test`.

    Raises:
        DatasetError: if a split has too few readable images.
        StorageError: if the dataset cannot be read or the file cannot be written.
    """
    dataset = read_dataset(config.dataset_uri)
    train, test = (standard_forms(rows_of_split(dataset, split), split) for split in ("train", "test"))
    model = fit_weights(train, ridge=config.ridge)
    measured = measure_orientation(model, test)
    fitted = {
        "weights": model.weights.tolist(),
        "n_train": len(train),
        "ridge": config.ridge,
        "dataset_fingerprint": dataset_fingerprint(dataset),
        "code_version": cxr_ray.__version__,
        "test": measured,
    }
    write_bytes(config.output_uri, (json.dumps(fitted, indent=2) + "\n").encode())
    print(f"{len(train):,} images fitted, {len(test):,} others measured, each inverted and rotated")
    for name, row in measured["flags"].items():
        print(f"{name:<12} recall {row['recall']:.4f}, false alarms {row['false_alarms']:.4f}")
    print(config.output_uri)
    return fitted


def standard_forms(images: pa.Table, split: str) -> Forms:
    """Read images in standard form, float64 [N, SIDE, SIDE]; images that cannot be read are left out.

    Raises:
        DatasetError: if fewer than `MIN_IMAGES` can be read.
    """
    loaded = load_images(images["uri"].to_pylist(), wanted_sizes=(READ_SIZE,))
    forms = [standard_form(one.decoded.pixels) for one in loaded if one.decoded.pixels is not None]
    if len(forms) < MIN_IMAGES:
        raise DatasetError(
            f"the split {split} has {len(forms)} images that can be read, fewer than {MIN_IMAGES}; prepare a larger dataset"
        )
    return np.stack(forms)


def fit_weights(forms: Forms, *, ridge: float) -> OrientationModel:
    """Fit the weights by maximum likelihood: of the eight views of an upright image the first is the right one.

    Every image counts with its mirror image, so that a mirrored radiograph is not taken for a rotated one.

    Args:
        forms: upright images in standard form, float64 [N, SIDE, SIDE].
        ridge: penalty on the squared weights.
    """
    from scipy.optimize import minimize

    seen = np.stack([views(form) for form in (*forms, *forms[:, :, ::-1])])

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Mean negative log-likelihood with its penalty, and its gradient."""
        probabilities = _softmax(seen @ weights)
        gradient = np.einsum("nv,nvp->p", probabilities, seen) - seen[:, 0].sum(axis=0)
        value = -np.log(np.maximum(probabilities[:, 0], 1e-300)).mean() + ridge * weights @ weights
        return float(value), gradient / len(seen) + 2 * ridge * weights

    found = minimize(loss, np.zeros(SIDE**2), jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS})
    return OrientationModel(weights=found.x.round(DECIMALS).reshape(SIDE, SIDE))


def measure_orientation(model: OrientationModel, forms: Forms) -> dict[str, Any]:
    """Measure recall and false alarms of each flag at `THRESHOLD`.

    Args:
        model: weights.
        forms: upright images in standard form, float64 [N, SIDE, SIDE]; each is shown inverted, and rotated.

    Returns:
        `n_images`, `threshold` and `flags`: for each flag `recall`, the fraction of images shown so that get this flag, and
        `false_alarms`, the fraction of upright images that get it; `any` stands for all flags together.
    """
    shown = {"upright": forms, "inverted": -forms}
    shown |= {f"rotated_{90 * quarters}": np.rot90(forms, -quarters, axes=(1, 2)) for quarters in (1, 2, 3)}
    raised = {name: _raised(model, of_name) for name, of_name in shown.items()}
    flags = {
        name: {"recall": float(raised[name][name].mean()), "false_alarms": float(raised["upright"][name].mean())}
        for name in shown
        if name != "upright"
    }
    flags["any"] = {
        "recall": float(np.mean([np.logical_or.reduce([*raised[name].values()]).mean() for name in flags])),
        "false_alarms": float(np.logical_or.reduce([*raised["upright"].values()]).mean()),
    }
    return {"n_images": len(forms), "threshold": THRESHOLD, "flags": flags}


def _raised(model: OrientationModel, forms: Forms) -> dict[str, NDArray[np.bool_]]:
    """Which of the images get each flag, bool [N]."""
    probabilities = _softmax(np.stack([views(form) for form in forms]) @ model.weights.ravel()).reshape(-1, 2, 4)
    rotated = probabilities.sum(axis=1) >= THRESHOLD
    return {
        "inverted": probabilities[:, 1].sum(axis=1) >= THRESHOLD,
        **{f"rotated_{90 * quarters}": rotated[:, quarters] for quarters in (1, 2, 3)},
    }


def _softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))
