"""Draw chest phantoms with several independent findings, each of which an image has or not."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from cxr_ray.phantoms.phantom import expose
from cxr_ray.phantoms.phantom_anatomy import Chest, bones, draw_chest, soft_tissue, vessels
from cxr_ray.phantoms.phantom_strokes import View, edge

PHANTOM_FINDINGS = ("pleural_effusion", "mass", "support_devices")


@dataclass(frozen=True, slots=True)
class Added:
    """What a finding adds to a chest."""

    opacity: np.ndarray | float = 0.0
    """Fraction of the lungs' air that it replaces, float64 [H, W] in [0, 1]."""
    attenuation: np.ndarray | float = 0.0
    """Log attenuation that it adds, float64 [H, W]."""


def draw_findings(findings: Collection[str], *, seed: int, size: int = 256, patient: int | None = None) -> np.ndarray:
    """Draw one radiograph, uint8 [H, W]; the same arguments give the same picture.

    Anatomy, positioning, exposure and each finding have random numbers of their own, so that nothing but a finding itself
    reveals that it is there.

    Args:
        findings: any of `PHANTOM_FINDINGS`.
        seed: seed of positioning, exposure, noise and findings, at least 0.
        size: height and width in pixels, at least 32.
        patient: seed of the anatomy, at least 0; None takes `seed`.

    Raises:
        ValueError: if a finding is unknown, or the size is below 32.
    """
    if unknown := set(findings) - set(PHANTOM_FINDINGS):
        raise ValueError(f"findings must be among {', '.join(PHANTOM_FINDINGS)}; got {', '.join(sorted(unknown))}")
    if size < 32:
        raise ValueError(f"size must be >= 32 pixels; got {size}")
    anatomy = np.random.default_rng([seed if patient is None else patient, 0])
    taking = np.random.default_rng([seed, 1])
    view = View(
        size=size, zoom=taking.uniform(0.92, 1.08), angle=taking.normal(0, 0.025), shift=taking.normal(0, 0.025, 2)
    )
    chest = draw_chest(view, anatomy)
    filled = soft_tissue(view, chest, anatomy) + bones(chest, anatomy)
    aerated = 1 - vessels(view, chest, anatomy)
    for number, finding in enumerate(PHANTOM_FINDINGS):
        if finding in findings:
            added = _DRAWN[finding](chest, np.random.default_rng([seed, 3, number]))
            aerated = aerated * (1 - added.opacity)
            filled = filled + added.attenuation
    return expose(filled - anatomy.uniform(0.44, 0.54) * chest.air * aerated, taking)


def _effusion(chest: Chest, rng: np.random.Generator) -> Added:
    """Fluid that fills one lung from below, up to a level that rises to the chest wall."""
    lung = chest.u > 0 if rng.random() < 0.5 else chest.u < 0
    level = rng.uniform(0.5, 0.7) - 0.25 * np.clip(chest.across, 0, 1) ** 2
    return Added(opacity=rng.uniform(0.85, 0.97) * lung * edge(chest.down - level, 0.06))


def _mass(chest: Chest, rng: np.random.Generator) -> Added:
    """One round opacity in the upper half of a lung."""
    side = 1 if rng.random() < 0.5 else -1
    away = np.hypot(chest.u - side * rng.uniform(0.28, 0.4), chest.v - rng.uniform(-0.45, -0.15))
    return Added(opacity=edge(rng.uniform(0.14, 0.19) - away, 0.03), attenuation=0.12 * edge(0.16 - away, 0.03))


def _device(chest: Chest, rng: np.random.Generator) -> Added:
    """A pacemaker below the patient's left clavicle, with an electrode to the heart."""
    across, down = rng.uniform(0.42, 0.52), rng.uniform(-0.62, -0.5)
    box = edge(0.1 - np.maximum(np.abs(chest.u - across), np.abs(chest.v - down)), 0.02)
    along = np.clip((chest.v - down) / (0.25 - down), 0, 1)
    wire = edge(0.02 - np.abs(chest.u - across * (1 - along) - 0.1 * along), 0.01) * ((along > 0) & (along < 1))
    return Added(attenuation=1.2 * np.maximum(box, wire))


_DRAWN: dict[str, Callable[[Chest, np.random.Generator], Added]] = {
    "pleural_effusion": _effusion,
    "mass": _mass,
    "support_devices": _device,
}
