import itertools

import torch

from cxr_ray.training.seeds import seed_epoch, seed_of


def test_a_seed_depends_on_every_part_and_on_their_order():
    parts = [(seed, epoch, rank) for seed, epoch, rank in itertools.product(range(4), range(1, 6), range(3))]
    seeds = [seed_of(*one) for one in parts] + [seed_of(*one, 1) for one in parts]
    assert len(set(seeds)) == len(seeds)
    assert seeds[:5] == [seed_of(*one) for one in parts[:5]]


def test_an_epoch_of_a_worker_repeats_its_random_numbers_and_no_other_epoch_has_them():
    def drawn(*parts):
        generator = seed_epoch(*parts)
        return (torch.rand(1).item(), torch.rand(1, generator=generator).item())

    first = drawn(0, 1, 0)
    torch.rand(7)
    assert drawn(0, 1, 0) == first
    others = [first, drawn(0, 2, 0), drawn(0, 1, 1), drawn(1, 1, 0)]
    assert len({value for pair in others for value in pair}) == 8, "dropout and views draw different random numbers"
