"""Predict images named on the command line: print one line for each and, if asked, save an annotated picture of each."""

import sys
from dataclasses import dataclass

from cxr_ray.archive.recognise import PICTURE_SUFFIX
from cxr_ray.archive.uris import absolute_uri, join_uri, write_bytes
from cxr_ray.config import PredictConfig
from cxr_ray.errors import ConfigError, CxrRayError, ImageError
from cxr_ray.evaluation.picture_names import last_part, picture_names
from cxr_ray.evaluation.prediction_lines import PredictionLines
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.imaging.radiograph import Radiograph, load_image
from cxr_ray.models.bundle import read_card
from cxr_ray.models.classifier import Classifier, Prediction
from cxr_ray.models.heat_map import heat_map, heat_title
from cxr_ray.models.lung_segmentation import LungSegmentation
from cxr_ray.models.segmenter import Segmenter

SUFFIX = PICTURE_SUFFIX


def predict_images(config: PredictConfig) -> None:
    """Print one line for each image, in order, and save an annotated picture of it in `config.output_uri` if that is set.

    The line of an image that cannot be scored shows the kind and reason of the error; the other images are still scored.

    Raises:
        CxrRayError: after the last image, if any image could not be scored.
        BundleError: if a bundle is missing, altered or of another kind.
        ConfigError: if the config requires a GPU and PyTorch sees none.
        StorageError: if a picture cannot be written.
    """
    models = load_models(config)
    lines = PredictionLines(config.images, models.classifier.card.labels, lungs=models.segmenter is not None)
    print(lines.heading(), flush=True)
    failures = 0
    for image, uri in zip(config.images, picture_uris(config), strict=True):
        try:
            finding = models.finding(image)
            if uri is not None:
                save_picture(uri, models.classifier, finding)
            print(lines.line(image, finding.prediction, finding.segmentation), flush=True)
        except ImageError as error:
            failures += 1
            print(lines.failure(image, error), flush=True)
    if config.output_uri and failures < len(config.images):
        print(f"The pictures are saved in {config.output_uri}.", file=sys.stderr)
    if failures:
        noun = "image" if len(config.images) == 1 else "images"
        raise CxrRayError(f"{failures} of {len(config.images)} {noun} could not be scored; the table gives the reason")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One radiograph and the outputs of the models for it."""

    radiograph: Radiograph
    prediction: Prediction
    segmentation: LungSegmentation | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Models:
    """The models of a job, and the maximum size of the images that they accept."""

    classifier: Classifier
    segmenter: Segmenter | None
    limits: DecodeLimits

    def finding(self, image: str) -> Finding:
        """Read, classify and, with a segmenter, segment one image at a path or URI.

        Raises:
            ImageError: if the image cannot be read, or a model returns a number that is not finite.
        """
        radiograph = load_image(image, limits=self.limits)
        return Finding(
            radiograph=radiograph,
            prediction=self.classifier.classify(radiograph),
            segmentation=self.segmenter.segment(radiograph) if self.segmenter else None,
        )


def load_models(config: PredictConfig) -> Models:
    """Load the classifier and, if the config names one, the segmenter onto the device of the config.

    Raises:
        BundleError: if a bundle is missing, altered or of another kind.
        ConfigError: if the config requires a GPU and PyTorch sees none.
    """
    device = device_of(config)
    read_card(config.model_uri)  # which refuses a classifier of findings
    classifier = Classifier(config.model_uri, device=device, precision=config.precision)
    segmenter = None
    if config.segmenter_uri:
        segmenter = Segmenter(config.segmenter_uri, device=device, precision=config.precision)
    limits = DecodeLimits(max_megapixels=config.max_megapixels, max_bytes=config.max_megabytes * 2**20)
    return Models(classifier=classifier, segmenter=segmenter, limits=limits)


def save_picture(uri: str, classifier: Classifier, finding: Finding) -> None:
    """Save the picture of a finding as PNG, with the heat map of its predicted class.

    The heat map explains the first label of the classifier if the prediction is the absence of its only label.

    Raises:
        StorageError: if `uri` cannot be written.
    """
    from cxr_ray.evaluation.prediction_figure import prediction_png

    labels, predicted = classifier.card.labels, finding.prediction.label
    explained = predicted if predicted in labels else labels[0]
    data = prediction_png(
        finding.radiograph,
        finding.prediction,
        finding.segmentation,
        heat_map(classifier, finding.radiograph, labels.index(explained)),
        heat_title=heat_title(classifier, explained),
        model_id=classifier.card.model_id,
    )
    write_bytes(uri, data)


def device_of(config: PredictConfig) -> str | None:
    """Return the device that the config names, or None if the models should choose the best available device.

    Raises:
        ConfigError: if the config requires a GPU and PyTorch sees none.
    """
    import torch

    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device must be cpu or auto where PyTorch sees no GPU; got 'cuda'")
    return None if config.device == "auto" else config.device


def picture_uris(config: PredictConfig) -> list[str] | list[None]:
    """Choose the URI of each picture in the output folder, never that of an input image; None if no output folder is set."""
    if config.output_uri is None:
        return [None] * len(config.images)
    output_uri = absolute_uri(config.output_uri)
    names = picture_names(config.images, suffix=SUFFIX, taken=map(last_part, config.images))
    return [join_uri(output_uri, name) for name in names]
