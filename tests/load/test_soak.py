"""The soak as a command, as short as it can be: two rounds of all kinds of work."""

from __future__ import annotations

import logging
import sys

import pytest
from pyspark.sql import SparkSession

from benchmarks import soak


@pytest.mark.slow
def test_soak_ends_with_a_verdict(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the session of the tests, which it would otherwise make for itself and stop."""
    monkeypatch.setattr(soak, "start", lambda folder: spark)
    monkeypatch.setattr(spark, "stop", lambda: None)
    monkeypatch.setattr(sys, "argv", ["soak", "--minutes", "0"])
    try:
        status = soak.main()
    finally:
        logging.disable(logging.NOTSET)
    told = capsys.readouterr().out
    assert status == 0, told
    assert "nothing grew" in told
    # of the kinds of work some forty, each twice
    assert "in 2 rounds" in told
