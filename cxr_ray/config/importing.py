"""Config of the job that turns somebody else's checkpoint into a bundle."""

from dataclasses import dataclass
from typing import Literal

from cxr_ray.config.checks import require
from cxr_ray.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportConfig:
    """Turn weights that somebody else trained into a model bundle, without training: a classifier, or an encoder of features."""

    weights_uri: str
    """File or folder of the weights: a state dict, safetensors, a folder of save_pretrained(), or a NumPy archive (.npz)."""
    architecture: str
    """Backbone of train_classifier.py, any name of timm, torchxrayvision_densenet121, rad_dino or biomedclip."""
    output_uri: str
    """Folder that becomes the model bundle."""
    labels: tuple[str, ...] = ()
    """Class names in the order of the outputs; if not given, those that the source names, and without any the bundle is
    an encoder."""
    labels_from: str | None = None
    """Dataset whose labels, in alphabetical order, are those of the outputs, as in a folder of classes."""
    encoder: bool = False
    """Leave out the head, and write an encoder of features even if the source names its classes."""
    image_size: int | None = None
    """Pixels per side of the square to which images are resized; if not given, that of the weights."""
    mean: tuple[float, ...] = ()
    """Mean of pixels in 0 to 1, one number or three; if not given, that of the source or the architecture."""
    std: tuple[float, ...] = ()
    """Standard deviation of pixels in 0 to 1, one number or three; if not given, that of the source or the
    architecture."""
    interpolation: Literal["bilinear", "bicubic", "lanczos"] | None = None
    """Interpolation of the resizing; if not given, that of the source or the architecture."""
    licence: str | None = None
    """Licence of the weights, which the bundle records; if not given, that which the source names."""
    overwrite: bool = False
    """Replace a bundle that is at the output."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check ranges, and options that contradict each other."""
        require(self.image_size is None or self.image_size >= 16, "image_size", self.image_size, ">= 16")
        for name in ("mean", "std"):
            require(len(getattr(self, name)) in (0, 1, 3), name, getattr(self, name), "one number or three")
        require(all(value > 0 for value in self.std), "std", self.std, "> 0")
        if bool(self.mean) != bool(self.std):
            raise ConfigError("mean and std belong together; give both or neither")
        if len([given for given in (self.labels, self.labels_from, self.encoder) if given]) > 1:
            raise ConfigError("labels, labels_from and encoder exclude each other; give one of them")
