"""SAM's attention to the whole image, without the matrix of all patches by all patches in the memory of a GPU."""

import torch
from segment_anything.modeling.image_encoder import Attention, ImageEncoderViT, get_rel_pos
from torch.nn import functional


class GlobalAttention(Attention):
    """Attention of `segment_anything` computed by torch's fused kernel; weights and results are the same.

    SAM adds to the score of a query and a key a term of their rows and one of their columns: (q . R_h)[row of the key] +
    (q . R_w)[column of the key]. Both are products of the query's terms with the key's row and column as one-hot
    vectors. So they join queries and keys as further features, and no score is ever stored: for 16 images of 1,024 px
    the scores alone take 6.4 GB in bf16, and their sums and softmax as much again each.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend from each of H x W patches to all, float [B, H, W, C] -> [B, H, W, C]."""
        count, height, width, _ = x.shape
        qkv = self.qkv(x).reshape(count, height * width, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)  # each [B, heads, H W, c]
        scaled = query * self.scale
        if self.use_rel_pos:
            grid = query.unflatten(2, (height, width))
            rows = torch.einsum("bnhwc,hkc->bnhwk", grid, get_rel_pos(height, height, self.rel_pos_h).to(query.dtype))
            columns = torch.einsum("bnhwc,wkc->bnhwk", grid, get_rel_pos(width, width, self.rel_pos_w).to(query.dtype))
            scaled = torch.cat([scaled, rows.flatten(2, 3).to(query.dtype), columns.flatten(2, 3).to(query.dtype)], -1)
            key = torch.cat([key, _one_hot_places(height, width, key).expand(*key.shape[:3], -1)], -1)
        attended = functional.scaled_dot_product_attention(scaled, key, value, scale=1.0)
        output: torch.Tensor = self.proj(attended.transpose(1, 2).reshape(count, height, width, -1))
        return output


def _one_hot_places(height: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """The row and the column of each patch as one-hot vectors, [H W, H + W] in the dtype and on the device of `like`."""
    rows = torch.eye(height, dtype=like.dtype, device=like.device).repeat_interleave(width, 0)
    columns = torch.eye(width, dtype=like.dtype, device=like.device).repeat(height, 1)
    return torch.cat([rows, columns], 1)


def save_memory(encoder: ImageEncoderViT) -> None:
    """Let the blocks of an encoder that attend to the whole image do so by `GlobalAttention`."""
    for block in encoder.blocks:
        if block.window_size == 0:
            block.attn.__class__ = GlobalAttention
