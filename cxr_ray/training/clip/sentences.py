"""Tokenisation of captions and prompts with the vocabulary in the folder of the weights."""

from collections.abc import Sequence

import ray

from cxr_ray.errors import BundleError
from cxr_ray.training.clip.token_table import TokenTable
from cxr_ray.training.object_store import copied_to_own_node


def read_sentences(weights_uri: str, sentences: Sequence[str]) -> "tuple[int, ray.ObjectRef]":
    """Tokenise sentences with the vocabulary of the model at `weights_uri`, in a task of Ray.

    Returns:
        Height and width, in pixels, of the model's images, and a reference to the `TokenTable` of the sentences.

    Raises:
        BundleError: if the weights or the vocabulary cannot be read.
    """
    outcome, tokens = _read_sentences.remote(weights_uri, list(sentences))
    image_size, problem = ray.get(outcome)
    if problem:
        raise BundleError(problem)
    return image_size, copied_to_own_node(tokens)


@ray.remote(num_cpus=1, num_returns=2)
def _read_sentences(weights_uri: str, sentences: list[str]) -> tuple[tuple[int, str | None], TokenTable | None]:
    """Return image size and the message of a `BundleError`, then the table.

    This is a task, because the driver's machine may be too small for the model.
    """
    from cxr_ray.models.biomedclip_checkpoint import load_biomedclip, load_tokenizer
    from cxr_ray.training.clip.token_table import tokenised

    try:
        model_config = load_biomedclip(weights_uri).config
        tokenizer = load_tokenizer(weights_uri, model_config)
    except BundleError as error:
        return (0, str(error)), None
    return (model_config.image_size, None), tokenised(tokenizer, sentences)
