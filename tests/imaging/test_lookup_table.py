import io

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from cxr_ray.imaging.lookup_table import read_lookup_table


def item(data, descriptor, vr="OW"):
    dataset = Dataset()
    dataset.add_new("LUTDescriptor", "US", descriptor)
    if data is not None:
        dataset.add_new("LUTData", vr, data)
    return dataset


def entries(data, descriptor, **arguments):
    table = read_lookup_table(item(data, descriptor, **arguments), has_negative_inputs=False)
    return None if table is None else table.entries.tolist()


WORDS = np.array([3, 200, 255, 9], "<u2").tobytes()


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_the_length_of_the_data_gives_the_size_of_an_entry(bits):
    assert entries(WORDS, [4, 0, bits]) == [3, 200, 255, 9]
    assert entries(bytes([3, 200, 255, 9]), [4, 0, bits]) == [3, 200, 255, 9]
    assert entries([3, 200, 255, 9], [4, 0, bits], vr="US") == [3, 200, 255, 9]
    assert entries(bytes([3, 200, 255, 0]), [3, 0, bits]) == [3, 200, 255]  # a byte of padding


def test_a_table_shorter_than_claimed_has_the_entries_it_has():
    assert entries(WORDS, [4096, 0, 12]) == [3, 200, 255, 9]
    assert entries(bytes([3, 200]), [256, 0, 8]) == [3, 200]
    assert entries(WORDS + WORDS, [3, 0, 12]) == [3, 200, 255]


def test_zero_entries_are_65536():
    table = np.arange(2**16).astype("<u2")
    assert entries(table.tobytes(), [0, 0, 16]) == table.tolist()


@pytest.mark.parametrize("data", [None, b"", b"\1"])
def test_a_table_without_entries_is_none(data):
    assert entries(data, [4096, 0, 12]) is None
    assert read_lookup_table(Dataset(), has_negative_inputs=False) is None


def test_the_first_input_is_signed_where_inputs_may_be():
    lut = item(WORDS, [4, 64512, 12])
    assert read_lookup_table(lut, has_negative_inputs=True).first == -1024
    assert read_lookup_table(lut, has_negative_inputs=False).first == 64512


def test_inputs_outside_the_table_get_its_ends():
    table = read_lookup_table(item(WORDS, [4, 10, 12]), has_negative_inputs=False)
    assert table.map(np.array([-1e9, 10, 10.6, 13, 1e9])).tolist() == [3, 3, 200, 9, 9]


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
def test_tables_in_files_of_any_byte_order(make_dicom, ramp12, syntax):
    words = np.array([3, 200, 255, 4095], ">u2" if syntax.endswith(".2.2") else "<u2").tobytes()
    data = make_dicom(ramp12, syntax=syntax, BitsStored=12, VOILUTSequence=[item(words, [4, 0, 12])])
    found = read_lookup_table(dcmread(io.BytesIO(data)).VOILUTSequence[0], has_negative_inputs=False)
    assert found.entries.tolist() == [3, 200, 255, 4095]
