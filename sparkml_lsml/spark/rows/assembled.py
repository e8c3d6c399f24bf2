"""The columns of numbers behind vectors that a `VectorAssembler` makes: they can be packed as such.

MLlib's estimators want their features in one column of vectors, so pipelines make one of columns
of numbers right before the fit. To make those vectors, and to bring them to Python, takes longer
than to bring the numbers. Spark leaves a column out that nobody asks for: a fit that reads the
numbers makes no vectors.
"""

import json
import re
from collections import Counter
from typing import Any

from pyspark.sql import DataFrame

from sparkml_lsml.spark.cluster.session import allowed
from sparkml_lsml.spark.rows.frames import folding

MOST_COLUMNS = 200
"""Columns that are read in place of their vectors, at most. Rows of many more are mostly zeros as a
rule (indicators, counts), and then travel faster as sparse vectors; and each column takes the
driver some calls of the JVM, and the plan a level of its condition."""

ASSEMBLER = "org.apache.spark.ml.feature.VectorAssembler$"
"""What the name of the class of its function begins with, which is a lambda."""

EXPRESSIONS = "org.apache.spark.sql.catalyst.expressions."

PASSING = {"Filter", "Sort", "Sample", "SubqueryAlias", "Repartition", "RepartitionByExpression"}
"""Steps of a plan, other than projections, whose rows have the columns of their only child."""

NUMERIC = re.compile(r"byte|short|integer|long|float|double|boolean|decimal\(.*\)")


def assembled(dataset: DataFrame, name: str) -> tuple[str, ...]:
    """The columns that a `VectorAssembler` has made a column of vectors of.

    Parameters
    ----------
    dataset : DataFrame
    name : str
        The column of vectors.

    Returns
    -------
    tuple of str
        Columns of the frame. Empty where it is no such column; where an input is no plain column
        of numbers or booleans, or not in the frame any more; where there are more than
        `MOST_COLUMNS`; and where the JVM may not be asked.

    Examples
    --------
    >>> from pyspark.ml.feature import VectorAssembler
    >>> df = spark.createDataFrame([(1, 2.0)], ["age", "income"])
    >>> rows = VectorAssembler(inputCols=["age", "income"], outputCol="features").transform(df)
    >>> assembled(rows, "features"), assembled(rows.drop("age"), "features")
    (('age', 'income'), ())
    """
    plan = getattr(dataset, "_jdf", None)  # frames of Spark Connect have none
    if plan is None:
        return ()
    fold, columns = folding(dataset), dataset.columns
    names = [fold(each) for each in columns]
    if names.count(fold(name)) != 1:
        return ()
    at = names.index(fold(name))
    ids: tuple[int, ...] = allowed(lambda: _inputs(plan, len(names), at), tuple)
    alone = Counter(names)
    found = tuple(columns[each] for each in ids if alone[names[each]] == 1)
    return found if len(found) == len(ids) else ()


def _inputs(frame: Any, width: int, at: int) -> tuple[int, ...]:
    """Places of the columns that the one at a place was assembled of; () if it was not."""
    node: Any = frame.queryExecution().analyzed()
    top = _ids(node)
    if len(top) != width:
        return ()
    made = _made(node, top[at])
    if made is None or _kind(made) != "ScalaUDF":
        return ()
    if not made.function().getClass().getName().startswith(ASSEMBLER):
        return ()
    inputs = _attributes(json.loads(made.toJSON()))
    # one that was dropped, renamed or changed since has another number, or none
    if len(inputs) > MOST_COLUMNS or not {*inputs} <= {*top}:
        return ()
    return tuple(top.index(each) for each in inputs)


def _made(node: Any, wanted: int) -> Any:
    """The expression that a column was made by, at this step or below; None if it is further."""
    while True:
        step = node.getClass().getSimpleName()
        if step == "Project":
            columns = _ids(node)
            if wanted not in columns:
                return None
            found = node.projectList().apply(columns.index(wanted))
            if _kind(found) == "Alias":
                found = found.child()
                if _kind(found) != "AttributeReference":
                    return found
                wanted = int(found.exprId().id())  # it has another name since
        elif step not in PASSING:
            return None
        node = node.child()


def _ids(node: Any) -> list[int]:
    """Numbers of the columns of a step, which tell columns of one name apart.

    In one call of the JVM, where there may be thousands of columns.
    """
    names = str(node.output().mkString("\0")).split("\0")
    found = [re.search(r"#(\d+)[^#]*$", each) for each in names]
    return [-1 if each is None else int(each[1]) for each in found]


def _kind(expression: Any) -> str:
    return str(expression.getClass().getSimpleName())


def _attributes(nodes: list[dict[str, Any]]) -> tuple[int, ...]:
    """Numbers of the columns that a struct is made of, from the nodes of a function of it.

    Empty unless all of them are numbers as they are, or cast to double.
    """
    classes = [str(each.get("class")).removeprefix(EXPRESSIONS) for each in nodes]
    if classes[1:2] != ["CreateNamedStruct"]:
        return ()
    found, cast = [], False
    for kind, node in zip(classes[2:], nodes[2:], strict=True):
        # that of a vector is no word, but its fields
        word = str(node.get("dataType"))
        plain = NUMERIC.fullmatch(word) if cast else word == "double"
        if kind == "AttributeReference" and plain:
            found.append(int(node["exprId"]["id"]))
        elif kind != "Literal" and not (kind == "Cast" and plain and not cast):
            return ()
        cast = kind == "Cast"
    # each of them beside its name
    return tuple(found) if len(found) * 2 == nodes[1]["num-children"] else ()
