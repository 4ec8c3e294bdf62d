"""Draw the anatomy of a phantom: lungs, soft tissue, bones and vessels as maps of log attenuation.

Lengths are in body coordinates; attenuation is about 0 in air and 1 below the diaphragm. Every function draws the
same numbers from `rng` at every film size, so that a patient's anatomy does not depend on the size.
"""

from dataclasses import dataclass

import numpy as np

from cxr_ray.phantoms.phantom_strokes import (
    View,
    bump,
    edge,
    fork,
    grow,
    outwards,
    smooth_minimum,
    smooth_noise,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Chest:
    """The patient's lungs on the film; every array is float64 [H, W].

    Attributes:
        u: body coordinate across the body, negative on the patient's right.
        v: body coordinate down the body.
        across: relative distance from the midline, 0 on the midline and 1 on the chest wall.
        down: relative height in the lung, 0 at the apex and 1 on the diaphragm.
        heart: relative thickness of the heart, 0 outside its outline and 1 in its middle.
        depth: signed distance to the lungs' outline, positive inside.
        air: relative thickness of the lungs, 0 to 1.
    """

    u: np.ndarray
    v: np.ndarray
    across: np.ndarray
    down: np.ndarray
    heart: np.ndarray
    depth: np.ndarray
    air: np.ndarray


def draw_chest(view: View, rng: np.random.Generator) -> Chest:
    """Draw the lungs between the chest wall, the diaphragm, and the mediastinum, whose heart points to the left."""
    u, v = view.body_grid()
    u += 0.008 * smooth_noise(rng, view.size, 7)
    v += 0.008 * smooth_noise(rng, view.size, 7)
    x, left = np.abs(u), u > 0

    top, tip, width = rng.uniform(-0.78, -0.68), rng.uniform(0.2, 0.26), rng.uniform(0.62, 0.74)
    widest, pointed = rng.uniform(0.2, 0.45), rng.uniform(0.4, 0.9)
    rise = np.clip((widest - v) / (widest - top), 0, 1) ** 2
    arch = np.clip(1 - pointed * rise - (1 - pointed) * rise**2, 0, None)
    wall = tip + (width - tip) * np.sqrt(arch) - 0.15 * np.clip(v - widest, 0, None) ** 2

    # the heart extends about twice as far to the patient's left as to the right
    reach = rng.uniform(0.16, 0.23) * np.where(left, rng.uniform(1.7, 2.3), 1)
    ellipse = np.clip(1 - ((v - 0.25 * u - rng.uniform(0.34, 0.44)) / rng.uniform(0.4, 0.5)) ** 2, 0, None)
    aorta = np.where(left, rng.uniform(0.02, 0.06), 0) * bump(v + 0.28, 0.09)
    vessels = rng.uniform(0.1, 0.135) + aorta + 0.02 * bump(v + 0.05, 0.15) + (tip - 0.12) * (rise**2) ** 2
    mediastinum = -smooth_minimum(-vessels, -reach * np.sqrt(ellipse), 0.03)

    level = rng.uniform(0.42, 0.6) + np.where(
        left, rng.uniform(0.02, 0.07), 0
    )  # the liver lifts the right half of the diaphragm
    bend = (x - rng.uniform(0.3, 0.36)) / (width - 0.33)
    sulcus = rng.uniform(0.16, 0.26) * np.sqrt(np.abs(bend))
    dome = level + np.where(bend > 0, sulcus, 0.05) * bend**2

    sideways = smooth_minimum(wall - x, x - mediastinum, 0.012)
    depth = smooth_minimum(sideways, smooth_minimum(dome - v, v - top, 0.012), 0.012)
    thickness = np.sqrt(np.clip((wall - x) / 0.3, 0, 1)) * (0.75 + 0.25 * np.clip((v - top) / 0.5, 0, 1))
    return Chest(
        u=u,
        v=v,
        across=x / wall,
        down=(v - top) / (dome - top),
        heart=np.clip(ellipse - (x / reach) ** 2, 0, 1),
        depth=depth,
        air=(0.5 + 0.5 * thickness) * edge(depth, 0.022),
    )


def soft_tissue(view: View, chest: Chest, rng: np.random.Generator) -> np.ndarray:
    """Attenuation [H, W] of body, heart, abdomen, gastric bubble, breasts and airway, as if the lungs contained no air."""
    u, v, x = chest.u, chest.v, np.abs(chest.u)
    neck, trunk = rng.uniform(0.24, 0.34), rng.uniform(0.83, 1.1)
    shoulders = edge(v - rng.uniform(-0.84, -0.76) + 0.1 * x, 0.16)
    armpits = edge(v - rng.uniform(-0.2, 0.05), 0.4)
    within = neck + 1.15 * shoulders - (neck + 1.15 - trunk) * armpits - x
    body = edge(within, 0.02) * (0.55 + 0.45 * np.sqrt(np.clip(within / 0.5, 0, 1)))
    tissue = body * (0.66 + 0.02 * smooth_noise(rng, view.size, 9))

    tissue += 0.1 * np.sqrt(chest.heart) + 0.07 * bump(x, 0.17) * edge(v + 0.75, 0.2)
    below = np.clip(chest.down - 1, 0, None) * edge(v, 0.2)
    tissue += 0.2 * body * (1 - np.exp(-below / 0.08))
    bubble_v = (v - rng.uniform(0.72, 0.84)) / rng.uniform(0.04, 0.08)
    bubble_u = (u - 0.36) / rng.uniform(0.1, 0.16)
    tissue -= rng.uniform(0, 0.2) * edge(1 - bubble_u**2 - bubble_v**2, 0.5)
    breast = 1 - ((x - 0.45) / 0.36) ** 2 - ((v - rng.uniform(0.25, 0.4)) / 0.34) ** 2
    tissue += rng.choice([0, 0.02, 0.09]) * body * np.sqrt(np.clip(breast, 0, 1))
    trachea = rng.uniform(0.035, 0.045) - np.abs(u - 0.012 - 0.03 * v)
    return tissue - 0.13 * edge(trachea, 0.025) * edge(-0.22 - v, 0.1)


def bones(chest: Chest, rng: np.random.Generator) -> np.ndarray:
    """Attenuation [H, W] that spine, ribs, clavicles, shoulder blades and upper arms add."""
    density = rng.uniform(0.75, 1.25)
    return density * (_spine(chest, rng) + _ribs(chest, rng) + _shoulder_girdle(chest, rng))


def _spine(chest: Chest, rng: np.random.Generator) -> np.ndarray:
    disc = _nearest(chest.v / rng.uniform(0.125, 0.145))
    midline = 0.02 * np.sin(2 * chest.v + rng.uniform(0, 2 * np.pi))
    return 0.09 * edge(0.085 - np.abs(chest.u - midline), 0.02) * (0.6 + 0.4 * edge(0.36 - np.abs(disc), 0.12))


def _ribs(chest: Chest, rng: np.random.Generator) -> np.ndarray:
    """Attenuation [H, W] of the ribs: rear arcs fall from the spine to the wall, front arcs from the wall to the sternum."""
    v, across = chest.v, chest.across
    gap, first, drop = rng.uniform(0.155, 0.185), rng.uniform(0, 1), rng.uniform(0.26, 0.38)
    spread = v + 0.1 * v**2  # the distance between lower ribs is larger
    fall = drop * across**2 * np.sqrt(across) - 0.15 * across * (1 - across)
    climb = drop + rng.uniform(0.3, 0.45) * (1 - across**2)
    back = _tube(_nearest((spread - fall) / gap + first) / 0.24) * (1 + 0.6 * bump(across - 1, 0.05))
    front = _tube(_nearest((spread - climb) / gap + first) / 0.25) * edge(across - 0.52, 0.2) * edge(v + 0.5, 0.3)
    cage = edge(1.05 - across, 0.035) * edge(np.abs(chest.u) - 0.07, 0.05) * edge(chest.down + 0.02, 0.04)
    return cage * (1 - 0.6 * edge(chest.down - 1, 0.1)) * (0.09 * back + 0.05 * front)


def _shoulder_girdle(chest: Chest, rng: np.random.Generator) -> np.ndarray:
    x, v = np.abs(chest.u), chest.v
    slope, collar = rng.uniform(0.22, 0.5), rng.uniform(-0.56, -0.46)
    rod = (v - collar + slope * x + 0.04 * np.sin(7 * x - 0.7)) / (0.036 + 0.02 * np.clip(0.3 - x, 0, None))
    clavicle = _tube(rod) * edge(x - 0.09, 0.03) * edge(0.86 - x, 0.05)
    inwards = x - 0.8 - 0.22 * np.abs(v + 0.35)
    blade = edge(inwards, 0.02) * (0.6 + 0.8 * bump(inwards, 0.04)) * edge(0.02 - v, 0.15) * edge(v + 0.58, 0.08)
    head = edge(0.12 - np.sqrt((x - 1) ** 2 + (v + 0.58) ** 2), 0.04)
    shaft = edge(0.075 - np.abs(x - 1.11 - 0.12 * v), 0.025) * edge(v + 0.55, 0.03)
    return 0.14 * clavicle + 0.05 * blade + 0.09 * np.maximum(head, shaft)


def vessels(view: View, chest: Chest, rng: np.random.Generator) -> np.ndarray:
    """Fraction of the lungs' air [H, W], 0 to 0.5, that the hila and three generations of vessels replace."""
    side, fan = np.repeat([-1.0, 1.0], 11), np.tile(np.linspace(-1.25, 1.35, 11), 2)
    roots = np.stack([0.17 * side, -0.02 - 0.03 * side], 1) + rng.normal(0, 0.025, (22, 2))
    headings = outwards(side, fan + rng.normal(0, 0.12, 22))
    trunks = grow(rng, roots, headings, rng.uniform(0.3, 0.6, 22))
    branches = fork(rng, trunks, children=3)
    twigs = fork(rng, branches, children=2)
    tree = 0.22 * view.trace(trunks, 0.011) + 0.13 * view.trace(branches, 0.007) + 0.09 * view.trace(twigs, 0.0055)
    hila = bump(np.abs(chest.u) - 0.16, 0.06) * bump(chest.v + 0.02, 0.12)
    return np.clip(tree + 0.28 * hila, 0, 0.5)


def _tube(distance: np.ndarray) -> np.ndarray:
    """Profile of a hollow bone across its axis: a plateau between -1 and 1 with a brighter cortex at both ends."""
    reach = np.abs(distance)
    return 0.6 * edge(1 - reach, 0.25) + 0.4 * bump(reach - 0.85, 0.2)


def _nearest(phase: np.ndarray) -> np.ndarray:
    """Signed distance to the nearest whole number."""
    return phase - np.rint(phase)
