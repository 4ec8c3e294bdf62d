import torch

from cxr_ray.models.biomedclip import BiomedClip, BiomedClipConfig
from cxr_ray.training.clip.parameter_groups import parameter_groups

TINY = BiomedClipConfig(
    vision_hidden=32, vision_layers=1, vision_heads=2, vision_mlp=32, image_size=32, text_hidden=32, text_layers=1,
    text_heads=2, text_mlp=32, vocab_size=8, text_positions=16, context=16, projection=16, text_projection_hidden=16,
)  # fmt: skip


def names_in(model, group):
    chosen = {id(parameter) for parameter in group["params"]}
    return {name for name, parameter in model.named_parameters() if id(parameter) in chosen}


def test_norms_biases_and_the_logit_scale_do_not_decay_and_no_parameter_is_lost():
    model = BiomedClip(TINY)
    decaying, spared = parameter_groups(model, 0.1)
    assert (decaying["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    spared_names = {
        name for name, _ in model.named_parameters()
        if name.endswith(".bias") or "norm" in name.lower() or name == "logit_scale"
    }  # fmt: skip
    assert names_in(model, spared) == spared_names
    assert names_in(model, decaying) == {name for name, _ in model.named_parameters()} - spared_names


def test_what_does_not_learn_is_in_no_group():
    model = torch.nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    decaying, spared = parameter_groups(model, 0.1)
    assert names_in(model, decaying) == {"weight"}
    assert spared["params"] == []
