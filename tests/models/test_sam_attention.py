import copy

import pytest
import torch

from cxr_ray.models.sam import SAM_CONFIGS, SamConfig, build_sam
from cxr_ray.models.sam_attention import GlobalAttention, save_memory


@pytest.fixture
def encoder():
    """An image encoder of two blocks, the second of which attends to the whole image, with positions that matter."""
    config = SamConfig(
        encoder_depth=2, encoder_embed_dim=32, encoder_num_heads=2, encoder_global_attn_indexes=(1,),
        prompt_embed_dim=32, image_size=128,
    )  # fmt: skip
    torch.manual_seed(0)
    encoder = build_sam(config).image_encoder
    with torch.no_grad():
        for block in encoder.blocks:
            block.attn.rel_pos_h.normal_()
            block.attn.rel_pos_w.normal_()
    return encoder


def test_the_embeddings_stay_and_only_blocks_of_the_whole_image_change(encoder):
    images = torch.randn(2, 3, 128, 128)
    changed = copy.deepcopy(encoder)
    save_memory(changed)
    assert [isinstance(block.attn, GlobalAttention) for block in changed.blocks] == [False, True]
    assert changed.state_dict().keys() == encoder.state_dict().keys()
    with torch.inference_mode():
        torch.testing.assert_close(changed(images), encoder(images), atol=1e-4, rtol=1e-4)
        changed.blocks[1].attn.rel_pos_w.zero_()
        assert (changed(images) - encoder(images)).abs().max() > 1e-2  # so positions do matter here


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_sixteen_images_of_full_size_take_few_gigabytes():
    encoder = build_sam(SAM_CONFIGS["vit_b"]).image_encoder.cuda()
    save_memory(encoder)
    torch.cuda.reset_peak_memory_stats()
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
        encoder(torch.randn(16, 3, 1024, 1024, device="cuda"))
    assert torch.cuda.max_memory_allocated() < 12 * 2**30
