"""ONNX graphs of models, from plain operators, since those have kernels for float64.

``ai.onnx.ml`` has operators for linear models, but their weights and scores are float32. The
graphs are written in ONNX's own text form; numbers come in as initializers.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import sparkml_lsml
from sparkml_lsml.export.form import Form, HasForm, Kind, missing

if TYPE_CHECKING:
    import onnx

OPSET = 17
"""The last one before reductions took their axes otherwise; every runtime since 2022 has it."""

_MARGINS = """
    products = MatMul (inputs, coefficients)
    margins = Add (products, intercepts)
"""

_FEATURES = """
    inputs = Identity (features)
"""

_MAP = """
    product_{k} = MatMul ({below}, weights_{k})
    z_{k} = Add (product_{k}, biases_{k})
"""

_ACTIVATIONS = {
    # operators for the larger of two numbers may lose a NaN
    "relu": """
    negative_{k} = Less (z_{k}, zero)
    {out} = Where (negative_{k}, zero, z_{k})
""",
    "tanh": """
    {out} = Tanh (z_{k})
""",
    "sigmoid": """
    opposite_{k} = Neg (z_{k})
    power_{k} = Exp (opposite_{k})
    odds_{k} = Add (one, power_{k})
    {out} = Div (one, odds_{k})
""",
    # kernels of Erf are float32 in most runtimes
    "gelu": """
    scaled_{k} = Mul (z_{k}, rootHalf)
    single_{k} = Cast <to = 1> (scaled_{k})
    erf_{k} = Erf (single_{k})
    odd_{k} = CastLike (erf_{k}, zero)
    sum_{k} = Add (one, odd_{k})
    half_{k} = Mul (half, z_{k})
    {out} = Mul (half_{k}, sum_{k})
""",
    "identity": """
    {out} = Identity (z_{k})
""",
}

_REGRESSION = """
    prediction = Squeeze (margins, last)
"""

# one margin; class 0 has its negative
_RAW = """
    opposite = Neg (margins)
    rawPrediction = Concat <axis = 1> (opposite, margins)
"""

_ABOVE = """
    score = Squeeze (margins, last)
    above = Greater (score, threshold)
    label = Where (above, one, zero)
    unknown = IsNaN (score)
    prediction = Where (unknown, nan, label)
"""

# a quotient of small numbers for the less likely class: 1 - p would cancel
_SIGMOID = """
    distance = Abs (margins)
    exponent = Neg (distance)
    small = Exp (exponent)
    total = Add (one, small)
    major = Div (one, total)
    minor = Div (small, total)
    isPositive = GreaterOrEqual (margins, zero)
    positive = Where (isPositive, major, minor)
    negative = Where (isPositive, minor, major)
    probability = Concat <axis = 1> (negative, positive)
"""

_ANY_NAN = """
    areNaN = IsNaN (margins)
    ones = Where (areNaN, one, zero)
    count = ReduceSum <keepdims = 1> (ones, last)
    unknown = Greater (count, zero)
"""

# the largest is subtracted from itself where it is infinite: it has all the probability
_SOFTMAX = """
    rawPrediction = Identity (margins)
    largest = ReduceMax <axes = [1], keepdims = 1> (margins)
    isLargest = Equal (margins, largest)
    difference = Sub (margins, largest)
    exponents = Where (isLargest, zero, difference)
    powers = Exp (exponents)
    sums = ReduceSum <keepdims = 1> (powers, last)
    probability = Div (powers, sums)
"""

_NO_THRESHOLDS = """
    scores = Identity (margins)
"""

_THRESHOLDS = """
    ratios = Div (probability, thresholds)
    possible = Greater (probability, zero)
    scores = Where (possible, ratios, zero)
"""

_LARGEST_MARGIN = """
    rawPrediction = Identity (margins)
    scores = Identity (margins)
"""

_ARGMAX = """
    index = ArgMax <axis = 1, keepdims = 1> (scores)
    label = CastLike (index, zero)
    known = Where (unknown, nan, label)
    prediction = Squeeze (known, last)
"""

_BODIES: dict[Kind, str] = {
    "regression": _REGRESSION,
    "svc": _RAW + _ABOVE,
    "binomial": _RAW + _SIGMOID + _ABOVE,
    "multinomial": _ANY_NAN + _SOFTMAX + _NO_THRESHOLDS + _ARGMAX,
    "one-vs-rest": _ANY_NAN + _LARGEST_MARGIN + _ARGMAX,
}


def to_onnx(model: HasForm) -> "onnx.ModelProto":
    """The model as an ONNX graph: see :meth:`Exportable.toONNX`."""
    try:
        from onnx import helper, numpy_helper, parser
    except ModuleNotFoundError as error:
        raise missing(error) from None
    owner: Any = model
    form = model._form()
    body = _inputs(form) + _MARGINS + _BODIES[form.kind]
    if form.thresholds is not None:
        body = body.replace(_NO_THRESHOLDS, _THRESHOLDS)
    graph = parser.parse_graph(f"{_signature(type(owner).__name__, form)} {{{body}}}")
    used = {name for node in graph.node for name in node.input}
    for name, values in _numbers(form).items():
        if name in used:
            graph.initializer.append(numpy_helper.from_array(values, name))
    made = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,  # of the same release as the opset
        producer_name="sparkml_lsml",
        producer_version=sparkml_lsml.__version__,
    )
    cls = type(owner)
    facts = {"uid": owner.uid, "class": f"{cls.__module__}.{cls.__name__}"}
    helper.set_model_props(made, facts | {"version": sparkml_lsml.__version__})
    return made


def _inputs(form: Form) -> str:
    """What the last map sees: the features, or what the hidden layers make of them."""
    if form.hidden is None or not form.hidden.maps:
        return _FEATURES
    layers, last = [], len(form.hidden.maps) - 1
    for k in range(last + 1):
        below = f"layer_{k - 1}" if k else "features"
        out = "inputs" if k == last else f"layer_{k}"
        layer = _MAP + _ACTIVATIONS[form.hidden.activation]
        layers.append(layer.format(k=k, below=below, out=out))
    return "".join(layers)


def _signature(name: str, form: Form) -> str:
    """Name, inputs and outputs of the graph."""
    outputs, features = len(form.coefficients), form.features
    classes = 2 if form.kind in ("svc", "binomial") else outputs
    results = ["double[rows] prediction"]
    if form.kind != "regression":
        results.append(f"double[rows, {classes}] rawPrediction")
    if form.kind in ("binomial", "multinomial"):
        results.append(f"double[rows, {classes}] probability")
    return f"{name} (double[rows, {features}] features) => ({', '.join(results)})"


def _numbers(form: Form) -> dict[str, npt.NDArray[Any]]:
    """Initializers by name."""
    numbers: dict[str, npt.NDArray[Any]] = {
        "coefficients": np.ascontiguousarray(form.coefficients.T),
        "intercepts": form.intercepts,
        "threshold": np.array(form.threshold),
        "zero": np.array(0.0),
        "one": np.array(1.0),
        "nan": np.array(np.nan),
        "last": np.array([1]),
        "half": np.array(0.5),
        "rootHalf": np.array(0.5**0.5),
    }
    for k, (weights, biases) in enumerate(() if form.hidden is None else form.hidden.maps):
        numbers[f"weights_{k}"] = np.ascontiguousarray(weights.T)
        numbers[f"biases_{k}"] = biases
    if form.thresholds is not None:
        numbers["thresholds"] = form.thresholds
    return numbers
