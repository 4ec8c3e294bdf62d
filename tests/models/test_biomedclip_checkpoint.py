"""Checkpoints of three layouts give the same model, and any other file is refused in one line."""

import hashlib
import uuid
from collections import OrderedDict

import fsspec
import pytest
import torch
from safetensors.torch import load_file, save, save_file
from torch import nn
from torch.nn import functional
from transformers import BertConfig, BertModel

from cxr_ray.errors import BundleError
from cxr_ray.models.biomedclip import BiomedClip, BiomedClipConfig, PromptTokenizer
from cxr_ray.models.biomedclip_checkpoint import (
    clip_model_id,
    from_hf,
    from_open_clip,
    load_biomedclip,
    load_tokenizer,
    read_weights,
    save_biomedclip,
    to_hf,
    to_open_clip,
)
from cxr_ray.models.clip_weights import clip_weights_uri
from cxr_ray.models.weights_cache import weights_sha256

SIZES = {
    "vision_hidden": 128,
    "vision_layers": 2,
    "vision_heads": 2,
    "vision_mlp": 192,
    "image_size": 48,
    "patch_size": 16,
    "text_hidden": 64,
    "text_layers": 3,
    "text_heads": 1,
    "text_mlp": 96,
    "vocab_size": 40,
    "text_positions": 24,
    "context": 24,
    "projection": 32,
    "text_projection_hidden": 48,
}
TINY = BiomedClipConfig(**SIZES)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "lung"]
TOKENS = torch.tensor([[2, 5, 6, 3], [2, 8, 3, 0]])


def disturbed(model):
    """Move all parameters away from their initial values, at which a mix-up would not show."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return disturbed(BiomedClip(TINY))


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(3, 3, 48, 48, generator=torch.Generator().manual_seed(1))


def features(model, pixels):
    with torch.no_grad():
        return model.encode_image(pixels), model.encode_text(TOKENS), model.logit_scale


def assert_same_features(model, other, pixels):
    for mine, theirs in zip(features(model, pixels), features(other, pixels), strict=True):
        torch.testing.assert_close(mine, theirs)


def bert(config):
    return BertConfig(
        hidden_size=config.text_hidden,
        num_hidden_layers=config.text_layers,
        num_attention_heads=config.text_heads,
        intermediate_size=config.text_mlp,
        vocab_size=config.vocab_size,
        max_position_embeddings=config.text_positions,
    )


class OpenClip(nn.Module):
    """BiomedCLIP as open_clip assembles it from timm's ViT and Hugging Face's BERT."""

    def __init__(self, config):
        import timm

        super().__init__()
        trunk = timm.models.VisionTransformer(
            img_size=config.image_size,
            patch_size=config.patch_size,
            embed_dim=config.vision_hidden,
            depth=config.vision_layers,
            num_heads=config.vision_heads,
            mlp_ratio=config.vision_mlp / config.vision_hidden,
            num_classes=0,
        )
        projection = nn.Linear(config.vision_hidden, config.projection, bias=False)
        head = nn.Sequential(OrderedDict(drop=nn.Dropout(0), proj=projection))
        self.visual = nn.Sequential(OrderedDict(trunk=trunk, head=head))
        self.text = nn.Module()
        self.text.transformer = BertModel(bert(config), add_pooling_layer=False)
        self.text.proj = nn.Sequential(
            nn.Linear(config.text_hidden, config.text_projection_hidden, bias=False),
            nn.GELU(),
            nn.Linear(config.text_projection_hidden, config.projection, bias=False),
        )
        self.logit_scale = nn.Parameter(torch.tensor(4.4454))

    def encode_image(self, pixels):
        return functional.normalize(self.visual(pixels), dim=-1)

    def encode_text(self, token_ids):
        hidden = self.text.transformer(token_ids, attention_mask=(token_ids != 0).long()).last_hidden_state
        return functional.normalize(self.text.proj(hidden[:, 0]), dim=-1)


class HuggingFace:
    """BiomedCLIP computed from weights under the names of the Hugging Face layout."""

    def __init__(self, state, config):
        self.state, self.config, self.logit_scale = state, config, state["logit_scale"]

    def linear(self, name, x):
        return functional.linear(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"))

    def norm(self, name, x, eps):
        return functional.layer_norm(x, x.shape[-1:], self.state[f"{name}.weight"], self.state[f"{name}.bias"], eps)

    def attention(self, name, x, heads, seen=None):
        query, key, value = (
            self.linear(f"{name}.{part}_proj", x).unflatten(-1, (heads, -1)).transpose(1, 2) for part in "qkv"
        )
        scores = query @ key.mT / query.shape[-1] ** 0.5
        if seen is not None:
            scores = scores.masked_fill(~seen[:, None, None], -torch.inf)
        return self.linear(f"{name}.out_proj", (scores.softmax(-1) @ value).transpose(1, 2).flatten(2))

    def mlp(self, name, x):
        return self.linear(f"{name}.fc2", functional.gelu(self.linear(f"{name}.fc1", x)))

    def encode_image(self, pixels):
        state, config, stem = self.state, self.config, "vision_model.embeddings"
        patches = functional.conv2d(
            pixels,
            state[f"{stem}.patch_embedding.weight"],
            state[f"{stem}.patch_embedding.bias"],
            stride=config.patch_size,
        )
        first = state[f"{stem}.class_embedding"].expand(len(pixels), 1, -1)
        x = torch.cat([first, patches.flatten(2).mT], dim=1) + state[f"{stem}.position_embedding.weight"]
        for i in range(config.vision_layers):
            block = f"vision_model.encoder.layers.{i}"
            x = x + self.attention(
                f"{block}.self_attn", self.norm(f"{block}.layer_norm1", x, 1e-6), config.vision_heads
            )
            x = x + self.mlp(f"{block}.mlp", self.norm(f"{block}.layer_norm2", x, 1e-6))
        pooled = self.norm("vision_model.post_layernorm", x[:, 0], 1e-6)
        return functional.normalize(self.linear("visual_projection", pooled), dim=-1)

    def encode_text(self, token_ids):
        state, stem = self.state, "text_model.embeddings"
        x = state[f"{stem}.token_embedding.weight"][token_ids] + state[f"{stem}.token_type_embedding.weight"][0]
        x = x + state[f"{stem}.position_embedding.weight"][: token_ids.shape[1]]
        x = self.norm(f"{stem}.layer_norm", x, 1e-12)
        for i in range(self.config.text_layers):
            block = f"text_model.encoder.layers.{i}"
            attended = self.attention(f"{block}.self_attn", x, self.config.text_heads, seen=token_ids != 0)
            x = self.norm(f"{block}.layer_norm1", x + attended, 1e-12)
            x = self.norm(f"{block}.layer_norm2", x + self.mlp(f"{block}.mlp", x), 1e-12)
        return functional.normalize(self.mlp("text_projection", x[:, 0]), dim=-1)


def test_a_checkpoint_of_open_clip_gives_its_features(pixels, tmp_path):
    peer = disturbed(OpenClip(TINY))
    trained = {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in peer.state_dict().items()}}
    torch.save(trained, tmp_path / "epoch_3.pt")
    assert_same_features(load_biomedclip(str(tmp_path / "epoch_3.pt")), peer, pixels)


def test_a_checkpoint_of_hugging_face_gives_the_features_that_its_names_say(pixels, model, tmp_path):
    state = to_hf(model.state_dict())
    save_file({**state, "text_model.embeddings.position_ids": torch.arange(24)}, tmp_path / "model.safetensors")
    loaded = load_biomedclip(str(tmp_path))
    assert_same_features(loaded, HuggingFace(state, TINY), pixels)
    assert_same_features(loaded, model, pixels)
    assert not loaded.training


@pytest.mark.parametrize(("there", "back"), [(to_open_clip, from_open_clip), (to_hf, from_hf)])
def test_every_layout_round_trips(there, back, model):
    state = model.state_dict()
    returned = back(there(state))
    assert returned.keys() == state.keys()
    for name, tensor in returned.items():
        torch.testing.assert_close(tensor, state[name], atol=0, rtol=0)


def both(names):
    return [f"{name}.{leaf}" for name in names for leaf in ("weight", "bias")]


def names_of_hugging_face():
    towers = [f"{side}_model.encoder.layers.{i}" for side in ("vision", "text") for i in range(12)]
    parts = [
        "layer_norm1",
        "layer_norm2",
        *(f"self_attn.{p}_proj" for p in ("q", "k", "v", "out")),
        "mlp.fc1",
        "mlp.fc2",
    ]
    return {
        "logit_scale",
        "visual_projection.weight",
        "text_projection.fc1.weight",
        "text_projection.fc2.weight",
        "vision_model.embeddings.class_embedding",
        "vision_model.embeddings.position_embedding.weight",
        "text_model.embeddings.token_embedding.weight",
        "text_model.embeddings.position_embedding.weight",
        "text_model.embeddings.token_type_embedding.weight",
        *both(["vision_model.embeddings.patch_embedding", "vision_model.post_layernorm"]),
        *both(["text_model.embeddings.layer_norm"]),
        *both(f"{tower}.{part}" for tower in towers for part in parts),
    }


def shapes(state):
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def test_the_full_size_has_the_tensors_of_both_published_files():
    with torch.device("meta"):
        state, peer = BiomedClip().state_dict(), OpenClip(BiomedClipConfig()).state_dict()
    assert shapes(to_open_clip(state)) == shapes(peer)
    published = shapes(to_hf(state))
    assert len(published) == 399
    assert published.keys() == names_of_hugging_face()
    for name, shape in {
        "logit_scale": (),
        "visual_projection.weight": (512, 768),
        "text_projection.fc1.weight": (640, 768),
        "text_projection.fc2.weight": (512, 640),
        "vision_model.embeddings.class_embedding": (768,),
        "vision_model.embeddings.position_embedding.weight": (197, 768),
        "vision_model.embeddings.patch_embedding.weight": (768, 3, 16, 16),
        "vision_model.encoder.layers.11.self_attn.out_proj.weight": (768, 768),
        "text_model.embeddings.token_embedding.weight": (30522, 768),
        "text_model.embeddings.position_embedding.weight": (512, 768),
        "text_model.embeddings.token_type_embedding.weight": (2, 768),
        "text_model.encoder.layers.11.mlp.fc1.weight": (3072, 768),
        "text_model.encoder.layers.0.mlp.fc2.weight": (768, 3072),
    }.items():
        assert published[name] == shape


@pytest.mark.parametrize("root", ["{tmp_path}/", "memory://bundles"])
def test_our_own_bundle_returns_with_its_sizes_and_vocabulary(root, pixels, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    odd = disturbed(BiomedClip(BiomedClipConfig(**{**SIZES, "vision_heads": 8, "text_heads": 4, "context": 12})))
    uri = f"{root.format(tmp_path=tmp_path)}/clip"
    save_biomedclip(uri, odd, PromptTokenizer(WORDS))
    loaded = load_biomedclip(uri)
    assert loaded.config == odd.config
    assert_same_features(loaded, odd, pixels)
    for beside in (uri, f"{uri}/model.safetensors"):
        tokenizer = load_tokenizer(beside, loaded.config)
        assert tokenizer.tokenise(["lung " * 30]).tolist() == [[2, *10 * [5], 3]]


@pytest.mark.parametrize("layout", [dict, to_open_clip, to_hf])
def test_sizes_are_read_from_the_tensors_of_any_layout(layout, model, tmp_path):
    torch.save(layout(model.state_dict()), tmp_path / "w.bin")
    config, state = read_weights("w.bin", (tmp_path / "w.bin").read_bytes())
    assert config == TINY
    assert shapes(state) == shapes(model.state_dict())


def test_half_precision_is_read_as_fp32(model, tmp_path):
    save_file({name: tensor.half() for name, tensor in model.state_dict().items()}, tmp_path / "w.safetensors")
    loaded = load_biomedclip(str(tmp_path / "w.safetensors"))
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


def without(prefix):
    return lambda state: {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}


def with_other(name, shape):
    return lambda state: state | {name: torch.zeros(shape)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("visual.trunk.blocks.1.mlp.fc2"), r"lacks visual\.trunk\.blocks\.1\.mlp\.fc2\.weight, .*fc2\.bias;"),
        (without("text.transformer.embeddings.word"), r"lacks text\.transformer\.embeddings\.word_embeddings\.weight;"),
        (without("text."), r"it lacks text\.trans.* and 1 more; name a checkpoint"),
        (
            with_other("visual.trunk.blocks.0.attn.qkv.weight", (256, 128)),
            r"it has visual\.trunk\.blocks\.0\.attn\.qkv\.weight \[256, 128\] instead of \[384, 128\]; name a checkpoint",
        ),
        (with_other("visual.trunk.norm_pre.weight", (128,)), r"also has visual\.trunk\.norm_pre\.weight; name"),
        (
            with_other("visual.trunk.patch_embed.proj.weight", (128, 3)),
            r"it has visual\.trunk\.patch_embed\.proj\.weight \[128, 3\] instead of 4 axes; name a checkpoint",
        ),
        (
            with_other("visual.trunk.patch_embed.proj.weight", (128, 3, 0, 0)),
            r"sizes that fit no BiomedCLIP: image_size",
        ),
        (without("visual.trunk.cls_token"), r"holds 86 tensors but no BiomedCLIP; name weights of that architecture"),
    ],
)
def test_what_does_not_fit_is_named(change, message, model, tmp_path):
    uri = str(tmp_path / "w.safetensors")
    save_file(change(to_open_clip(model.state_dict())), uri)
    with pytest.raises(BundleError, match=message) as caught:
        load_biomedclip(uri)
    assert uri in str(caught.value)
    assert "\n" not in str(caught.value)


class Evil:
    """Object that runs code when it is unpickled without restrictions."""

    def __reduce__(self):
        return (print, ("executed",))


def test_no_pickle_is_executed(tmp_path, capsys):
    torch.save({"state_dict": Evil()}, tmp_path / "w.pt")
    with pytest.raises(BundleError, match="holds no state dict but dict"):
        load_biomedclip(str(tmp_path / "w.pt"))
    assert "executed" not in capsys.readouterr().out


def test_a_folder_prefers_safetensors_to_pickles(model, tmp_path):
    torch.save(Evil(), tmp_path / "pytorch_model.bin")
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    assert load_biomedclip(str(tmp_path)).config == TINY


def test_a_file_that_cannot_be_read_is_refused_in_one_line(tmp_path):
    with pytest.raises(BundleError, match=r"no BiomedCLIP weights: cannot read .*absent\.pt: .*check the URI"):
        load_biomedclip(str(tmp_path / "absent.pt"))
    with pytest.raises(
        BundleError, match=r"none of model\.safetensors, open_clip_model\.safetensors, .*; name the file"
    ):
        load_biomedclip(str(tmp_path))
    save_file({"a": torch.zeros(3)}, tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"w\.safetensors is not a safetensors file: .*; fetch or export"):
        load_biomedclip(str(tmp_path / "w.safetensors"))


@pytest.mark.parametrize("content", [b"", b".", b"no such thing"])
def test_damaged_files_are_refused(content, tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(BundleError, match=r"pytorch_model\.bin is damaged, or is not a state dict"):
        load_biomedclip(str(tmp_path))


def test_outputs_name_the_model_by_its_file_which_a_driver_knows_without_loading_it(model, tmp_path):
    save_file(to_hf(model.state_dict()), tmp_path / "model.safetensors")
    sha256 = hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    for uri in (str(tmp_path), f"{tmp_path}/model.safetensors"):
        assert clip_weights_uri(uri) == f"{tmp_path}/model.safetensors"
        assert weights_sha256(clip_weights_uri(uri)) == sha256
        loaded = load_biomedclip(uri, sha256=sha256)
        assert loaded.model_id == clip_model_id(sha256) == f"biomedclip-{sha256[:12]}"
    with pytest.raises(BundleError, match=f"sha256 is {sha256}, not {'0' * 64}"):
        load_biomedclip(str(tmp_path), sha256="0" * 64)


def test_a_node_downloads_weights_once(model, pixels, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    uri = f"memory://clip/{uuid.uuid4().hex}/clip.safetensors"
    fsspec.filesystem("memory").pipe_file(uri, save({n: t.contiguous() for n, t in model.state_dict().items()}))
    sha256 = weights_sha256(clip_weights_uri(uri))
    fsspec.filesystem("memory").rm(uri)
    assert_same_features(load_biomedclip(uri, sha256=sha256), model, pixels)


def test_metadata_that_contradicts_the_tensors_is_refused(model, tmp_path):
    for heads in ("7", "many"):
        save_file(model.state_dict(), tmp_path / "w.safetensors", {"vision_heads": heads})
        with pytest.raises(BundleError, match=f"sizes that fit no BiomedCLIP: .*{heads}"):
            load_biomedclip(str(tmp_path / "w.safetensors"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"no vocab\.txt beside the weights: cannot read"),
        (b"lung\n", r"vocab\.txt: the vocabulary is not one of BERT: it lacks \[PAD\]"),
        (b"\xff\n", r"vocab\.txt: .*decode"),
        ("\n".join([*WORDS, *map(str, range(40))]).encode(), r"vocab\.txt has 46 tokens, but the model has 40; use"),
    ],
)
def test_a_vocabulary_that_is_not_the_models_is_refused(content, message, tmp_path):
    if content is not None:
        (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(BundleError, match=message):
        load_tokenizer(str(tmp_path), TINY)


def test_a_vocabulary_of_windows_lines_is_read(tmp_path):
    (tmp_path / "vocab.txt").write_bytes("\r\n".join([*WORDS, "\u2028", ""]).encode())
    assert load_tokenizer(str(tmp_path), TINY).vocabulary == (*WORDS, "\u2028")


def test_the_saved_state_is_the_plain_state_dict(model, tmp_path):
    save_biomedclip(str(tmp_path), model, PromptTokenizer(WORDS))
    assert shapes(load_file(tmp_path / "model.safetensors")) == shapes(model.state_dict())
