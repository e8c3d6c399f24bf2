"""The classes that the column of labels declares, whether or not there are rows of them."""

from dataclasses import dataclass

from pyspark.sql import DataFrame

from sparkml_lsml.spark.rows.frames import column_field


@dataclass(frozen=True)
class DeclaredClasses:
    """What a StringIndexer or its like says of the classes in the metadata of a column.

    Attributes
    ----------
    count : int
        0 if it says nothing.
    names : tuple of str
        Of the classes, where it names them.
    """

    count: int = 0
    names: tuple[str, ...] = ()

    @staticmethod
    def of(dataset: DataFrame, label: str) -> "DeclaredClasses":
        """What this column declares.

        Raises
        ------
        ColumnError
            If there is no such column, or several.
        """
        metadata = column_field(dataset, label, "labelCol").metadata or {}
        attribute = metadata.get("ml_attr", {})
        names = tuple(map(str, attribute.get("vals", ())))
        return DeclaredClasses(len(names) or int(attribute.get("num_vals", 0)), names)
