"""Drawing operations for phantoms: the view, soft edges, smooth noise, and lines that fork.

Body coordinates are `u` to the right of the image (the patient's left) and `v` down, both about -1 to 1 on the film.
All arrays are float64, so that machines whose `exp` differs in the last bit still round to the same pixels.
BLAS products are avoided, because their threads would only wait for each other on such small arrays.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

STEP = 0.006  # distance between two samples along a line, in body coordinates


@dataclass(frozen=True, kw_only=True, slots=True)
class Lines:
    """N curved lines of S points each, in body coordinates.

    Attributes:
        points: float64 [N, S, 2], `u` first; neighbours on a line have the distance `STEP`.
        weights: float64 [N, S], strength of the line at each point, which falls to 0 at its end.
    """

    points: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """Position of the film: body = zoom * rotation(angle) @ film + shift, with `film` from -1 to 1.

    Attributes:
        size: height and width of the film in pixels.
        zoom: body lengths per film length; above 1 the patient looks smaller.
        angle: rotation in radians.
        shift: shift in body coordinates, float64 [2], `u` first.
    """

    size: int
    zoom: float
    angle: float
    shift: np.ndarray

    @property
    def matrix(self) -> np.ndarray:
        """Linear part of the map from film to body coordinates, float64 [2, 2]."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return self.zoom * np.array([[cos, -sin], [sin, cos]])

    def body_grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Body coordinates `u` and `v` of the pixel centres, float64 [H, W] each."""
        x = (np.arange(self.size) + 0.5) * 2 / self.size - 1
        y = x[:, None]
        (ux, uy), (vx, vy) = self.matrix
        return ux * x + (uy * y + self.shift[0]), vx * x + (vy * y + self.shift[1])

    def trace(self, lines: Lines, sigma: float) -> np.ndarray:
        """Draw lines with a Gaussian profile of width `sigma` in body coordinates, float64 [H, W].

        The maximum of a line that no other line crosses equals its weight.
        """
        u, v = lines.points.reshape(-1, 2).T - self.shift[:, None]
        (ux, uy), (vx, vy) = self.matrix / self.zoom**2  # the inverse of a scaled rotation, transposed
        film = np.stack([ux * u + vx * v, uy * u + vy * v])
        column, row = np.floor((film + 1) * self.size / 2).astype(np.int64)
        inside = (column >= 0) & (column < self.size) & (row >= 0) & (row < self.size)
        pixel = row[inside] * self.size + column[inside]
        dots = np.bincount(pixel, lines.weights.reshape(-1)[inside], minlength=self.size**2)
        unit = self.size / 2 / self.zoom  # pixels per body length
        crest = STEP * unit * np.sqrt(2 * np.pi) * sigma * unit
        return crest * ndimage.gaussian_filter(dots.reshape(self.size, self.size), sigma * unit, truncate=3)


def grow(rng: np.random.Generator, roots: np.ndarray, headings: np.ndarray, lengths: np.ndarray) -> Lines:
    """Grow a curved line from each root.

    Args:
        rng: source of the random turns.
        roots: first points, float64 [N, 2], `u` first, in body coordinates.
        headings: initial directions in radians, float64 [N]; positive angles point down.
        lengths: lengths in body coordinates, float64 [N].
    """
    steps = np.arange(int(0.6 / STEP))
    headings = headings[:, None] + np.cumsum(rng.normal(0, 0.07, (len(roots), len(steps))), axis=1)
    paths = np.cumsum(STEP * np.stack([np.cos(headings), np.sin(headings)], 2), axis=1)
    weights = np.sqrt(np.clip(1 - steps * STEP / lengths[:, None], 0, 1))
    return Lines(points=roots[:, None] + paths, weights=weights)


def fork(rng: np.random.Generator, parents: Lines, *, children: int) -> Lines:
    """Grow `children` lines from random points of each parent, to its sides."""
    points = np.repeat(parents.points, children, axis=0)
    samples = np.repeat(np.count_nonzero(parents.weights, axis=1), children)
    row = np.arange(len(points))
    start = (samples * rng.uniform(0.1, 0.75, len(points))).astype(np.int64)
    along = points[row, start + 1] - points[row, start]
    turn = rng.choice([-1, 1], len(points)) * rng.uniform(0.35, 0.8, len(points))
    return grow(rng, points[row, start], np.arctan2(along[:, 1], along[:, 0]) + turn, 0.6 * STEP * samples)


def outwards(side: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Heading of a line that leaves the midline to `side` (-1 or 1); a positive angle points down."""
    return np.where(side > 0, angle, np.pi - angle)


def smooth_noise(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """Draw a random field [size, size] of unit variance that changes over `1 / cells` of its side."""
    centres = np.linspace(-1, cells, cells + 2)
    bumps = bump(np.linspace(0, cells - 1, size)[:, None] - centres, 1)
    bumps /= np.sqrt(np.sum(bumps**2, axis=1, keepdims=True))
    rows = np.einsum("ik,kl->il", bumps, rng.standard_normal((cells + 2, cells + 2)))
    return np.einsum("il,jl->ij", rows, bumps)


# The next three functions are called about fifty times per picture. They compute in place, because allocating memory
# takes longer than the arithmetic.


def edge(distance: np.ndarray, width: float) -> np.ndarray:
    """Smooth step from 0 at a distance below `-width` to 1 above `width`, elementwise."""
    t = distance * (0.5 / width)
    t += 0.5
    np.clip(t, 0, 1, out=t)
    step = -2 * t
    step += 3
    step *= t
    step *= t
    return step


def bump(distance: np.ndarray, width: float) -> np.ndarray:
    """Gaussian function of a distance, 1 at 0 and 1/e at `width`, elementwise."""
    t = distance * (1 / width)
    t *= t
    np.negative(t, out=t)
    return np.exp(t, out=t)


def smooth_minimum(a: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
    """Minimum of two distances, elementwise, with the corner between them rounded by `radius`."""
    gap = a - b
    gap *= gap
    gap += radius**2
    np.sqrt(gap, out=gap)
    lower = a + b
    lower -= gap
    lower *= 0.5
    return lower
