import numpy as np
import pytest

from cxr_ray.benchmarks.peers.peer import PeerModel, PeerTask
from cxr_ray.benchmarks.peers.run import MODULES, peer_rates
from cxr_ray.errors import ConfigError
from cxr_ray.models.classifier import Classifier
from cxr_ray.phantoms.phantom_archive import write_phantom_archive

IMAGES = 40


@pytest.fixture(scope="module")
def task(save_random, tmp_path_factory):
    """What a peer is asked for but its precision: forty drawn radiographs, in batches of eight."""
    folder = tmp_path_factory.mktemp("peers")
    save_random(folder / "model")
    write_phantom_archive(str(folder / "in"), images_per_class=IMAGES // 4, size=48, dicom_fraction=0.0, broken=0)
    uris = sorted(str(path) for path in (folder / "in").rglob("images/*") if path.suffix in (".png", ".jpg"))
    return {"uris": uris, "model_uri": str(folder / "model"), "device": "cpu", "batch_size": 8}


@pytest.mark.slow
@pytest.mark.parametrize(
    "peer",
    [pytest.param(peer, marks=pytest.mark.long if peer in ("ray_template", "pipeline") else ()) for peer in MODULES],
)
def test_a_peer_scores_every_file(task, peer):
    if peer == "daft":
        pytest.importorskip("daft", reason="Daft, which wants an older pyarrow than the lock, is not installed")
    rates = peer_rates(f"{peer}_bf16", **task)
    assert len(task["uris"]) == IMAGES
    assert rates.keys() == {f"{peer}_bf16_steady", f"{peer}_bf16_whole"}
    assert 0 < rates[f"{peer}_bf16_whole"] < rates[f"{peer}_bf16_steady"]


def test_the_model_of_the_peers_computes_what_the_classifier_computes(task):
    grey = np.random.default_rng(5).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    colours = np.repeat(grey[..., None], 3, axis=3)
    expected = Classifier(task["model_uri"], device="cpu", precision="fp32").predict(grey)
    np.testing.assert_allclose(PeerModel(PeerTask(**task, precision="fp32"))(colours), expected, atol=1e-5)
    np.testing.assert_allclose(PeerModel(PeerTask(**task, precision="bf16"))(colours), expected, atol=0.1)


@pytest.mark.slow
def test_a_peer_that_fails_is_named_with_its_own_last_line(task):
    with pytest.raises(
        ConfigError, match=r"the peer dataloader_fp32 failed: .*no such model.*; leave it out of --peers"
    ):
        peer_rates("dataloader_fp32", **task | {"model_uri": task["model_uri"] + "/no such model"})
