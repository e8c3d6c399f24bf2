"""Loading of searches that our classes, MLlib's in Python or MLlib's in the JVM have saved."""

import os
from typing import Any, Generic, TypeVar

from pyspark.ml.tuning import _ValidatorSharedReadWrite
from pyspark.ml.util import DefaultParamsReader, MLReadable, MLReader
from pyspark.sql import SparkSession

from sparkml_lsml.spark.folders.composite import check_classes, source_of
from sparkml_lsml.spark.folders.pathtext import path_text
from sparkml_lsml.spark.folders.persistence import reading

Search = TypeVar("Search", bound=MLReadable[Any])


class SearchReader(MLReader[Search], Generic[Search]):
    """Reader of a search.

    Its estimator and its evaluator are of classes that the caller may be expected to know; see
    `sparkml_lsml.spark.folders.composite.check_classes`.

    Parameters
    ----------
    owner : type
        The class to load.
    """

    def __init__(self, owner: type[Search]) -> None:
        super().__init__()
        self._owner: Any = owner

    def load(self, path: "str | os.PathLike[str]") -> Search:
        """Load from a path.

        Raises
        ------
        PersistenceError
            If the folder holds another class, names one that is neither MLlib's, nor ours, nor
            imported already, or is damaged.
        TypeError
            If the path is neither a text nor an `os.PathLike`.
        BackendError
            If the session is one of Spark Connect.
        """
        spark: SparkSession = self.sparkSession
        name = self._owner.__name__
        path = path_text(path, f"{name}.load")
        own, mllib = f"{self._owner.__module__}.{name}", f"pyspark.ml.tuning.{name}"
        expected = (own, mllib, f"org.apache.spark.ml.tuning.{name}")
        metadata = check_classes(spark, path, expected)
        # MLlib takes param maps of a class that is not its own for those that the JVM writes
        written = {**metadata, "class": mllib} if metadata["class"] == own else metadata
        with reading(path):
            _, estimator, evaluator, maps = _ValidatorSharedReadWrite.load(
                path, source_of(spark), written
            )
            search = self._owner(estimator=estimator, estimatorParamMaps=maps, evaluator=evaluator)
            search._resetUid(metadata["uid"])
            DefaultParamsReader.getAndSetParams(search, metadata, skipParams=["estimatorParamMaps"])
        loaded: Search = search
        return loaded
