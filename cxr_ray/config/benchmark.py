"""Config of the scoring benchmark."""

from dataclasses import dataclass
from typing import Literal

from cxr_ray.config.checks import require


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkConfig:
    """Measure what scoring an archive reaches, beside its limit and beside a plain DataLoader loop, in one run."""

    input_uri: str
    """Folder, prefix or manifest; all of its images are scored."""
    model_uri: str
    """A model bundle."""
    output_uri: str | None = None
    """Folder that receives benchmark.json and the rows scored; a temporary one if not given."""
    repeats: int = 3
    """Times that limit, job and peer are measured in turn; medians are reported."""
    peer_images: int = 320
    """Images that the plain loops and the limit are measured on."""
    batch_size: int | None = None
    """Images a forward pass, as in classify_archive.py."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """As in classify_archive.py."""
    dollars_per_hour: float | None = None
    """Price of this cluster; the cost of a million images is reported if given."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.repeats >= 1, "repeats", self.repeats, ">= 1")
        require(self.peer_images >= 1, "peer_images", self.peer_images, ">= 1")
        require(self.batch_size is None or self.batch_size >= 1, "batch_size", self.batch_size, ">= 1")
