"""Loading of searches that our classes, MLlib's in Python or MLlib's in the JVM have saved."""

from typing import Any, Generic, TypeVar

from pyspark.ml.tuning import _ValidatorSharedReadWrite
from pyspark.ml.util import DefaultParamsReader, MLReadable, MLReader

from sparkml_lsml.errors import PersistenceError

Search = TypeVar("Search", bound=MLReadable[Any])


class SearchReader(MLReader[Search], Generic[Search]):
    """Reader of a search.

    Its estimator and its evaluator are of the classes that the folder names, as with MLlib's
    reader.

    Parameters
    ----------
    owner : type
        The class to load.
    """

    def __init__(self, owner: type[Search]) -> None:
        super().__init__()
        self._owner: Any = owner

    def load(self, path: str) -> Search:
        """Load from a path.

        Raises
        ------
        PersistenceError
            If the folder holds another class.
        """
        name = self._owner.__name__
        metadata = DefaultParamsReader.loadMetadata(path, self.sc)
        own, mllib = f"{self._owner.__module__}.{name}", f"pyspark.ml.tuning.{name}"
        if metadata["class"] not in (own, mllib, f"org.apache.spark.ml.tuning.{name}"):
            raise PersistenceError(
                f"{path} holds a {metadata['class']}, expected a {own} or MLlib's {name}: load it "
                "with the class that saved it"
            )
        # MLlib takes param maps of a class that is not its own for those that the JVM writes
        written = {**metadata, "class": mllib} if metadata["class"] == own else metadata
        _, estimator, evaluator, maps = _ValidatorSharedReadWrite.load(path, self.sc, written)
        search = self._owner(estimator=estimator, estimatorParamMaps=maps, evaluator=evaluator)
        search._resetUid(metadata["uid"])
        DefaultParamsReader.getAndSetParams(search, metadata, skipParams=["estimatorParamMaps"])
        loaded: Search = search
        return loaded
