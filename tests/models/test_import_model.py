"""Checkpoints of other libraries, made by these libraries with random weights: each gives the source's outputs or a refusal."""

import argparse
import hashlib
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import efficientnet_lite_pytorch
import numpy as np
import open_clip
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import timm
import torch
import torchvision
import torchxrayvision
import transformers
from safetensors.torch import save_file

from cxr_ray.config import ImportConfig
from cxr_ray.errors import BundleError, ConfigError
from cxr_ray.models.bundle import ModelCard, read_card
from cxr_ray.models.classifier import Classifier, build_pixel_classifier, load_network
from cxr_ray.models.encoder import Encoder
from cxr_ray.models.encoder_card import EncoderCard
from cxr_ray.models.foreign.transformers_network import features_of
from cxr_ray.models.import_model import import_model
from cxr_ray.schema import DATASET

LABELS = ("COVID", "Lung_Opacity", "Normal")
SMALL_VIT = {"hidden_size": 192, "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768}
SMALL_TIMM = "vit_tiny_patch16_224"


def images(size=64, channels=3):
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(5))


def disturbed(model, channels=3):
    """Move parameters away from their initial values, at which a mix-up would not show, and take statistics of images."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.mul_(0.8 + 0.4 * torch.rand(tensor.shape, generator=generator))
            if tensor.abs().max() == 0:  # biases and tokens
                tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))
        norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1.0  # without statistics of images, an untrained network gives all images the same output
        if norms:
            coarse = torch.randn(8, channels, 6, 6, generator=generator)
            model.train()(torch.nn.functional.interpolate(coarse, size=64, mode="bilinear"))
    return model.eval()


def timm_model(name, classes=3, **options):
    return disturbed(timm.create_model(name, num_classes=classes, **options))


def torchvision_model(name, classes=3, **options):
    return disturbed(torchvision.models.get_model(name, num_classes=classes, **options))


@dataclass
class Case:
    """A checkpoint at `uri`; `outputs` maps images to those of the source, or `refusal` is what the message says."""

    uri: Path
    architecture: str
    outputs: object = None
    refusal: str | None = None
    size: int = 64
    labels: tuple[str, ...] = LABELS
    encoder: bool = False
    channels: int = 3
    says: str = ""
    options: dict | None = None


def saved(folder, content, name="weights.pth", **options):
    torch.save(content, folder / name, **options)
    return folder / name


CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


@case
def torchvision_resnet50_as_published(folder):
    model = torchvision_model("resnet50")
    return Case(saved(folder, model.state_dict()), "resnet50", model)


@case
def torchvision_densenet121_under_dataparallel(folder):
    model = torchvision_model("densenet121")
    return Case(saved(folder, torch.nn.DataParallel(model).state_dict()), "densenet121", model)


@case
def torchvision_efficientnet_b0_in_safetensors(folder):
    model = torchvision_model("efficientnet_b0")
    save_file(model.state_dict(), folder / "w.safetensors")
    return Case(folder / "w.safetensors", "efficientnet_b0", model, says="torchvision's efficientnet_b0")


@case
def torchvision_vit(folder):
    model = torchvision.models.VisionTransformer(
        32, 16, num_layers=12, num_heads=3, hidden_dim=192, mlp_dim=768, num_classes=3
    )
    return Case(saved(folder, {"state_dict": disturbed(model).state_dict()}), SMALL_TIMM, model, size=32)


@case
def torchvision_efficientnet_b0_whose_head_is_in_a_sequence(folder):
    model = torchvision_model("efficientnet_b0")
    model.classifier = torch.nn.Sequential(torch.nn.Dropout(0.2), torch.nn.Sequential(torch.nn.Linear(1280, 3)))
    return Case(saved(folder, disturbed(model).state_dict()), "efficientnet_b0", model)


@case
def torchvision_efficientnet_b0_with_a_deep_head_keeps_its_features(folder):
    model = torchvision_model("efficientnet_b0")
    path = saved(folder, with_deep_head(model).state_dict())
    model.classifier = torch.nn.Identity()
    return Case(path, "efficientnet_b0", model, encoder=True, labels=())


@case
def torchvision_efficientnet_b0_with_a_deep_head_is_no_classifier(folder):
    model = torchvision_model("efficientnet_b0")
    path = saved(folder, with_deep_head(model).state_dict())
    return Case(
        path, "efficientnet_b0", refusal=r"has the layers 64x1280, 3x64, and a classifier ends in one linear layer"
    )


def with_deep_head(model):
    model.classifier = torch.nn.Sequential(torch.nn.Linear(1280, 64), torch.nn.ReLU(), torch.nn.Linear(64, 3))
    return model


@case
def timm_efficientnet_b0_of_its_training_script(folder):
    model, other = timm_model("efficientnet_b0"), timm.create_model("efficientnet_b0", num_classes=3)
    content = {
        "epoch": 7, "arch": "efficientnet_b0", "state_dict": other.state_dict(), "state_dict_ema": model.state_dict(),
        "args": argparse.Namespace(model="efficientnet_b0", lr=1e-3, output=Path("runs")), "metric": np.float64(0.91),
    }  # fmt: skip
    return Case(saved(folder, content), "efficientnet_b0", model, says="took state_dict_ema, the moving average")


@case
def a_training_script_with_optimizer_and_scalars(folder):
    model = torchvision_model("resnet18")
    optimizer = torch.optim.AdamW(model.parameters())
    content = {
        "epoch": 12, "model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict(),
        "val_loss": np.float64(0.2), "best_acc": np.float32(0.95), "history": [np.int64(3)],
    }  # fmt: skip
    return Case(saved(folder, content), "resnet18", model)


@case
def lightning(folder):
    model = timm_model("resnet18")
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    content = {
        "epoch": 3, "pytorch-lightning_version": "2.5.0", "state_dict": state | {"criterion.weight": torch.ones(3)},
        "hyper_parameters": argparse.Namespace(lr=1e-3), "optimizer_states": [], "callbacks": {}, "loops": {},
    }  # fmt: skip
    return Case(
        saved(folder, content, "last.ckpt"), "resnet18", model, says="outside the network's prefix: criterion.weight"
    )


@case
def a_backbone_and_a_head_of_ones_own(folder):
    model = timm_model("resnet18")
    state = {name if name.startswith("fc.") else f"backbone.{name}": t for name, t in model.state_dict().items()}
    return Case(saved(folder, state), "resnet18", model)


@case
def one_foreign_key_beside_a_compiled_model(folder):
    model = timm_model("resnet18")
    state = {f"module._orig_mod.{name}": tensor for name, tensor in model.state_dict().items()}
    return Case(saved(folder, state | {"teacher_temperature": torch.ones(1)}), "resnet18", model)


@case
def an_old_file_of_torch(folder):
    model = timm_model("resnet18")
    content = {"state_dict": model.state_dict(), "args": argparse.Namespace(a=1)}
    return Case(saved(folder, content, _use_new_zipfile_serialization=False), "resnet18", model)


@case
def half_precision(folder):
    model = timm_model("resnet18")
    model.half().float()
    return Case(
        saved(folder, {n: t.half() if t.is_floating_point() else t for n, t in model.state_dict().items()}),
        "resnet18",
        model,
    )


def hugging_face(folder, model, **processor):
    model.save_pretrained(folder)
    if processor:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def hf_classifier(name, **config):
    config_class = getattr(transformers, f"{name}Config")
    labels = {"id2label": dict(enumerate(LABELS)), "label2id": {label: i for i, label in enumerate(LABELS)}}
    model = getattr(transformers, f"{name}ForImageClassification")(config_class(**config, **labels))
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d) and name == "EfficientNet":  # else all activations are below epsilon
            torch.nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, torch.nn.BatchNorm2d):  # initialised near 0 by some versions of transformers
            torch.nn.init.ones_(module.weight)
    return disturbed(model)


@case
def transformers_vit_with_its_labels_and_mean(folder):
    model = hf_classifier("ViT", **SMALL_VIT, image_size=32, patch_size=16)
    hugging_face(
        folder, model, image_mean=[0.5] * 3, image_std=[0.25] * 3, size={"height": 32, "width": 32}, resample=3
    )
    return Case(
        folder,
        SMALL_TIMM,
        lambda x: model(x).logits,
        size=32,
        labels=(),
        says="0.5, std 0.25 (preprocessor_config.json)",
    )


@case
def transformers_vit_with_its_labels_in_another_order(folder):
    model = hf_classifier("ViT", **SMALL_VIT, image_size=32, patch_size=16)
    return Case(hugging_face(folder, model), SMALL_TIMM, refusal="in another order", labels=LABELS[::-1])


@case
def transformers_vit_whose_outputs_are_findings(folder):
    model = hf_classifier("ViT", **SMALL_VIT, image_size=32, patch_size=16, problem_type="multi_label_classification")
    return Case(hugging_face(folder, model), SMALL_TIMM, refusal="each output is a finding of its own")


@case
def transformers_vit_with_another_epsilon(folder):
    model = hf_classifier("ViT", **SMALL_VIT, image_size=32, patch_size=16, layer_norm_eps=1e-2)
    return Case(hugging_face(folder, model), SMALL_TIMM, lambda x: model(x).logits, size=32, labels=())


@case
def transformers_vit_with_another_activation(folder):
    model = hf_classifier("ViT", **SMALL_VIT, image_size=32, patch_size=16, hidden_act="relu")
    return Case(
        hugging_face(folder, model), SMALL_TIMM, refusal="computes other features from the same tensors", labels=()
    )


RESNET26 = {"depths": [2, 2, 2, 2]}


@case
def transformers_resnet(folder):
    model = hf_classifier("ResNet", **RESNET26)
    return Case(hugging_face(folder, model), "resnet26", lambda x: model(x).logits, labels=())


@case
def transformers_resnet_whose_strides_are_in_other_layers(folder):
    model = hf_classifier("ResNet", **RESNET26, downsample_in_bottleneck=True)
    return Case(hugging_face(folder, model), "resnet26", refusal="computes other features", labels=())


B0 = {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280, "image_size": 64}


def efficientnet_pytorch(name):
    """A network with statistics of images; with other parameters, too, its outputs would be so large that they round."""
    model = efficientnet_lite_pytorch.EfficientNet.from_name(name, num_classes=3)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.randn(16, 3, 128, 128))
    return model.eval()


@case
def efficientnet_pytorch_lite0(folder):
    model = efficientnet_pytorch("efficientnet-lite0")
    path = saved(folder, model.state_dict(), "efficientnet-lite0-57934424.pth")  # the name of the published file
    return Case(path, "efficientnet_lite0", model, says="equal to that of an EfficientNet of TensorFlow")


@case
def efficientnet_pytorch_b0_in_safetensors_is_that_of_tensorflow(folder):
    model = efficientnet_pytorch("efficientnet-b0")
    save_file(model.state_dict(), folder / "w.safetensors")
    return Case(folder / "w.safetensors", "tf_efficientnet_b0", model)


@case
def efficientnet_pytorch_b0_is_not_that_of_timm(folder):
    model = efficientnet_pytorch("efficientnet-b0")
    return Case(saved(folder, model.state_dict()), "efficientnet_b0", refusal="name tf_efficientnet_b0 or its kin")


@case
def timm_efficientnet_lite0_is_not_that_of_tensorflow(folder):
    content = {"arch": "efficientnet_lite0", "state_dict": timm_model("efficientnet_lite0").state_dict()}
    refusal = r"is timm's efficientnet_lite0, which computes other features .* name --architecture efficientnet_lite0\.ra_in1k"
    return Case(saved(folder, content), "efficientnet_lite0", refusal=refusal)


@case
def timm_efficientnet_lite0_by_its_tag(folder):
    model = timm_model("efficientnet_lite0")
    content = {"arch": "efficientnet_lite0", "state_dict": model.state_dict()}
    return Case(saved(folder, content), "efficientnet_lite0.ra_in1k", model)


@case
def transformers_efficientnet_b0_is_that_of_tensorflow(folder):
    model = hf_classifier("EfficientNet", **B0)
    return Case(hugging_face(folder, model), "tf_efficientnet_b0", lambda x: model(x).logits, labels=())


@case
def transformers_efficientnet_b0_is_not_that_of_timm(folder):
    model = hf_classifier("EfficientNet", **B0)
    return Case(hugging_face(folder, model), "efficientnet_b0", refusal="name tf_efficientnet_b0 or its kin", labels=())


def hf_features(folder, network, architecture, size, **processor):
    hugging_face(folder, disturbed(network), **processor)
    return Case(folder, architecture, partial(features_of, network), size=size, labels=(), encoder=True)


@case
def rad_dino_is_a_dinov2(folder):
    network = transformers.Dinov2Model(
        transformers.Dinov2Config(
            **SMALL_VIT | {"hidden_size": 384, "num_attention_heads": 6}, image_size=56, patch_size=14
        )
    )
    return hf_features(
        folder, network, "vit_small_patch14_dinov2", 56, image_mean=[0.53] * 3, image_std=[0.26] * 3, resample=3
    )


@case
def dinov2_is_no_plain_vit(folder):
    network = transformers.Dinov2Model(transformers.Dinov2Config(**SMALL_VIT, image_size=64, patch_size=16))
    return Case(hugging_face(folder, network), SMALL_TIMM, refusal="scales its layers, as DINOv2", labels=())


@case
def transformers_mae(folder):
    config = transformers.ViTMAEConfig(
        **SMALL_VIT, image_size=64, patch_size=16, mask_ratio=0.0, decoder_num_hidden_layers=1
    )
    network = disturbed(transformers.ViTMAEForPreTraining(config))
    hugging_face(folder, network)
    return Case(folder, SMALL_TIMM, lambda x: network.vit(x).last_hidden_state[:, 0], labels=(), encoder=True)


XSMALL_CLIP = {"hidden_size": 256, "num_hidden_layers": 10, "num_attention_heads": 4, "intermediate_size": 1024}


def clip_of_transformers(folder, activation):
    vision = XSMALL_CLIP | {"image_size": 64, "patch_size": 16, "hidden_act": activation}
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    network = disturbed(transformers.CLIPModel(transformers.CLIPConfig(vision_config=vision, text_config=text)))
    hugging_face(folder, network)
    return lambda x: network.vision_model(x).pooler_output


@case
def transformers_clip_tower(folder):
    features = clip_of_transformers(folder, "gelu")
    return Case(folder, "vit_xsmall_patch16_clip_224", features, labels=(), encoder=True)


@case
def transformers_clip_tower_with_the_other_gelu(folder):
    clip_of_transformers(folder, "quick_gelu")
    return Case(folder, "vit_xsmall_patch16_clip_224", refusal="name vit_base_patch16_clip_quickgelu_224", labels=())


@case
def transformers_distilled_deit(folder):
    config = transformers.DeiTConfig(**SMALL_VIT, image_size=64, patch_size=16, num_labels=3)
    network = disturbed(transformers.DeiTForImageClassificationWithTeacher(config))
    return Case(hugging_face(folder, network), "deit_tiny_distilled_patch16_224", lambda x: network(x).logits)


@case
def a_state_dict_of_transformers_without_its_config(folder):
    model = hf_classifier("ViT", **SMALL_VIT, image_size=32, patch_size=16)
    hugging_face(folder / "whole", model)
    weights = (folder / "whole/model.safetensors").rename(folder / "vit.safetensors")
    return Case(weights, SMALL_TIMM, refusal="name the folder that save_pretrained")


@case
def mae_fine_tuned_pools_its_patches(folder):
    model = timm_model(SMALL_TIMM, img_size=64, global_pool="avg")
    return Case(saved(folder, {"model": model.state_dict(), "args": argparse.Namespace()}), SMALL_TIMM, model)


@case
def mae_pretrained_of_facebookresearch(folder):
    model = timm_model(SMALL_TIMM, 0, img_size=64)
    extra = {
        "mask_token": torch.ones(1, 1, 32),
        "decoder_embed.weight": torch.ones(32, 192),
        "decoder_blocks.0.norm1.weight": torch.ones(32),
    }
    return Case(saved(folder, {"model": model.state_dict() | extra}), SMALL_TIMM, model, labels=(), encoder=True)


@case
def dino_teacher(folder):
    student, teacher = (
        timm_model(SMALL_TIMM, 0, img_size=64),
        timm.create_model(SMALL_TIMM, num_classes=0, img_size=64).eval(),
    )
    head = {"module.head.mlp.0.weight": torch.ones(8, 192)}
    content = {
        name: {f"module.backbone.{n}": t for n, t in model.state_dict().items()} | head
        for name, model in (("student", student), ("teacher", teacher))
    }
    return Case(saved(folder, content), SMALL_TIMM, teacher, labels=(), encoder=True, says="took teacher")


@case
def distilled_deit_is_no_vit(folder):
    model = timm_model("deit_tiny_distilled_patch16_224", img_size=64)
    return Case(saved(folder, model.state_dict()), SMALL_TIMM, refusal="17 .*|18 position embeddings .* distilled DeiT")


@case
def distilled_deit(folder):
    model = timm_model("deit_tiny_distilled_patch16_224", img_size=64)
    return Case(saved(folder, model.state_dict()), "deit_tiny_distilled_patch16_224", model)


@case
def a_clip_tower_is_no_vit(folder):
    model = timm_model("vit_xsmall_patch16_clip_224", img_size=32)
    return Case(
        saved(folder, model.state_dict()), SMALL_TIMM, refusal="it is a CLIP tower; name vit_base_patch16_clip_224"
    )


@case
def other_patches_are_not_resampled(folder):
    model = timm_model("vit_tiny_patch16_224", img_size=64, patch_size=8)
    return Case(saved(folder, model.state_dict()), SMALL_TIMM, refusal="its patches have 8x8 pixels, not 16x16")


def small_open_clip(**vision):
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    return disturbed(open_clip.model.CLIP(embed_dim=32, vision_cfg=vision, text_cfg=text))


@case
def open_clip_with_a_tower_of_timm_as_biomedclip(folder):
    tower = {"timm_model_name": SMALL_TIMM, "timm_model_pretrained": False, "timm_pool": "", "timm_proj": "linear"}
    model = small_open_clip(**tower, image_size=224)
    return Case(saved(folder, model.state_dict()), SMALL_TIMM, model.visual.trunk, size=224, labels=(), encoder=True)


@case
def open_clip_with_its_own_tower(folder):
    model = small_open_clip(image_size=64, layers=10, width=256, patch_size=16, head_width=64)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    model.visual.proj = None  # the features before the projection
    about = {"model_cfg": {"vision_cfg": {"image_size": 64}}, "preprocess_cfg": {"mean": [0.4] * 3, "std": [0.3] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    return Case(folder, "vit_xsmall_patch16_clip_224", model.visual, labels=(), encoder=True, says="mean 0.4")


@case
def open_clip_says_its_activation(folder):
    torch.save({"a": torch.ones(1)}, folder / "open_clip_pytorch_model.bin")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"quick_gelu": True}}))
    return Case(
        folder,
        "vit_base_patch16_clip_224",
        refusal="activation QuickGELU; name --architecture vit_base_patch16_clip_quickgelu_224",
    )


def xrv():
    return disturbed(torchxrayvision.models.DenseNet(num_classes=18), channels=1)


@case
def torchxrayvision_takes_grey_images(folder):
    model = xrv()
    return Case(
        saved(folder, model.state_dict()), "torchxrayvision_densenet121", model.features2, labels=(), encoder=True, channels=1
    )  # fmt: skip


@case
def torchxrayvision_findings_are_no_classes(folder):
    labels = tuple(f"finding_{number}" for number in range(18))
    return Case(
        saved(folder, xrv().state_dict()), "torchxrayvision_densenet121", refusal="a finding of its own", labels=labels
    )


@case
def a_pickled_module_of_torchxrayvision(folder):
    return Case(
        saved(folder, xrv()),
        "torchxrayvision_densenet121",
        refusal=r"pickled object of torchxrayvision.*weights_only=False\)\.state_dict",
    )


@case
def one_channel_with_an_unknown_mean(folder):
    return Case(
        saved(folder, xrv().state_dict()), "densenet121", refusal="give the mean and standard deviation", labels=()
    )


@case
def a_torchscript_archive(folder):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), folder / "w.pt")
    return Case(folder / "w.pt", "resnet18", refusal="TorchScript archive, which holds code")


@case
def another_depth(folder):
    return Case(saved(folder, timm_model("resnet34").state_dict()), "resnet18", refusal="are left over")


@case
def squeeze_and_excitation(folder):
    return Case(saved(folder, timm_model("seresnet18").state_dict()), "resnet18", refusal="squeeze-and-excitation")


@case
def efficientnet_b1_is_no_b0(folder):
    return Case(saved(folder, timm_model("efficientnet_b1").state_dict()), "efficientnet_b0", refusal="are left over")


@case
def tensorflows_efficientnet_by_its_name(folder):
    model = timm_model("tf_efficientnet_b0")
    path = saved(folder, model.state_dict(), "tf_efficientnet_b0_aa-827b6e33.pth")
    return Case(path, "efficientnet_b0", refusal="name --architecture tf_efficientnet_b0")


@case
def tensorflows_efficientnet(folder):
    model = timm_model("tf_efficientnet_b0")
    save_file(model.state_dict(), folder / "model.safetensors")
    about = {
        "architecture": "tf_efficientnet_b0",
        "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "license": "cc-by-nc-4.0"},
    }
    (folder / "config.json").write_text(json.dumps(about))
    return Case(folder, "tf_efficientnet_b0", model, says="WARNING: the licence cc-by-nc-4.0 forbids commercial use")


@case
def weights_that_diverged(folder):
    state = timm_model("resnet18").state_dict()
    state["layer3.0.conv1.weight"][0] = float("nan")
    return Case(saved(folder, state), "resnet18", refusal="holds NaN or infinity")


@case
def a_tensor_is_missing(folder):
    state = timm_model("resnet18").state_dict()
    del state["layer3.1.conv2.weight"]
    return Case(saved(folder, state), "resnet18", refusal=r"1 are missing \(for instance layer3\.1\.conv2")


@case
def an_archive_of_google_research(folder):
    model = timm_model(SMALL_TIMM, img_size=64)
    np.savez(folder / "vit.npz", **google_arrays(model.state_dict(), heads=3))
    return Case(folder / "vit.npz", SMALL_TIMM, model, says="timm's settings of")


@case
def an_archive_of_google_research_with_more_layers(folder):
    model = timm_model(SMALL_TIMM, img_size=64, depth=14)
    np.savez(folder / "vit.npz", **google_arrays(model.state_dict(), heads=3))
    return Case(folder / "vit.npz", SMALL_TIMM, refusal="the archive holds .* numbers and the network")


def google_arrays(state, *, heads):
    """The arrays of google-research's archives, as its Flax modules lay them out, of the tensors of a ViT of timm."""
    arrays, width = {}, state["cls_token"].shape[-1]
    arrays["cls"], arrays["Transformer/posembed_input/pos_embedding"] = state["cls_token"], state["pos_embed"]
    arrays["embedding/kernel"] = state["patch_embed.proj.weight"].permute(2, 3, 1, 0)
    arrays["embedding/bias"] = state["patch_embed.proj.bias"]
    arrays["head/kernel"], arrays["head/bias"] = state["head.weight"].T, state["head.bias"]
    arrays["Transformer/encoder_norm/scale"] = state["norm.weight"]
    arrays["Transformer/encoder_norm/bias"] = state["norm.bias"]
    for block in range(sum(name.endswith("norm1.weight") for name in state)):
        layer, ours = f"Transformer/encoderblock_{block}", f"blocks.{block}"
        for number, norm in ((0, "norm1"), (2, "norm2")):
            arrays[f"{layer}/LayerNorm_{number}/scale"] = state[f"{ours}.{norm}.weight"]
            arrays[f"{layer}/LayerNorm_{number}/bias"] = state[f"{ours}.{norm}.bias"]
        attention = f"{layer}/MultiHeadDotProductAttention_1"
        weights, biases = state[f"{ours}.attn.qkv.weight"].chunk(3), state[f"{ours}.attn.qkv.bias"].chunk(3)
        for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
            arrays[f"{attention}/{name}/kernel"] = weight.T.reshape(width, heads, width // heads)
            arrays[f"{attention}/{name}/bias"] = bias.reshape(heads, width // heads)
        arrays[f"{attention}/out/kernel"] = state[f"{ours}.attn.proj.weight"].T.reshape(heads, width // heads, width)
        arrays[f"{attention}/out/bias"] = state[f"{ours}.attn.proj.bias"]
        for number in (0, 1):
            dense = f"{layer}/MlpBlock_3/Dense_{number}"
            arrays[f"{dense}/kernel"] = state[f"{ours}.mlp.fc{number + 1}.weight"].T
            arrays[f"{dense}/bias"] = state[f"{ours}.mlp.fc{number + 1}.bias"]
    return {name: np.ascontiguousarray(tensor.numpy()) for name, tensor in arrays.items()}


def imported(made, output, **options):
    lines = []
    config = ImportConfig(
        weights_uri=str(made.uri), architecture=made.architecture, output_uri=str(output), labels=made.labels, **options
    )
    return import_model(config, lines.append), "\n".join(lines)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_foreign_checkpoint_gives_the_outputs_of_its_source_or_is_refused(name, tmp_path):
    (tmp_path / "source").mkdir()
    torch.manual_seed(1)
    made, output = CASES[name](tmp_path / "source"), tmp_path / "bundle"
    if made.refusal:
        with pytest.raises((BundleError, ConfigError), match=made.refusal) as caught:
            imported(made, output)
        assert "\n" not in str(caught.value)
        assert not output.exists()
        return
    card, text = imported(made, output)
    assert made.says in text
    if made.encoder:
        network = load_network(str(output), read_card(str(output), EncoderCard), outputs=0)
    else:
        assert card.labels == LABELS
        network = build_pixel_classifier(str(output), read_card(str(output), ModelCard)).network
        network.to(memory_format=torch.contiguous_format)  # as in the source, so that rounding is the same
    inputs = images(made.size, made.channels)
    with torch.no_grad():
        expected = made.outputs.eval()(inputs) if isinstance(made.outputs, torch.nn.Module) else made.outputs(inputs)
        found = network(inputs.expand(-1, 3, -1, -1))
    if expected.ndim == 3:
        expected = expected[:, 0]
    assert not torch.allclose(expected[0], expected[1], atol=1e-3)
    scale = max(1.0, float(expected.abs().max()))  # some random networks give hundreds, and sums are rounded by it
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-4 * scale)


PIXELS = np.random.default_rng(2).integers(0, 256, (2, 64, 64), dtype=np.uint8)


def resnet18_at(folder):
    model = timm_model("resnet18")
    return model, saved(folder, model.state_dict())


def test_an_imported_classifier_predicts_as_its_source_does(tmp_path):
    model, path = resnet18_at(tmp_path)
    made = Case(path, "resnet18")
    card, text = imported(made, tmp_path / "bundle", image_size=64, mean=(0.4,), std=(0.2,))
    inputs = torch.from_numpy(PIXELS).float()[:, None].expand(-1, 3, -1, -1) / 255
    with torch.no_grad():
        expected = model((inputs - 0.4) / 0.2).softmax(1)
    found = Classifier(str(tmp_path / "bundle"), precision="fp32").predict(PIXELS)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert card.source["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "outputs: 0 COVID, 1 Lung_Opacity, 2 Normal" in text
    assert "mean 0.4, std 0.2 (--mean and --std)" in text
    assert "licence: unknown; record it by --licence" in text


def test_pixels_reach_torchxrayvision_as_it_normalises_them(tmp_path):
    model = xrv()
    made = Case(saved(tmp_path, model.state_dict()), "torchxrayvision_densenet121", labels=())
    imported(made, tmp_path / "bundle", image_size=64)
    grey = torchxrayvision.datasets.normalize(PIXELS.astype(np.float32), 255)
    with torch.no_grad():
        expected = model.features2(torch.from_numpy(grey)[:, None])
    found = Encoder(str(tmp_path / "bundle"), precision="fp32").embed(PIXELS)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * float(expected.max()))


def test_position_embeddings_are_interpolated_for_another_image_size_only(tmp_path):
    model = timm_model(SMALL_TIMM, img_size=64)
    made = Case(saved(tmp_path, model.state_dict()), SMALL_TIMM)
    card, text = imported(made, tmp_path / "bundle", image_size=96)
    assert "note: the weights are for 64 px; position embeddings were interpolated" in text
    assert (card.image_size, card.network) == (96, {"img_size": 96})
    larger = timm.create_model(SMALL_TIMM, num_classes=3, img_size=96).eval()
    larger.load_state_dict(timm.models.vision_transformer.checkpoint_filter_fn(model.state_dict(), larger))
    network = build_pixel_classifier(str(tmp_path / "bundle"), card).network
    with torch.no_grad():
        torch.testing.assert_close(network(images(96)), larger(images(96)), rtol=1e-4, atol=1e-4)


def test_labels_come_from_a_dataset_in_alphabetical_order(tmp_path):
    _, path = resnet18_at(tmp_path)
    rows = [{"image_id": label, "uri": label, "label": label, "split": "train"} for label in LABELS[::-1]]
    pq.write_table(pa.Table.from_pylist(rows, DATASET), tmp_path / "d.parquet")
    card, _ = imported(Case(path, "resnet18", labels=()), tmp_path / "bundle", labels_from=str(tmp_path / "d.parquet"))
    assert card.labels == LABELS


def test_what_does_not_fit_the_labels_or_the_output_is_refused(tmp_path):
    _, path = resnet18_at(tmp_path)
    with pytest.raises(BundleError, match="has 3 outputs and 2 labels: a, b"):
        imported(Case(path, "resnet18", labels=("a", "b")), tmp_path / "bundle")
    with pytest.raises(ConfigError, match="would share a column"):
        imported(Case(path, "resnet18", labels=("a", "b", "A")), tmp_path / "bundle")
    card, text = imported(Case(path, "resnet18", labels=()), tmp_path / "bundle")
    assert (card.kind, card.features) == ("encoder", 512)
    assert "note: the head of 3 outputs was left out; --labels keeps it" in text
    with pytest.raises(ConfigError, match=r"a bundle is at .*; name another output or add --overwrite"):
        imported(Case(path, "resnet18"), tmp_path / "bundle")
    assert imported(Case(path, "resnet18"), tmp_path / "bundle", overwrite=True)[0].kind == "classifier"


def test_the_licence_of_a_folder_is_recorded_and_a_non_commercial_one_said_aloud(tmp_path):
    _, path = resnet18_at(tmp_path)
    path.rename(tmp_path / "pytorch_model.bin")
    (tmp_path / "README.md").write_text("---\ntags:\n- x-ray\nlicense: cc-by-nc-4.0\n---\n# A model\n")
    card, text = imported(Case(tmp_path, "resnet18"), tmp_path / "bundle")
    assert card.source["licence"] == "cc-by-nc-4.0"
    assert "WARNING: the licence cc-by-nc-4.0 forbids commercial use" in text


def test_a_divided_model_is_read_whole(tmp_path):
    model, path = resnet18_at(tmp_path)
    path.unlink()
    names = list(model.state_dict())
    parts = {"model-1.safetensors": names[:40], "model-2.safetensors": names[40:]}
    for file, held in parts.items():
        save_file({name: model.state_dict()[name] for name in held}, tmp_path / file)
    weight_map = {name: file for file, held in parts.items() for name in held}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    card, _ = imported(Case(tmp_path, "resnet18"), tmp_path / "bundle")
    with torch.no_grad():
        torch.testing.assert_close(
            build_pixel_classifier(str(tmp_path / "bundle"), card).network(images()), model(images())
        )
