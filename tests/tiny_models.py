"""Bundles and weights of random numbers, so small that a forward pass takes milliseconds."""

import pytest

LABELS = ("COVID", "Lung_Opacity", "Normal", "Viral_Pneumonia")
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "left", "right", "lung", "lungs", "the", "of", "field"]


@pytest.fixture(scope="session")
def save_random():
    """Save a bundle of random weights at a URI; its card."""

    def save(uri, *, seed=0, nan=False, **card):
        import torch

        from cxr_ray.models.backbones import build_backbone
        from cxr_ray.models.bundle import ModelCard, save_bundle

        card_type = card.pop("card_type", ModelCard)
        card = {"kind": card_type.kind, "backbone": "efficientnet_b0", "labels": LABELS, "image_size": 32} | card
        torch.manual_seed(seed)
        model = build_backbone(card["backbone"], num_classes=len(card["labels"]), image_size=card["image_size"])
        with torch.no_grad():  # unscaled, every probability would be 1/C
            model.get_classifier().weight.mul_(float("nan") if nan else 1000)
        return save_bundle(str(uri), model.state_dict(), card_type, **card)

    return save


@pytest.fixture(scope="session")
def save_encoder():
    """Save the bundle of an encoder of random weights at a URI; its card."""

    def save(uri, *, seed=0, **card):
        import torch

        from cxr_ray.models.backbones import build_network
        from cxr_ray.models.bundle import save_bundle
        from cxr_ray.models.encoder_card import EncoderCard

        card = {"backbone": "efficientnet_b0", "image_size": 32, "network": None} | card
        torch.manual_seed(seed)
        model = build_network(card["backbone"], num_classes=0, image_size=card["image_size"], options=card["network"])
        return save_bundle(str(uri), model.state_dict(), EncoderCard, features=model.num_features, **card)

    return save


@pytest.fixture(scope="session")
def segmenting_weights(tmp_path_factory):
    """A BiomedCLIP and a SAM, so small that a forward pass takes milliseconds."""
    import torch
    from safetensors.torch import save_file

    from cxr_ray.models.biomedclip import BiomedClip, BiomedClipConfig, PromptTokenizer
    from cxr_ray.models.biomedclip_checkpoint import save_biomedclip
    from cxr_ray.models.sam import SamConfig, build_sam

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    clip = BiomedClip(
        BiomedClipConfig(
            vision_hidden=64, vision_layers=3, vision_heads=1, vision_mlp=64, image_size=64, text_hidden=64,
            text_layers=1, text_heads=1, text_mlp=64, vocab_size=len(WORDS), text_positions=16, context=16,
            projection=16, text_projection_hidden=16,
        )
    )  # fmt: skip
    save_biomedclip(str(folder / "clip"), clip, PromptTokenizer(WORDS, context=16))
    sam = build_sam(
        SamConfig(
            encoder_depth=2, encoder_embed_dim=32, encoder_num_heads=2, encoder_global_attn_indexes=(1,),
            prompt_embed_dim=32, image_size=128,
        )
    )  # fmt: skip
    save_file(sam.state_dict(), folder / "sam.safetensors")
    return {"clip_uri": str(folder / "clip"), "sam_uri": str(folder / "sam.safetensors")}


@pytest.fixture(scope="session")
def save_segmenter():
    """Save a segmenter's bundle, two tiny networks for 32 px, at a URI; random weights, or all of one value."""

    def save(uri, *, fill=None):
        import torch

        from cxr_ray.models.bundle import save_bundle
        from cxr_ray.models.segmenter_ensemble import (
            SegmenterCard,
            build_segmenter_network,
            ensemble_weights,
            member_weights,
        )

        torch.manual_seed(3)
        members = [member_weights(build_segmenter_network((4, 8, 8))) for _ in range(2)]
        if fill is not None:
            members = [{name: torch.full_like(tensor, fill) for name, tensor in one.items()} for one in members]
        save_bundle(str(uri), ensemble_weights(members), SegmenterCard, filters=(4, 8, 8), members=2, image_size=32)
        return str(uri)

    return save


@pytest.fixture(scope="session")
def segmenter_uri(save_segmenter, tmp_path_factory):
    """URI of a segmenter that no test may change."""
    return save_segmenter(tmp_path_factory.mktemp("segmenter"))
