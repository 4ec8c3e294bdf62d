"""Random augmentation of radiographs, computed for a whole batch on the model's device."""

import math
from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """Random changes of radiographs; each attribute limits one kind of change, and 0 switches that kind off.

    Attributes:
        flip: probability that a view is mirrored left to right.
        rotate: maximum rotation to either side, in degrees.
        translate: maximum shift along each axis, as a fraction of the view's width or height.
        scale: maximum fraction by which a view grows or shrinks.
        stretch: maximum fraction by which the width grows or shrinks while the height does the reverse.
        bend: maximum shift of single points, as a fraction of the view's width or height; it varies smoothly over a view,
            as the shapes of bodies do.
        brightness: maximum change of brightness, as a fraction of the full range.
        contrast: maximum fraction by which a pixel's difference from the view's mean grows or shrinks.
        gamma: maximum absolute base-2 logarithm of the exponent of the gamma correction.
        shade: maximum change of brightness of parts of a view, as a fraction of the full range; it varies smoothly over
            a view, as opacities and scatter do.
        erase: probability that a rectangle of 2 to 20 % of a view's area is replaced by the view's mean grey value.
    """

    flip: float = 0.5
    rotate: float = 0.0
    translate: float = 0.0
    scale: float = 0.0
    stretch: float = 0.0
    bend: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: float = 0.0
    shade: float = 0.0
    erase: float = 0.0

    def __call__(self, grey: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Draw one random view of each radiograph.

        Args:
            grey: radiographs, float32 [N, 1, H, W] in 0-255, on any device.
            generator: generator on the CPU, so that a seed gives the same views on every device.

        Returns:
            float32 [N, 1, H, W] in 0-255, on the device of `grey`.
        """
        views = self.moved(grey, generator)
        views = self.toned(views, generator)
        return self.erased(views, generator)

    def moved(self, planes: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Mirror, rotate, scale, stretch, shift and bend all planes of an image in the same way; float32 [N, C, H, W]."""
        count = len(planes)
        mirror = torch.where(torch.rand(count, generator=generator) < self.flip, -1.0, 1.0)
        if not (self.rotate or self.translate or self.scale or self.stretch or self.bend):
            return torch.where(mirror.view(-1, 1, 1, 1).to(planes.device) < 0, planes.flip(3), planes)
        angle = self.rotate * math.pi / 180 * _symmetric(count, generator)
        size = 1 + self.scale * _symmetric(count, generator)
        shift = 2 * self.translate * torch.stack([_symmetric(count, generator) for _ in range(2)], 1)
        wider = (1 + self.stretch) ** _symmetric(count, generator) if self.stretch else torch.ones(count)
        cos, sin = angle.cos() / size, angle.sin() / size
        # rows of the matrix that maps a point of the view to a point of the radiograph (both in -1 to 1, x before y)
        across = torch.stack([mirror * cos, -mirror * sin], 1) / wider.unsqueeze(1)
        down = torch.stack([sin, cos], 1) * wider.unsqueeze(1)
        theta = torch.cat([torch.stack([across, down], 1), shift.unsqueeze(2)], 2).to(planes.device)
        grid = functional.affine_grid(theta, list(planes.shape), align_corners=False)
        if self.bend:
            grid += _smooth_field(2 * self.bend, planes, 2, generator).permute(0, 2, 3, 1)
        return functional.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def toned(self, grey: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Change gamma, contrast, and the brightness of whole images and of their parts; float32 [N, 1, H, W] in 0-255."""
        if not (self.brightness or self.contrast or self.gamma or self.shade):
            return grey

        def draw(limit: float) -> torch.Tensor:
            return (limit * _symmetric(len(grey), generator)).view(-1, 1, 1, 1).to(grey.device)

        exponent, gain, offset = 2 ** draw(self.gamma), 1 + draw(self.contrast), draw(self.brightness)
        corrected = (grey / 255).clamp(0, 1) ** exponent
        mean = corrected.mean((2, 3), keepdim=True)
        toned = (corrected - mean) * gain + mean + offset
        if self.shade:
            toned += _smooth_field(self.shade, grey, 1, generator)
        return (toned * 255).clamp(0, 255)

    def erased(self, grey: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Replace a rectangle in some images by the image's mean grey value; float32 [N, 1, H, W]."""
        if not self.erase:
            return grey
        count, _, height, width = grey.shape
        drawn = torch.rand(count, 5, generator=generator)
        area = 0.02 + 0.18 * drawn[:, 0]
        aspect = 3 ** (2 * drawn[:, 1] - 1)
        half_height, half_width = (area * aspect).sqrt() / 2, (area / aspect).sqrt() / 2
        rows = ((torch.arange(height) + 0.5) / height - drawn[:, 2:3]).abs() < half_height.unsqueeze(1)
        columns = ((torch.arange(width) + 0.5) / width - drawn[:, 3:4]).abs() < half_width.unsqueeze(1)
        chosen = (drawn[:, 4] < self.erase).view(-1, 1, 1)
        hole = (rows.unsqueeze(2) & columns.unsqueeze(1) & chosen).unsqueeze(1).to(grey.device)
        return torch.where(hole, grey.mean((2, 3), keepdim=True), grey)


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomResizedCrop:
    """Random crops of square images, each resized to the size of its image (Szegedy et al., arXiv 1409.4842).

    Attributes:
        scale: minimum and maximum fraction of the image's area that a crop keeps. The aspect ratio of a crop lies in 3:4
            to 4:3, and closer to 1 where the crop would otherwise be larger than the image.
    """

    scale: tuple[float, float]

    def __call__(self, grey: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Draw one crop of each image of `grey`, float32 [N, 1, S, S]; shape, range and device do not change.

        `generator` must be on the CPU, so that a seed gives the same crops on every device.
        """
        count, (minimum, maximum) = len(grey), self.scale
        area = minimum + (maximum - minimum) * torch.rand(count, generator=generator)
        # logarithm of the largest aspect ratio, at which one side of the crop is as long as the image's
        widest = (-area.log()).clamp(max=math.log(4 / 3))
        aspect = (widest * _symmetric(count, generator)).exp()
        size = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()], 1).clamp(max=1)  # x before y
        shift = (1 - size) * torch.stack([_symmetric(count, generator) for _ in range(2)], 1)
        theta = torch.cat([torch.diag_embed(size), shift.unsqueeze(2)], 2).to(grey.device)
        grid = functional.affine_grid(theta, list(grey.shape), align_corners=False)
        return functional.grid_sample(grey, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _smooth_field(limit: float, like: torch.Tensor, channels: int, generator: torch.Generator) -> torch.Tensor:
    """Smooth random planes float32 [N, channels, H, W] with N, H, W of `like`; their 4 x 4 knots are in -limit to limit."""
    knots = limit * (2 * torch.rand(len(like), channels, 4, 4, generator=generator) - 1)
    size = list(like.shape[2:])
    return functional.interpolate(knots.to(like.device), size, mode="bicubic", align_corners=True)


def _symmetric(count: int, generator: torch.Generator) -> torch.Tensor:
    """Uniform random numbers in -1 to 1, float32 [count]."""
    return 2 * torch.rand(count, generator=generator) - 1
