import hashlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.imaging.load import BYTES_AT_ONCE, OBJECTS_AT_ONCE, _chunks, load_images

LIMITS = DecodeLimits(max_bytes=2**20)


def png(shade, side=8):
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, side), shade, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def shades(tmp_path):
    """URIs of 200 small images, each with a different grey value, and their sizes in bytes."""
    for shade in range(200):
        (tmp_path / f"{shade}.png").write_bytes(png(shade))
    uris = [str(tmp_path / f"{shade}.png") for shade in range(200)]
    return uris, [len(png(shade)) for shade in range(200)]


def shades_of(images):
    return [int(image.decoded.pixels[0, 0]) for image in images]


def test_more_objects_than_one_chunk_come_in_order(shades):
    uris, sizes = shades
    assert len(uris) > 3 * OBJECTS_AT_ONCE
    assert shades_of(load_images(uris, sizes, limits=LIMITS)) == list(range(200))


def test_chunks_that_bytes_bound_come_in_order(shades, monkeypatch):
    uris, sizes = shades
    monkeypatch.setattr("cxr_ray.imaging.load.BYTES_AT_ONCE", 3 * sizes[0])
    assert shades_of(load_images(uris, sizes, limits=LIMITS)) == list(range(200))


def test_sizes_that_the_listing_does_not_know(shades):
    uris, _ = shades
    assert shades_of(load_images(uris, [None] * 200, limits=LIMITS)) == list(range(200))


def test_a_caller_that_stops_early_is_not_kept_waiting(shades):
    images = load_images(*shades, limits=LIMITS)
    assert shades_of([next(images)]) == [0]
    images.close()


def test_nothing_to_load():
    assert list(load_images([], [], limits=LIMITS)) == []


def test_each_object_meets_its_own_fate(tmp_path):
    sound, cut = png(9, side=64), png(9, side=64)[:70]
    contents = {"sound": sound, "cut": cut, "empty": b"", "text": b"lost", "sound again": sound}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    names = ["sound", "missing", "cut", "empty", "text", "sound again"]
    loaded = list(load_images([str(tmp_path / n) for n in names], [None] * 6, limits=LIMITS))
    assert [image.decoded.error_kind for image in loaded] == [
        None,
        "not_found",
        "truncated",
        "empty",
        "unsupported",
        None,
    ]
    expected = [hashlib.sha256(contents[n]).hexdigest() if n in contents else None for n in names]
    assert [image.content_sha256 for image in loaded] == expected


def test_every_object_has_a_decoding_for_each_size_or_one_at_full_scale(tmp_path):
    Image.fromarray(np.full((1200, 1200), 90, np.uint8)).save(tmp_path / "a.jpg")
    uris, sizes = [str(tmp_path / "a.jpg"), str(tmp_path / "missing.jpg")], [None, None]
    sound, missing = load_images(uris, sizes, limits=DecodeLimits(), wanted_sizes=(128, 600))
    assert [decoding.pixels.shape for decoding in sound.decodings] == [(600, 600), (1200, 1200)]
    assert [decoding.error_kind for decoding in missing.decodings] == ["not_found"] * 2
    sound, missing = load_images(uris, sizes, limits=DecodeLimits())
    assert [decoding.pixels.shape for decoding in sound.decodings] == [(1200, 1200)]
    assert [decoding.error_kind for decoding in missing.decodings] == ["not_found"]


def test_a_uri_that_cannot_be_opened_is_one_object_s_fate(tmp_path, shades):
    uris = ["no-such-scheme://x", shades[0][0], str(tmp_path), "", "a\0b", shades[0][1]]
    loaded = list(load_images(uris, [None] * 6, limits=LIMITS))
    assert shades_of([loaded[1], loaded[5]]) == [0, 1]
    assert all(loaded[i].decoded.error_kind and loaded[i].decoded.error for i in (0, 2, 3, 4))


def test_what_the_listing_calls_too_large_is_not_downloaded(tmp_path, shades):
    (first, last, *_), (size, *_) = shades
    nowhere = str(tmp_path / "nowhere.png")
    before, refused, after = load_images([first, nowhere, last], [size, 2**20 + 1, size], limits=LIMITS)
    assert shades_of([before, after]) == [0, 1]
    assert refused.decoded.error_kind == "too_large"  # a download would have given not_found
    assert refused.decoded.error == "the file has 1,048,577 bytes, more than the 1,048,576 that are allowed"
    assert refused.content_sha256 is None


def test_a_size_at_the_limit_is_loaded(tmp_path):
    (tmp_path / "a.png").write_bytes(png(3))
    (image,) = load_images([str(tmp_path / "a.png")], [len(png(3))], limits=DecodeLimits(max_bytes=len(png(3))))
    assert image.decoded.error_kind is None


def test_a_listing_that_understates_a_size_is_found_out(tmp_path):
    (tmp_path / "a.png").write_bytes(png(3))
    (image,) = load_images([str(tmp_path / "a.png")], [1], limits=DecodeLimits(max_bytes=40))
    assert image.decoded.error_kind == "too_large"


@given(
    st.lists(
        st.none() | st.integers(0, BYTES_AT_ONCE + 9) | st.integers(BYTES_AT_ONCE // 3, BYTES_AT_ONCE), max_size=200
    )
)
def test_chunks_partition_the_objects_within_their_bounds(sizes):
    chunks = list(_chunks(sizes))
    assert [position for chunk in chunks for position in chunk] == list(range(len(sizes)))
    for chunk in chunks:
        assert 1 <= len(chunk) <= OBJECTS_AT_ONCE
        assert len(chunk) == 1 or sum(sizes[i] or 0 for i in chunk) <= BYTES_AT_ONCE
