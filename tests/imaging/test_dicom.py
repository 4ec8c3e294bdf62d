import io
import logging
import os
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from cxr_ray.archive.recognise import HEAD_BYTES, recognise_format
from cxr_ray.imaging.decode import decode_image

SHARED = Path(os.environ.get("CXR_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "dicom"


def test_tags_are_read_and_the_patient_is_not_shown(make_dicom, radiograph):
    data = make_dicom(
        radiograph,
        ViewPosition="PA",
        StudyInstanceUID="1.2.3",
        SeriesInstanceUID="1.2.4",
        PatientID=" MRN-4711 ",
        PatientName="Doe^Jane",
    )
    result = decode_image(data)
    tags = result.dicom
    assert (tags.modality, tags.view_position, tags.study_uid, tags.series_uid) == (
        "DX",
        "PA",
        "1.2.3",
        "1.2.4",
    )
    assert tags.patient_id == "MRN-4711"
    assert "MRN-4711" not in repr(result)
    assert (result.width, result.height) == (80, 96)


def test_absent_and_empty_tags_are_none(make_dicom, radiograph):
    tags = decode_image(make_dicom(radiograph, ViewPosition="", Modality=None)).dicom
    assert (tags.modality, tags.view_position, tags.patient_id) == (None, None, None)


@pytest.mark.parametrize("modality", ["CR", "DX", "DR", "RG", "RF", "XA", "OT", "SC", "", None])
def test_projection_radiographs_are_read(make_dicom, radiograph, modality):
    assert decode_image(make_dicom(radiograph, Modality=modality)).error is None


@pytest.mark.parametrize("modality", ["CT", "MR", "US", "SR", "MG", "SEG"])
def test_other_modalities_are_refused_with_their_tags(make_dicom, radiograph, modality):
    result = decode_image(make_dicom(radiograph, Modality=modality))
    assert result.error_kind == "wrong_modality"
    assert result.error == f"modality '{modality}' is not a projection radiograph"
    assert result.dicom.modality == modality


def test_several_frames_are_refused(make_dicom, radiograph):
    result = decode_image(make_dicom(radiograph, NumberOfFrames=3))
    assert (result.error_kind, result.error) == (
        "multi_frame",
        "DICOM file has 3 frames; only files of one frame are read",
    )
    assert decode_image(make_dicom(radiograph, NumberOfFrames=1)).error is None


def test_a_file_without_pixels(make_dicom, radiograph):
    dataset = dcmread(io.BytesIO(make_dicom(radiograph)))
    del dataset.PixelData
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    result = decode_image(buffer.getvalue())
    assert (result.error_kind, result.error) == ("no_pixels", "DICOM file has no Pixel Data")


@pytest.mark.parametrize("cut", [1, 2, 1000, 7000])
def test_a_native_file_cut_short_is_truncated(make_dicom, radiograph, cut):
    result = decode_image(make_dicom(radiograph)[:-cut])
    assert (result.error_kind, result.error) == ("truncated", "DICOM file ends within an element")


@pytest.mark.parametrize("cut", [8, 100, 400])
def test_a_compressed_file_cut_short_is_truncated(make_dicom, transcode, ramp12, cut):
    data = transcode(make_dicom(ramp12, BitsStored=12), "JPEGLosslessProcess14_1")
    assert decode_image(data[:-cut]).error_kind == "truncated"


def test_a_file_cut_within_its_header_is_truncated(make_dicom, radiograph):
    data = make_dicom(radiograph, PatientID="4711" * 10, ViewPosition="PA")
    assert decode_image(data[: data.index(b"4711" * 10) + 10]).error_kind == "truncated"


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.8.1"])
def test_other_transfer_syntaxes_are_named(make_dicom, radiograph, syntax):
    data = make_dicom(radiograph).replace(b"1.2.840.10008.1.2.1\0", syntax.encode().ljust(20, b"\0")[:20])
    wanted = syntax[:20]
    result = decode_image(data)
    assert (result.error_kind, result.error) == (
        "unsupported",
        f"DICOM transfer syntax {wanted} is not supported",
    )


@pytest.mark.slow
def test_a_deflated_bomb_is_not_inflated(make_dicom, radiograph):
    import tracemalloc

    dataset = dcmread(io.BytesIO(make_dicom(radiograph)))
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    dataset.PixelData = bytes(64)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    assert decode_image(buffer.getvalue()).error_kind == "unsupported"
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    meta_end = 144 + int.from_bytes(buffer.getvalue()[140:144], "little")
    bomb = buffer.getvalue()[:meta_end] + compressor.compress(bytes(200_000_000)) + compressor.flush()
    tracemalloc.start()
    assert decode_image(bomb).error_kind == "unsupported"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6


def test_pydicoms_warnings_reach_neither_log_nor_terminal(make_dicom, radiograph, caplog, capfd):
    data = make_dicom(radiograph, StudyDate="19700101", WindowCenter="1", WindowWidth="200", StudyInstanceUID="1.2.3")
    data = data.replace(b"19700101", b"DoeJane!").replace(b"1.2.3\0", b"1.J.3\0")
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = decode_image(data)
    assert result.error is None
    assert not caught
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_no_value_of_the_file_reaches_an_error(make_dicom, radiograph):
    data = make_dicom(radiograph, PatientName="Doe^Jane", RescaleSlope="1.0", RescaleIntercept="0.0")
    data = data.replace(b"\x28\0\x53\x10DS\x04\x001.0 ", b"\x28\0\x53\x10DS\x04\0Jane")
    result = decode_image(data)
    assert result.error_kind == "unreadable"
    assert "Jane" not in result.error


def test_what_a_header_lacks_is_named():
    from pydicom.data import get_testdata_file

    data = Path(get_testdata_file("meta_missing_tsyntax.dcm", download=False)).read_bytes()
    assert decode_image(data).error == "DICOM file has no Rows, Columns, BitsAllocated, PhotometricInterpretation"


def rewritten(data, change):
    dataset = dcmread(io.BytesIO(data))
    change(dataset)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("after", [bytes(1000), b"\x5a" * 992, b"\xff"])
def test_bytes_behind_pixel_data_do_not_matter(make_dicom, transcode, radiograph, after):
    for data in (make_dicom(radiograph), transcode(make_dicom(radiograph), "JPEGLosslessProcess14_1")):
        np.testing.assert_array_equal(decode_image(data + after).pixels, radiograph)


@pytest.mark.parametrize("modality", ["PR", "SR", "DX"])
def test_an_icon_is_not_pixel_data(make_dicom, radiograph, modality):
    def change(dataset):
        icon = dcmread(io.BytesIO(make_dicom(radiograph[:4, :4])))
        del dataset.PixelData
        dataset.Modality, dataset.IconImageSequence = modality, [icon]

    result = decode_image(rewritten(make_dicom(radiograph), change))
    assert result.error_kind == ("no_pixels" if modality == "DX" else "wrong_modality")
    assert result.dicom.modality == modality


def test_an_icon_beside_pixel_data_is_skipped(make_dicom, radiograph):
    def change(dataset):
        dataset.IconImageSequence = [dcmread(io.BytesIO(make_dicom(radiograph[:4, :4])))]

    data = rewritten(make_dicom(radiograph), change)
    np.testing.assert_array_equal(decode_image(data).pixels, radiograph)
    assert decode_image(data[:-10]).error_kind == "truncated"


@pytest.mark.parametrize(
    ("tags", "kind"),
    [
        ({"BitsAllocated": 32, "Rows": 24}, "unsupported"),
        ({"Rows": 97}, "truncated"),
        ({"Rows": 60_000, "Columns": 60_000}, "too_large"),
        ({"syntax": "1.2.840.10008.1.2.4.100", "codestream": b"abcd"}, "unsupported"),
        ({"syntax": "1.2.840.10008.1.2.4.90", "codestream": b"abcd"}, "unreadable"),
        ({"NumberOfFrames": 2}, "multi_frame"),
    ],
)
def test_tags_are_kept_with_every_refusal(make_dicom, radiograph, tags, kind):
    result = decode_image(make_dicom(radiograph, StudyInstanceUID="1.2.3", PatientID="MRN-4711", **tags))
    assert (result.error_kind, result.dicom.study_uid, result.dicom.patient_id) == (kind, "1.2.3", "MRN-4711")
    assert "MRN-4711" not in repr(result)


def test_tags_of_a_deflated_file_are_kept(make_dicom, radiograph):
    def change(dataset):
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"

    result = decode_image(rewritten(make_dicom(radiograph, StudyInstanceUID="1.2.3"), change))
    assert (result.error_kind, result.dicom.study_uid) == ("unsupported", "1.2.3")


def test_tags_are_kept_when_a_value_cannot_be_converted(make_dicom, radiograph):
    data = make_dicom(radiograph, StudyInstanceUID="1.2.3").replace(b"\x28\0\x10\0US\2\0", b"\x28\0\x10\0US\1\0")
    result = decode_image(data)
    assert result.error_kind in ("unreadable", "truncated")
    assert result.dicom.study_uid == "1.2.3"


def test_tags_are_kept_when_the_file_ends_in_a_sequence(make_dicom, radiograph):
    def change(dataset):
        dataset.OtherPatientIDsSequence = [dcmread(io.BytesIO(make_dicom(radiograph[:4, :4], ViewPosition="PA")))]
        dataset["OtherPatientIDsSequence"].is_undefined_length = True
        dataset.OtherPatientIDsSequence[0].is_undefined_length_sequence_item = True

    data = rewritten(make_dicom(radiograph, Modality="CR"), change)
    for at in (4, 12, 30, 80):
        result = decode_image(data[: data.index(b"\x10\0\x02\x10SQ") + 12 + at])
        assert (result.error_kind, result.dicom.modality) == ("truncated", "CR")


def test_compressed_data_under_a_native_syntax_are_refused(make_dicom, transcode, ramp12):
    data = transcode(make_dicom(ramp12, BitsStored=12), "JPEGLosslessProcess14_1")
    forged = data.replace(b"1.2.840.10008.1.2.4.70", b"1.2.840.10008.1.2.1".ljust(22, b"\0"))
    assert decode_image(forged).error == "Pixel Data is compressed; the transfer syntax says it is not"


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
@pytest.mark.parametrize("shape", [(5, 7), (96, 80)])
def test_eight_bits_in_words_of_any_byte_order(make_dicom, radiograph, syntax, shape):
    pixels = radiograph[: shape[0], : shape[1]]
    data = rewritten(make_dicom(np.ascontiguousarray(pixels)), lambda dataset: None)
    expected = decode_image(data).pixels
    if syntax.endswith(".2.2"):
        padded = pixels.tobytes() + b"\0" * (pixels.size % 2)
        swapped = np.frombuffer(padded, ">u2").astype("<u2").tobytes()
        data = make_dicom(pixels, syntax=syntax)
        at = data.rindex(b"\x7f\xe0\0\x10OB")
        data = data[:at] + b"\x7f\xe0\0\x10OW\0\0" + len(padded).to_bytes(4, "big") + swapped
    else:
        data = make_dicom(pixels, syntax=syntax)
    np.testing.assert_array_equal(decode_image(data).pixels, expected)


@pytest.mark.parametrize("preamble", [True, False])
def test_file_meta_information_in_implicit_vr(make_dicom, ramp12, preamble):
    plain = make_dicom(ramp12, syntax="1.2.840.10008.1.2", preamble=False, BitsStored=12)
    uid = b"1.2.840.10008.1.2\0"
    syntax = b"\2\0\x10\0" + len(uid).to_bytes(4, "little") + uid
    meta = b"\2\0\0\0\4\0\0\0" + len(syntax).to_bytes(4, "little") + syntax
    data = (bytes(128) + b"DICM") * preamble + meta + plain
    assert recognise_format(data[:HEAD_BYTES]) == "dicom"
    np.testing.assert_array_equal(decode_image(data).pixels, np.rint(ramp12 / 4095 * 255))


@pytest.mark.realdata
@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no radiographs in {SHARED}; set CXR_SHARED")
class TestRealFiles:
    def test_a_15_bit_chest_has_dark_lungs(self):
        pixels = decode_image((SHARED / "RG1_J2KI.dcm").read_bytes()).pixels
        assert pixels.shape == (1955, 1841)
        lung, spine = pixels[300:600, 1100:1250], pixels[300:600, 850:950]
        assert lung.mean() + 60 < spine.mean()

    def test_a_10_bit_leg_has_bright_bones(self):
        pixels = decode_image((SHARED / "RG3_J2KI.dcm").read_bytes()).pixels
        assert pixels.shape == (1760, 1760)
        bone, air = pixels[300:900, 830:880], pixels[300:900, 520:600]
        assert air.mean() < 40 < 160 < bone.mean()

    def test_monochrome1_in_a_baseline_jpeg_is_inverted(self):
        # The file's interpretation is forged (its JPEG shows bright bones), so its lungs come out bright.
        data = (SHARED / "Fake_MONOHR1.dcm").read_bytes()
        stored = dcmread(io.BytesIO(data)).pixel_array.astype(float)
        expected = np.rint((1 - (stored - stored.min()) / np.ptp(stored)) * 255)
        np.testing.assert_array_equal(decode_image(data).pixels, expected)


def test_what_pydicom_writes_is_recognised_with_and_without_preamble(make_dicom, radiograph):
    for syntax in ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1"):
        for preamble in (True, False):
            head = make_dicom(radiograph, syntax=syntax, preamble=preamble)[:HEAD_BYTES]
            assert recognise_format(head) == "dicom"
