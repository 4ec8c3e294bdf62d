"""Draw chest phantoms: artificial radiographs with a known label and an exact lung mask.

A phantom is a map of log attenuation (tissue and bone, minus the air of the lungs) that passes the characteristic
curve of a film. It uses three independent streams of random numbers: that of the patient gives the anatomy, that of
the view gives positioning, exposure and noise, and that of the disease gives the opacities. Therefore two labels with
the same seed and patient differ only in how much air of the lungs is replaced; nothing else reveals the label.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from cxr_ray.phantoms.phantom_anatomy import Chest, bones, draw_chest, soft_tissue, vessels
from cxr_ray.phantoms.phantom_strokes import Lines, View, bump, edge, grow, outwards, smooth_noise

PHANTOM_LABELS = ("COVID", "Lung_Opacity", "Normal", "Viral Pneumonia")

_LEAD_LETTERS = {
    "R": ("####.", "#...#", "#...#", "####.", "#.#..", "#..#.", "#...#"),
    "L": ("#....", "#....", "#....", "#....", "#....", "#....", "#####"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Phantom:
    """A drawn radiograph in the usual display: the patient's left is on the right side of the image.

    Attributes:
        pixels: uint8 [H, W], air dark and bone bright.
        lung_mask: bool [H, W], both lung fields, as two 8-connected regions; diseased lung is included.
        label: one of `PHANTOM_LABELS`.
        patient_id: id of the patient, the same for every view of one anatomy.
    """

    pixels: np.ndarray
    lung_mask: np.ndarray
    label: str
    patient_id: str


def draw_phantom(label: str, *, seed: int, size: int = 256, patient: int | None = None) -> Phantom:
    """Draw one radiograph; the same arguments give the same picture.

    Args:
        label: one of `PHANTOM_LABELS`.
        seed: seed of positioning, exposure, noise and disease, at least 0.
        size: height and width in pixels, at least 32.
        patient: seed of the anatomy, at least 0; None takes `seed`.

    Raises:
        ValueError: if the label is unknown, or the size is below 32.
    """
    if label not in PHANTOM_LABELS:
        raise ValueError(f"label must be one of {', '.join(PHANTOM_LABELS)}; got {label!r}")
    if size < 32:
        raise ValueError(f"size must be >= 32 pixels; got {size}")
    patient = seed if patient is None else patient
    anatomy = np.random.default_rng([patient, 0])
    taking = np.random.default_rng([seed, 1])
    disease = np.random.default_rng([seed, 2, PHANTOM_LABELS.index(label)])

    view = View(
        size=size,
        zoom=taking.uniform(0.92, 1.08),
        angle=taking.normal(0, 0.025),
        shift=taking.normal(0, 0.025, 2),
    )
    chest = draw_chest(view, anatomy)
    filled = soft_tissue(view, chest, anatomy) + bones(chest, anatomy)
    aerated = 1 - vessels(view, chest, anatomy)
    if label in _OPACITIES:
        aerated *= 1 - np.clip(_OPACITIES[label](view, chest, disease), 0, 1)
    return Phantom(
        pixels=expose(filled - anatomy.uniform(0.44, 0.54) * chest.air * aerated, taking),
        lung_mask=chest.depth > 0,
        label=label,
        patient_id=f"phantom-{patient}",
    )


def _ground_glass(view: View, chest: Chest, rng: np.random.Generator) -> np.ndarray:
    """Patchy haze of both lungs, near the chest wall and in the lower zones; a fraction of the air, [H, W]."""
    haze = np.zeros_like(chest.air)
    for lung in (chest.u > 0, chest.u < 0):
        patches = np.zeros_like(haze)
        for _ in range(rng.integers(3, 6)):
            lateral = bump(chest.across - rng.uniform(0.74, 0.95), rng.uniform(0.14, 0.26))
            low = bump(chest.down - rng.uniform(0.45, 0.92), rng.uniform(0.09, 0.2))
            patches += rng.uniform(0.8, 1.3) * lateral * low
        haze += lung * (1 - np.exp(-patches))
    texture = 1 + 0.16 * smooth_noise(rng, view.size, 28) + 0.14 * smooth_noise(rng, view.size, 70)
    return rng.uniform(0.42, 0.75) * haze * texture


def _consolidation(view: View, chest: Chest, rng: np.random.Generator) -> np.ndarray:
    """One dense lobar or segmental opacity with a blurred border; a fraction of the air, [H, W]."""
    lung = chest.u > 0 if rng.random() < 0.5 else chest.u < 0
    across = (chest.across - rng.uniform(0.5, 0.8)) / rng.uniform(0.28, 0.5)
    down = (chest.down - rng.uniform(0.22, 0.9)) / rng.uniform(0.15, 0.27)
    ragged = 0.16 * smooth_noise(rng, view.size, 9) + 0.08 * smooth_noise(rng, view.size, 24)
    return rng.uniform(0.6, 0.9) * lung * edge(1.05 - np.hypot(across, down) - ragged, 0.5)


def _interstitial(view: View, chest: Chest, rng: np.random.Generator) -> np.ndarray:
    """Streaks and small nodules of both lungs, densest around the hila; a fraction of the air, [H, W]."""
    side = np.repeat([-1.0, 1.0], 130)
    headings = outwards(side, rng.uniform(-1.4, 1.5, side.size))
    away = rng.gamma(2.2, 0.13, side.size) * np.stack([np.cos(headings), np.sin(headings)])
    starts = np.stack([0.17 * side + away[0], 0.02 + away[1]], 1)
    lengths = rng.uniform(0.06, 0.2, side.size)
    streaks = grow(rng, starts, headings + rng.normal(0, 0.7, side.size), lengths)
    spots = starts[::3] + rng.normal(0, 0.06, starts[::3].shape)
    nodules = Lines(points=spots[:, None], weights=np.full((len(spots), 1), 4.0))
    net = view.trace(streaks, 0.008) + view.trace(nodules, 0.016)
    haze = bump(chest.across - 0.35, 0.35) * bump(chest.down - 0.55, 0.3)
    return rng.uniform(0.16, 0.3) * net + rng.uniform(0.08, 0.2) * haze


# label -> function that draws the fraction of the lungs' air [H, W] that the disease replaces; Normal has no disease
_OPACITIES: dict[str, Callable[[View, Chest, np.random.Generator], np.ndarray]] = {
    "COVID": _ground_glass,
    "Lung_Opacity": _consolidation,
    "Viral Pneumonia": _interstitial,
}


def expose(attenuation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Convert log attenuation [H, W] to pixels uint8 [H, W]: photon noise, film, collimator and lead letter."""
    size = len(attenuation)
    axis = np.linspace(-1, 1, size)
    heel = rng.normal(0, 0.03) * axis[:, None] + rng.normal(0, 0.02) * axis
    vignette = 0.05 * (axis[:, None] ** 2 + axis**2)
    # the logarithm of a Poisson count has a variance of one over the expected count
    photons = rng.uniform(4000, 16000) * (256 / size) ** 2 * np.exp(-2 * attenuation)
    grain = rng.standard_normal((size, size)) / np.sqrt(photons)
    seen = ndimage.gaussian_filter(attenuation - heel - vignette + grain, 0.55 * size / 256)
    film = 1 / (1 + np.exp((rng.uniform(0.42, 0.58) - seen) / rng.uniform(0.13, 0.2)))
    _mark(_collimate(film, rng), rng)
    return np.rint(255 * np.clip(1.02 * film - 0.01, 0, 1)).astype(np.uint8)


def _collimate(film: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blacken, on some films and in place, the margins that a collimator covers; `film` is returned."""
    margins = np.where(rng.random(4) < 0.2, rng.uniform(0.01, 0.06, 4), 0) * len(film)
    top, bottom, left, right = np.rint(margins).astype(int)
    film[:top] *= 0.04
    film[len(film) - bottom :] *= 0.04
    film[:, :left] *= 0.04
    film[:, len(film) - right :] *= 0.04
    return film


def _mark(film: np.ndarray, rng: np.random.Generator) -> None:
    """Draw a lead letter on most films, in place: R on the patient's right or L on the patient's left."""
    letter, corner = rng.choice(["R", "L", ""], p=[0.45, 0.35, 0.2]), rng.uniform(0.04, 0.12, 2) * len(film)
    if not letter:
        return
    glyph = np.array([[char == "#" for char in line] for line in _LEAD_LETTERS[letter]], np.float64)
    glyph = ndimage.zoom(glyph, rng.uniform(0.007, 0.009) * len(film), order=1)
    height, width = glyph.shape
    row, column = corner.astype(int)
    column = column if letter == "R" else len(film) - column - width
    patch = film[row : row + height, column : column + width]
    patch += (0.97 - patch) * glyph
