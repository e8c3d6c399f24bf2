"""Large-scale machine learning inside Apache Spark: drop-in estimators written in NumPy."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from sparkml_lsml.spark.rows.shared import ResidentRows

__version__ = "0.1.0"


def resident(frame: "DataFrame") -> "ResidentRows":
    """The rows of a frame, to be read and packed once for several fits.

    Parameters
    ----------
    frame : DataFrame

    Returns
    -------
    ResidentRows
        What ``fit`` of every estimator and search takes; a context manager, at whose end they are
        removed.

    Raises
    ------
    TypeError, BackendError
        See `ResidentRows`.

    Examples
    --------
    >>> from pyspark.ml.linalg import Vectors
    >>> from sparkml_lsml.regression import LinearRegression
    >>> data = [(2.0 * x + 1.0, Vectors.dense(float(x))) for x in range(8)]
    >>> with resident(spark.createDataFrame(data, ["label", "features"])) as rows:
    ...     models = [LinearRegression(regParam=r).fit(rows) for r in (0.0, 1.0)]
    >>> [round(model.intercept, 6) for model in models][0]
    1.0
    """
    # workers import this package, and not PySpark with it
    from sparkml_lsml.spark.rows.shared import ResidentRows

    return ResidentRows(frame)
