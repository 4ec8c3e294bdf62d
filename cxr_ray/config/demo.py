"""Config of the demo."""

from dataclasses import dataclass

from cxr_ray.config.checks import require


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoConfig:
    """Index, prepare, train, classify, segment and evaluate an archive of drawn chest phantoms, or a real one."""

    archive: str | None = None
    """A folder in the layout of the COVID-19 Radiography Database; phantoms in an S3 server of its own if not given."""
    output: str = "demo-output"
    """Folder for all results; what an earlier demo made there is deleted."""
    images_per_class: int = 80
    """Phantoms to draw of each class."""
    image_size: int = 64
    """Pixels a side."""
    epochs: int = 10
    """Passes over the training images."""
    segmenter_epochs: int = 6
    """Passes of the student over the train images, an even number."""
    by_text: bool = True
    """Train small models for segmentation by text as well, and compare; drawn phantoms only."""
    batch_size: int = 16
    """Images a step."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for name, least in (
            ("images_per_class", 10),
            ("image_size", 32),
            ("epochs", 1),
            ("segmenter_epochs", 2),
            ("batch_size", 1),
        ):
            require(getattr(self, name) >= least, name, getattr(self, name), f">= {least}")


@dataclass(frozen=True, kw_only=True, slots=True)
class PhantomModelsConfig:
    """Train a small BiomedCLIP and a small SAM on drawn chest phantoms; they know nothing of real radiographs."""

    output_uri: str
    """Folder that receives clip/ and sam.safetensors."""
    seed: int = 0
    """Of weights and phantoms."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.seed >= 0, "seed", self.seed, ">= 0")
