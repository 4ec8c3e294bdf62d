"""DHN-NCE, the contrastive loss that fine-tunes BiomedCLIP: only negatives, weighted by hardness, are pushed away."""

import torch


def dhn_nce_loss(
    image_features: torch.Tensor,
    text_features: torch.Tensor,
    *,
    tau: float = 0.6,
    beta1: float = 0.15,
    beta2: float = 0.15,
    same: torch.Tensor | None = None,
) -> torch.Tensor:
    """Decoupled hard-negative noise-contrastive loss of a batch of image-text pairs, [] in float32 or better.

    With L_ij = v_i . t_j / tau, the image-to-text loss is the mean over i of

        -L_ii + log sum_{j != i} w_ij exp(L_ij),   w_ij = (B - 1) exp(beta1 L_ij) / sum_{k != i} exp(beta1 L_ik),

    and the text-to-image loss is the same formula for the transposed L with beta2 (Koleilat et al., arXiv 2409.19483).
    The result is the sum of both. Gradients also flow through the weights w. A closer negative is therefore pushed away
    harder, provided that its logit lies less than log(1 + 1 / beta) below the hardest one; with the defaults this
    means cosines that differ by less than 1.2.

    The paper counts every other pair as a negative. If captions repeat, that is wrong, and the features of a few kinds
    of images collapse to two. `same` leaves such pairs out of both sums; B - 1 becomes the number of the negatives left.

    Args:
        image_features: v, float [B, D] of L2 norm 1; B is the global batch, gathered with gradients.
        text_features: t, float [B, D] of L2 norm 1; row i belongs to image i, every other row is a negative.
        tau: temperature, > 0.
        beta1: hardness of the negative texts of an image, >= 0; 0 gives all of them the same weight.
        beta2: hardness of the negative images of a text, >= 0; 0 gives all of them the same weight.
        same: bool [B, B], symmetric; True where pairs i and j share an image or a caption, so that they are not
            negatives of each other. None means that all pairs differ, as in the paper.

    Raises:
        ValueError: if the shapes differ, or the batch has fewer than 2 pairs.
    """
    if image_features.shape != text_features.shape or image_features.ndim != 2:
        shapes = f"{list(image_features.shape)} and {list(text_features.shape)}"
        raise ValueError(f"image and text features must both be [B, D]; got {shapes}")
    if len(image_features) < 2:
        raise ValueError(f"DHN-NCE needs a batch of >= 2 pairs to have negatives; got {len(image_features)}")
    precise = torch.promote_types(image_features.dtype, torch.float32)  # the loss is a difference of large sums
    with torch.autocast(image_features.device.type, enabled=False):
        logits = image_features.to(precise) @ text_features.to(precise).T / tau
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    negatives = ~(own if same is None else own | same)
    return _half(logits, negatives, beta1) + _half(logits.T, negatives, beta2)


def _half(logits: torch.Tensor, negatives: torch.Tensor, beta: float) -> torch.Tensor:
    """Loss of one direction, the mean over the rows of `logits`, float [B, B].

    log sum w exp(L) is computed as log(number of negatives) + lse((1 + beta) L) - lse(beta L), where lse is logsumexp
    over the negatives. In a row without negatives only the term of the positive remains.
    """
    is_alone = ~negatives.any(1)
    hidden = ~(negatives | is_alone.unsqueeze(1))  # a logsumexp over nothing would have no gradient
    harder = ((1 + beta) * logits).masked_fill(hidden, -torch.inf).logsumexp(1)
    weights = (beta * logits).masked_fill(hidden, -torch.inf).logsumexp(1)
    pushed = negatives.sum(1).clamp(min=1).to(logits.dtype).log() + harder - weights
    return (pushed.masked_fill(is_alone, 0) - logits.diagonal()).mean()
