"""The one Spark session of these tests: executors in processes of their own.

Where a test needs no more than Spark's retries, a master of ``local[2,4]`` will do too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

MASTER = "local-cluster[2,1,1024]"
RETRYING = "local[2,4]"

HIDE_PACKAGE = '''
import sys


class Hide:
    """Hides an installed copy of the package, so that the one that was shipped has to do."""

    def find_spec(self, name, path=None, target=None):
        if name == "sparkml_lsml" and not any("sparkml_lsml.zip" in entry for entry in sys.path):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Hide())
'''


@pytest.fixture(scope="session")
def executors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Skip a test that needs executors in processes of their own."""
    if not os.environ.get("SPARKML_LSML_TEST_MASTER", "").startswith("local-cluster"):
        pytest.skip(f"needs SPARKML_LSML_TEST_MASTER='{MASTER}', which ./dev/test sets")
    folder: Path = tmp_path_factory.mktemp("executors")
    (folder / "sitecustomize.py").write_text(HIDE_PACKAGE)
    settings = {
        "spark.executorEnv.PYTHONPATH": str(folder),
        # the executors of one machine could open each other's files
        "spark.executorEnv.SPARKML_LSML_OWN_BLOCKS_ONLY": "1",
    }
    arguments = " ".join(f"--conf {key}={value}" for key, value in settings.items())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_SUBMIT_ARGS", f"{arguments} pyspark-shell")
        yield


@pytest.fixture(scope="session")
def _other_executors(request: pytest.FixtureRequest) -> None:
    if os.environ.get("SPARKML_LSML_TEST_MASTER") != RETRYING:
        request.getfixturevalue("executors")


@pytest.fixture(scope="session")
def spark(_other_executors: None, spark: SparkSession) -> SparkSession:
    return spark
