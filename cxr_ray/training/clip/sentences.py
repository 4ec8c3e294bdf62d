"""Captions and prompts as tokens, by the vocabulary that lies beside the weights."""

from collections.abc import Sequence

import ray

from cxr_ray.errors import BundleError
from cxr_ray.training.cached_feed import kept_here
from cxr_ray.training.clip.token_table import TokenTable


def read_sentences(weights_uri: str, sentences: Sequence[str]) -> "tuple[int, ray.ObjectRef]":
    """Pixels a side of the images that the model at `weights_uri` takes, and a reference to the `TokenTable`.

    Raises:
        BundleError: if weights or vocabulary cannot be read, before any worker is started for them.
    """
    told, tokens = _read_sentences.remote(weights_uri, list(sentences))
    image_size, problem = ray.get(told)
    if problem:
        raise BundleError(problem)
    return image_size, kept_here(tokens)


@ray.remote(num_cpus=1, num_returns=2)
def _read_sentences(weights_uri: str, sentences: list[str]) -> tuple[tuple[int, str | None], TokenTable | None]:
    """The size, or what is wrong; and the table. In a task, since the driver may be a small machine."""
    from cxr_ray.models.biomedclip_checkpoint import load_biomedclip, load_tokenizer
    from cxr_ray.training.clip.token_table import tokenised

    try:
        model_config = load_biomedclip(weights_uri).config
        tokenizer = load_tokenizer(weights_uri, model_config)
    except BundleError as error:
        return (0, str(error)), None
    return (model_config.image_size, None), tokenised(tokenizer, sentences)
