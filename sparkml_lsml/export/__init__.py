"""Models for other libraries: MLlib's own classes, scikit-learn's, and ONNX.

Every model has ``toMLlib()``, ``toSklearn()`` and ``toONNX()``. `to_mllib` also takes a
``PipelineModel``, and gives one without any stage of this package. scikit-learn and onnx are
imported when they are asked for; they come with the extra ``sparkml_lsml[export]``.
"""

from sparkml_lsml.export.exportable import Exportable
from sparkml_lsml.export.form import Form
from sparkml_lsml.export.mllib import to_mllib

__all__ = ["Exportable", "Form", "to_mllib"]
