"""Metrics in Prometheus's text format."""

import math
import os
import resource
import time
import tomllib
from pathlib import Path

import pytest

import frota
from frota.net import exposition
from frota.net.exposition import MAX_LABEL_VALUES, CounterBy, Metric
from support.prometheus import parse


def text(*metrics: Metric) -> str:
    return exposition.encode(metrics).decode()


def test_values_keep_all_digits() -> None:
    """Integers and fractions have all their digits; infinity and NaN have Prometheus's names."""
    values = {"a": 2**53 - 1, "b": 0.1, "c": math.inf, "d": -math.inf, "e": math.nan}
    lines = text(Metric("frota_x_values", "gauge", "Values.", lambda: values, "of")).splitlines()[2:]
    assert [line.rpartition(" ")[2] for line in lines] == ["9007199254740991", "0.1", "+Inf", "-Inf", "NaN"]


def test_label_values_are_escaped() -> None:
    """A backslash, a quotation mark and a line feed of a label value stay inside of it."""
    metric = Metric("frota_x_total", "counter", "Values.", lambda: {'a"b\\c\nd} 1': 3}, "of")
    assert parse(text(metric)) == {'frota_x_total{of="a\\"b\\\\c\\nd} 1"}': 3}


def test_a_metric_without_values_has_a_heading() -> None:
    """A metric is announced even if its label has no value yet."""
    assert text(Metric("frota_x_total", "counter", "Values.", dict, "of")).endswith("# TYPE frota_x_total counter\n")


def test_metrics_without_descriptors() -> None:
    """A process that has used all its descriptors has all metrics except those that are read from files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    metrics = exposition.process_metrics()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        samples = parse(text(*metrics))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert samples.keys() >= {"process_cpu_seconds_total", "process_max_fds"}
    assert "process_open_fds" not in samples


@pytest.mark.parametrize(
    ("name", "kind", "label"),
    [
        ("frota_Requests_total", "counter", ""),
        ("frota-requests_total", "counter", ""),
        ("requests", "gauge", ""),
        ("frota_requests", "counter", ""),
        ("frota_requests_total", "gauge", ""),
        ("frota_requests_sum", "gauge", ""),
        ("frota_requests", "histogram", ""),
        ("frota_requests", "gauge", "le-1"),
    ],
)
def test_names_and_types_are_validated(name: str, kind: str, label: str) -> None:
    """A name, type or label that Prometheus's conventions do not allow is an error at the start."""
    with pytest.raises(ValueError, match=name):
        exposition.check([Metric(name, kind, "A sentence.", int, label)])


def test_duplicate_names_and_missing_help_are_errors() -> None:
    """Two metrics cannot have one name, and each has a help."""
    metric = Metric("frota_x_total", "counter", "A sentence.", int)
    exposition.check([metric])
    with pytest.raises(ValueError, match="once"):
        exposition.check([metric, metric])
    for wrong in ("", "No sentence", "Two.\nlines."):
        with pytest.raises(ValueError, match="help"):
            exposition.check([metric._replace(text=wrong)])


def test_label_values_are_bounded() -> None:
    """Values of a label above the limit are counted together."""
    counts = CounterBy()
    for number in range(2 * MAX_LABEL_VALUES):
        counts.count(f"reason {number}")
        counts.count("reason 0")
    assert len(counts) == MAX_LABEL_VALUES + 1
    assert counts["other"] == MAX_LABEL_VALUES
    assert counts["reason 0"] == 1 + 2 * MAX_LABEL_VALUES


def test_process_metrics_are_those_of_the_process() -> None:
    """Memory follows the process's memory up and down; its start is in the past."""

    def values() -> dict[str, float]:
        return parse(text(*exposition.process_metrics()))

    before = values()
    much = b"x" * (256 << 20)
    more = values()["process_resident_memory_bytes"] - before["process_resident_memory_bytes"]
    del much
    assert more > 200 << 20
    assert values()["process_resident_memory_bytes"] < before["process_resident_memory_bytes"] + (100 << 20)
    assert 0 < time.time() - before["process_start_time_seconds"] < 86400
    assert before["process_cpu_seconds_total"] <= sum(os.times()[:2]) + 0.1
    assert 3 <= before["process_open_fds"] <= before["process_max_fds"]
    assert [name for name in before if name.startswith("frota_build_info{version=")]


def test_version_is_that_of_the_distribution() -> None:
    """frota_build_info has the version of pyproject.toml."""
    project = tomllib.loads((Path(frota.__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert frota.__version__ == project["project"]["version"]
