"""Packed samples and chunks keep all digits that viewers show."""

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frota.cpu import history_chunk
from frota.cpu.messages import Disk, Memory, Network, Own, Sample
from support.metrics import SAMPLE

_BYTES = st.integers(0, 2**63 - 1)
_SMALL = st.floats(0, 4e6)
SAMPLES = st.builds(
    Sample,
    st.lists(st.floats(0, 100), min_size=1, max_size=300).map(tuple),
    st.floats(0, 100),
    st.none() | st.tuples(_SMALL, _SMALL, _SMALL),
    st.none() | st.builds(Memory, _BYTES, _BYTES, _BYTES),
    st.none() | st.builds(Disk, _BYTES, _BYTES, _BYTES, _BYTES),
    st.none() | st.builds(Network, _BYTES, _BYTES, _SMALL, _SMALL),
    st.none() | st.builds(Own, _SMALL, _BYTES),
)


@given(SAMPLES, st.floats(0, 4e9), st.integers(1, 2**53))
def test_pack_round_trip(sample: Sample, time: float, number: int) -> None:
    """A packed sample is unpacked to the digits that are shown."""
    unpacked_time, unpacked_number, unpacked = history_chunk.unpack(history_chunk.pack(time, number, sample))
    assert (unpacked_time, unpacked_number) == (time, number)
    assert unpacked.cpu == pytest.approx(sample.cpu, abs=0.0501)
    assert unpacked.mean == pytest.approx(sample.mean, abs=0.0501)
    assert (unpacked.load is None) == (sample.load is None)
    assert unpacked.load is None or unpacked.load == pytest.approx(sample.load, abs=0.00501)
    assert (unpacked.memory, unpacked.disk) == (sample.memory, sample.disk)
    assert (unpacked.network is None) == (sample.network is None)
    assert (unpacked.own is None) == (sample.own is None)


def test_extreme_values_are_clamped() -> None:
    """Values above the format's range are stored as its maximum."""
    sample = SAMPLE._replace(load=(1e9, 1e9, 1e9), own=Own(1e12, 1), network=Network(1, 1, 1e12, 1e12))
    unpacked = history_chunk.unpack(history_chunk.pack(1.0, 1, sample))[2]
    assert unpacked.own == Own((2**32 - 1) / 1000, 1)


def test_columns_have_null_for_missing_values() -> None:
    """Columns have a value per sample, null where it was not measured."""
    packed = [history_chunk.pack(5.0, 1, SAMPLE), history_chunk.pack(10.0, 2, Sample((1.0,), 1.0))]
    columns = json.loads(zlib.decompress(history_chunk.compress(packed)))
    assert columns["time"] == [5.0, 10.0]
    assert columns["cpu"] == [[37.3, 31.5, 0.0], [1.0]]
    assert columns["memory"] == [list(SAMPLE.memory or ()), None]
