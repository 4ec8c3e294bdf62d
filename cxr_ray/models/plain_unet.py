"""nnU-Net's plain U-Net for segmenters: one input channel, logits of one class, and names of weights in bundles."""

from collections.abc import Sequence

import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn
from torch.nn import functional


class PlainUNet(PlainConvUNet):
    """nnU-Net's plain U-Net in 2D (Isensee et al., arXiv 1904.08128); it computes the same as MONAI's DynUNet.

    Each level has two 3x3 convolutions without bias, each followed by instance normalisation and a leaky ReLU of slope
    0.01. The first convolution of every level but the first has stride 2; transposed convolutions without bias lead
    back up.

    Args:
        filters: number of channels of each level, from full resolution down.
        deep_supervision: number of levels below full resolution that also give logits in training mode; 0 for none.

    Raises:
        ValueError: if `deep_supervision` is negative, or exceeds the number of levels less two.
    """

    def __init__(self, filters: Sequence[int], *, deep_supervision: int = 0) -> None:
        levels = len(filters)
        if not 0 <= deep_supervision <= levels - 2:
            raise ValueError(
                f"deep_supervision must be 0 to {levels - 2} for a network of {levels} levels; got {deep_supervision}"
            )
        super().__init__(
            input_channels=1,
            n_stages=levels,
            features_per_stage=list(filters),
            conv_op=nn.Conv2d,
            kernel_sizes=3,
            strides=[1] + [2] * (levels - 1),
            n_conv_per_stage=2,
            num_classes=1,
            n_conv_per_stage_decoder=2,
            norm_op=nn.InstanceNorm2d,
            norm_op_kwargs={"eps": 1e-5, "affine": True},
            nonlin=nn.LeakyReLU,
            nonlin_kwargs={"negative_slope": 0.01, "inplace": True},
            deep_supervision=deep_supervision > 0,
        )
        self._deep_supervision = deep_supervision
        heads = self.decoder.seg_layers
        for position in range(len(heads) - 1 - deep_supervision):
            # nnU-Net has a head on every level, but DDP refuses weights that get no gradient
            heads[position] = nn.Identity()
        self.apply(self.initialize)

    def train(self, mode: bool = True) -> "PlainUNet":
        """Switch to training mode or to eval mode; in eval mode only full resolution gives logits."""
        self.decoder.deep_supervision = mode and self._deep_supervision > 0
        super().train(mode)
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute logits [N, 1, S, S] of images float [N, 1, S, S].

        In training mode with deep supervision the logits are [N, 1 + deep_supervision, 1, S, S]: those of full
        resolution, then those of each lower level, enlarged to full resolution by repetition.
        """
        logits: torch.Tensor | list[torch.Tensor] = super().forward(images)
        if isinstance(logits, torch.Tensor):
            return logits
        output, *lower = logits[: 1 + self._deep_supervision]
        return torch.stack([output, *(functional.interpolate(one, output.shape[2:]) for one in lower)], dim=1)

    def named_weights(self) -> dict[str, nn.Parameter]:
        """Every weight by its name in a bundle, in an order that depends only on the architecture.

        Names and order are those of MONAI's DynUNet; all bundles and checkpoints use them.
        """
        layers: dict[str, nn.Module] = {}
        blocks = [stage[0] for stage in self.encoder.stages]
        names = ["input_block", *(f"downsamples.{i}" for i in range(len(blocks) - 2)), "bottleneck"]
        for name, block in zip(names, blocks, strict=True):
            layers |= _layers_of(name, block)
        for i, (enlarge, block) in enumerate(zip(self.decoder.transpconvs, self.decoder.stages, strict=True)):
            layers[f"upsamples.{i}.transp_conv.conv"] = enlarge
            layers |= _layers_of(f"upsamples.{i}.conv_block", block)
        output, *heads = reversed(self.decoder.seg_layers)
        layers["output_block.conv.conv"] = output
        layers |= {f"deep_supervision_heads.{i}.conv.conv": head for i, head in enumerate(heads)}
        return {f"{layer}.{kind}": w for layer, module in layers.items() for kind, w in module.named_parameters()}


def _layers_of(name: str, block: nn.Module) -> dict[str, nn.Module]:
    """The two convolutions and the two norms of `block`, one level of the network, by their names in a bundle."""
    first, second = block.convs  # type: ignore[misc]
    convolutions = {f"{name}.conv1.conv": first.conv, f"{name}.conv2.conv": second.conv}
    return convolutions | {f"{name}.norm1": first.norm, f"{name}.norm2": second.norm}
