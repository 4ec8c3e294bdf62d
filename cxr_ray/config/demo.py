"""Configs of the jobs that draw phantoms: the demo, and the training of small models for segmentation by text."""

from dataclasses import dataclass

from cxr_ray.config.checks import require


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoConfig:
    """Run the whole product: index, prepare, train, classify, segment and evaluate an archive of drawn chest phantoms, or a real one."""

    archive: str | None = None
    """Folder in the layout of the COVID-19 Radiography Database; if not given, phantoms are drawn into an S3 server of
    the demo's own."""
    output: str = "demo-output"
    """Folder for all results; the results of an earlier demo in it are deleted."""
    images_per_class: int = 56
    """Number of phantoms to draw for each of the four classes, at least 10."""
    image_size: int = 64
    """Pixels per side of the images that the classifier sees, at least 32; the segmenter sees half as many again."""
    epochs: int = 10
    """Passes of the classifier over the training images."""
    segmenter_epochs: int = 6
    """Passes of the segmenter over the training images; an even number of at least 2."""
    by_text: bool = True
    """Also train small models for segmentation by text, and compare them with the segmenter; only for drawn phantoms."""
    batch_size: int = 12
    """Images per step while the classifier is trained."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for name, minimum in (
            ("images_per_class", 10),
            ("image_size", 32),
            ("epochs", 1),
            ("segmenter_epochs", 2),
            ("batch_size", 1),
        ):
            require(getattr(self, name) >= minimum, name, getattr(self, name), f">= {minimum}")
        require(self.segmenter_epochs % 2 == 0, "segmenter_epochs", self.segmenter_epochs, "even")


@dataclass(frozen=True, kw_only=True, slots=True)
class PhantomModelsConfig:
    """Train a small BiomedCLIP and a small SAM on drawn chest phantoms, to try segmentation by text; they know nothing of real radiographs."""

    output_uri: str
    """Folder that receives clip/ (for --clip-uri) and sam.safetensors (for --sam-uri)."""
    seed: int = 0
    """Seed of the initial weights and of the drawn phantoms."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.seed >= 0, "seed", self.seed, ">= 0")
