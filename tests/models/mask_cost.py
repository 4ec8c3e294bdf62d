"""Measure the CPU time from a segmenter's probabilities to run lengths: `python -m tests.models.mask_cost --against OTHER_CHECKOUT`.

Two drawn lungs are found in a map and become a mask at the size of a radiograph. What is done at the scale of the map (labels,
entropy, measurements) and the masks at full size with their run lengths are told apart.
"""

import argparse
import hashlib
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from tests.side_by_side import measured_in_turn, serve, use_one_core


def lungs(side):
    """Probabilities float32 [side, side] of two lungs with a soft, slightly noisy edge."""
    y, x = np.mgrid[:side, :side] / side
    inside = np.maximum(1 - ((x - 0.3) / 0.17) ** 2, 1 - ((x - 0.7) / 0.16) ** 2) - ((y - 0.5) / 0.35) ** 2
    noise = np.random.default_rng(1).normal(0, 0.3, inside.shape)
    return (1 / (1 + np.exp(-(12 * inside + noise).clip(-30, 30)))).astype(np.float32)


def measured(side, height, width, copies):
    """CPU ms for an image of a batch: to the run lengths in all, and of that the making of masks at full size."""
    import torch

    from cxr_ray.models.lung_segmentation import segmentations_of
    from cxr_ray.scoring.stages.mask_columns import mask_columns

    torch.set_num_threads(1)
    probability = torch.from_numpy(np.stack([lungs(side)] * copies))

    def whole(height, width):
        began = time.process_time()
        found = segmentations_of(probability, [(height, width)] * copies)
        columns = [mask_columns(one.runs if hasattr(one, "runs") else one.mask) for one in found]
        return 1e3 * (time.process_time() - began) / copies, columns[0]["mask_counts"]

    total, counts = whole(height, width)
    at_map_scale, _ = whole(1, 1)
    return {
        "total": total,
        "masks": total - at_map_scale,
        "map": at_map_scale,
        "counts": hashlib.sha256(counts.encode()).hexdigest()[:12],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="folder of another checkout, such as a git worktree")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--map", type=int, default=256, help="height and width of the network's map in pixels")
    args = parser.parse_args()
    use_one_core()
    print("median CPU ms an image, on one core   total (min to max)   masks at full size   at map scale   counts")
    for height, width in ((299, 299), (1024, 1024), (2500, 2048)):
        case = [args.map, height, width, 16]
        for place, results in enumerate(measured_in_turn(__file__, case, against=args.against, rounds=args.rounds)):
            label = "  this checkout" if place else f"{height} x {width}"
            median = {k: statistics.median(r[k] for r in results) for k in ("total", "masks", "map")}
            span = f"({min(r['total'] for r in results):.2f} to {max(r['total'] for r in results):.2f})"
            line = f"{label:36} {median['total']:6.2f} {span:18} {median['masks']:12.2f} {median['map']:18.2f}"
            print(f"{line}   {results[0]['counts']}", flush=True)


if __name__ == "__main__":
    serve(measured) if "--serve" in sys.argv else main()
