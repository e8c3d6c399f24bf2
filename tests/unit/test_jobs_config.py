"""The jobs' configuration: what is accepted, what is refused, and what a refusal says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sparkml_lsml.jobs import (
    ConfigError,
    EvaluateConfig,
    JobError,
    ScoreConfig,
    TrainConfig,
    TuneConfig,
    load_config,
)
from sparkml_lsml.jobs.base import Section
from sparkml_lsml.jobs.errors import Problem, dotted, one_line
from sparkml_lsml.jobs.fields import describe
from sparkml_lsml.jobs.loading import check, nearest
from sparkml_lsml.jobs.redaction import MASK, Redactor, has_password, public, resolve
from sparkml_lsml.jobs.yamlfile import parse

ROOT = Path(__file__).resolve().parents[2]
TRAIN = """\
input:
  format: parquet
  path: rows.parquet
split:
  fraction: 0.25
  seed: 3
label: {column: y}
pipeline:
  stages:
    - class: VectorAssembler
      params: {inputCols: [a, b], outputCol: features}
  estimator:
    class: LinearSVC
    params:
      regParam: 1e-2
output:
  model: out/model
  report: out/report.json
"""
BOUNDS = "LogisticRegression\n    params:\n      lowerBoundsOnIntercepts: [.nan]"
BOUNDS_PATH = "pipeline.estimator.params.lowerBoundsOnIntercepts"
SVC = "LinearSVC\n    params:\n      regParam: 1e-2"
NETWORK = "MLPClassifier\n    params:\n      layers: [2, 0, 2]"
SECRET = "pa'ss\"w\\rd!"
KINDS: dict[str, type[Section]] = {
    "train-classification.yaml": TrainConfig,
    "train-neural.yaml": TrainConfig,
    "train-regression.yaml": TrainConfig,
    "tune.yaml": TuneConfig,
    "score.yaml": ScoreConfig,
    "evaluate.yaml": EvaluateConfig,
}


def train(text: str) -> TrainConfig:
    return check(TrainConfig, parse(text, "job.yaml"))


def refusal(text: str, kind: type[Section] = TrainConfig) -> Problem:
    """Return the one problem of a file."""
    with pytest.raises(ConfigError) as caught:
        check(kind, parse(text, "job.yaml"))
    assert caught.value.source == "job.yaml"
    problems = caught.value.problems
    assert len(problems) == 1, problems
    return problems[0]


# --- what is accepted


@pytest.mark.parametrize("name", KINDS)
def test_examples_in_conf_are_valid(name: str) -> None:
    config = load_config(KINDS[name], str(ROOT / "conf" / name))
    assert config.model_fields_set >= {"input", "output"}


def test_every_example_is_tested() -> None:
    assert {path.name for path in (ROOT / "conf").glob("*.yaml")} == set(KINDS)


def test_values_and_defaults() -> None:
    config = train(TRAIN)
    assert config.input.path == ("rows.parquet",)
    assert config.split is not None
    assert (config.split.fraction, config.split.seed, config.split.by) == (0.25, 3, ())
    assert config.pipeline.stages[0].class_name == "VectorAssembler"
    # YAML 1.1, which PyYAML follows by itself, reads 1e-2 as a text.
    assert config.pipeline.estimator.params == {"regParam": 0.01}
    assert config.output.overwrite is False
    assert config.weight is None


def test_configuration_is_frozen() -> None:
    config = train(TRAIN)
    with pytest.raises(ValueError, match="frozen"):
        config.weight = "w"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("1E6", 1e6),
        ("-.5", -0.5),
        ("010", 10),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("''", ""),
        ("'1'", "1"),
        (".inf", float("inf")),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = parse(f"key: {text}").tree["key"]
    assert found == value
    assert type(found) is type(value)


def test_label_map_keys_keep_their_types() -> None:
    config = train(TRAIN.replace("{column: y}", "{column: y, map: {-1: 0, spam: 1, true: 2}}"))
    assert config.label.map == {-1: 0.0, "spam": 1.0, True: 2.0}


# --- what is refused, with key, line and advice (case 66)


@pytest.mark.parametrize(
    ("old", "new", "path", "line", "words"),
    [
        ("  path: rows", "  pth: rows", "input.pth", 3, "unknown key; did you mean 'path'?"),
        ("fraction", "fracton", "split.fraction", 4, "required"),
        (
            "1e-2",
            "!!python/object:os.system x",
            "pipeline.estimator.params.regParam",
            15,
            "!!python",
        ),
        ("1e-2", "!!python/name:os.system", "pipeline.estimator.params.regParam", 15, "refused"),
        ("1e-2", "!mine x", "pipeline.estimator.params.regParam", 15, "tag"),
        ("  seed: 3", "  fraction: 0.5", "split.fraction", 6, "twice, on lines 5 and 6"),
        ("0.25", "'0.25'", "split.fraction", 5, "expected a number, found the text '0.25'"),
        ("0.25", "1.5", "split.fraction", 5, "less than 1, found the number 1.5"),
        ("0.25", ".nan", "split.fraction", 5, "nan"),
        ("seed: 3", "seed: 3.5", "split.seed", 6, "expected a whole number"),
        ("seed: 3", "seed: true", "split.seed", 6, "expected a whole number, found true"),
        ("parquet\n", "parkett\n", "input.format", 2, "did you mean 'parquet'?"),
        ("rows.parquet", "7", "input.path", 3, "found the number 7"),
        ("rows.parquet", "[a, 7]", "input.path[1]", 3, "expected a text, found the number 7"),
        ("rows.parquet", "[]", "input.path", 3, "at least one"),
        ("rows.parquet", "", "input", 1, "needs the key 'path'"),
        ("LinearSVC", "", "pipeline.estimator.class", 13, "expected a text, found nothing"),
        ("1e-2", "", "pipeline.estimator.params.regParam", 15, "has no value"),
        ("1e-2", "${env:HOME}", "pipeline.estimator.params.regParam", 15, "not understood here"),
        ("{column: y}", "y", "label", 7, "expected a mapping of keys, found the text 'y'"),
        ("{column: y}", "{map: {}}", "label.map", 7, "at least one"),
        ("{column: y}", "{map: {a: b}}", "label.map.a", 7, "expected a number"),
        ("{column: y}", "{map: {a: .inf}}", "label.map.a", 7, "finite"),
        ("{column: y}", "{map: {1: 0, 1.0: 1}}", "label.map.1.0", 7, "twice"),
        ("{column: y}", "&anchor {column: y}", "", 7, "anchor"),
        ("{column: y}", "{column: *secret}", "", 7, "alias"),
        ("out/model", "[out/model]", "output.model", 17, "expected a text, found a list"),
        ("out/report.json", "''", "output.report", 18, "is empty"),
        ("label:", "\tlabel:", "", 7, "not valid YAML"),
        ("seed: 3", "seed: [", "", 8, "not valid YAML"),
        ("label:", "---\nlabel:", "", 7, "another document"),
        ("seed: 3", "seed: 3\n  by: {a: 1}", "split.by", 7, "expected a list"),
        ("parquet\n", "table\n", "input.path", 3, "a table has none"),
        ("parquet\n", "csv\n  num_features: 3\n", "input.num_features", 3, "'libsvm' only"),
    ],
)
def test_case_66_refused(old: str, new: str, path: str, line: int, words: str) -> None:
    assert old in TRAIN
    problem = refusal(TRAIN.replace(old, new, 1)) if path != "split.fraction" or line != 4 else None
    if problem is None:
        # A misspelt required key is two problems: one key is missing, another is unknown.
        with pytest.raises(ConfigError) as caught:
            train(TRAIN.replace(old, new, 1))
        problem, other = caught.value.problems
        assert "did you mean 'fraction'?" in other.message
    assert (dotted(problem.path), problem.line) == (path, line)
    assert words in problem.message


def test_case_66_all_problems_are_told_in_the_order_of_the_file() -> None:
    text = TRAIN.replace("seed: 3", "seed: x").replace("path:", "pfad:").replace("y}", "y, z: 1}")
    with pytest.raises(ConfigError) as caught:
        train(text)
    assert [problem.line for problem in caught.value.problems] == [3, 6, 7]
    assert str(caught.value).startswith("job.yaml: line 3: input.pfad: unknown key")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("- a", "expected a mapping"),
        ("text", "expected a mapping"),
        ("a: \x00", "not valid YAML"),
        ("[" * 5000, "too deeply"),
        ("? [1]\n: 2", "a key must be"),
        ("a: !!int x", "is no int"),
    ],
)
def test_case_66_not_a_mapping_of_plain_values(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse(text, "job.yaml")


def test_case_66_many_aliases_are_refused_before_they_grow() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
    )
    with pytest.raises(ConfigError, match="line 1"):
        parse(bomb)


def test_case_66_a_safe_loader_builds_no_objects(tmp_path: Path) -> None:
    target = tmp_path / "written"
    text = f"a: !!python/object/apply:os.mkdir [{target}]"
    with pytest.raises(ConfigError, match="refused"):
        parse(text)
    assert not target.exists()
    # What the refusal guards against: PyYAML's other loader does carry it out.
    yaml.load(text, Loader=yaml.UnsafeLoader)
    assert target.exists()


def test_case_66_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read \(No such file"):
        load_config(TrainConfig, "nowhere.yaml")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(TrainConfig, str(binary))


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("evaluation_input: {format: csv, path: x}", "not both"),
        ("unknown: 1", "unknown key; known here: app_name"),
    ],
)
def test_case_66_combinations(extra: str, words: str) -> None:
    problem = refusal(TRAIN + extra)
    assert words in problem.message
    assert problem.line == len(TRAIN.splitlines()) + 1


def test_predictions_need_held_out_rows() -> None:
    text = TRAIN.replace("split:\n  fraction: 0.25\n  seed: 3\n", "")
    problem = refusal(text + "  predictions: {path: out/p}\n")
    assert "held-out rows" in problem.message


def test_evaluation_of_predictions_cannot_repeat_a_split_of_whole_rows() -> None:
    text = (
        "task: binary\ninput: {format: csv, path: p}\nsplit: {fraction: 0.5}\noutput: {report: r}"
    )
    assert refusal(text, EvaluateConfig).path == ("split",)
    check(EvaluateConfig, parse(text.replace("0.5", "0.5, by: id")))
    check(EvaluateConfig, parse(text + "\nmodel: m"))


# --- secrets (case 67)


def test_case_67_reference_stays_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "/mnt/tenant-7")
    config = train(TRAIN.replace("rows.parquet", "${env:PLACE}/rows"))
    assert config.input.path == ("${env:PLACE}/rows",)
    assert "tenant" not in repr(config)
    assert resolve("${env:PLACE}/rows") == "/mnt/tenant-7/rows"


def test_case_67_reference_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLACE", raising=False)
    problem = refusal(TRAIN.replace("rows.parquet", "${env:PLACE}/rows"))
    assert (dotted(problem.path), problem.line) == ("input.path", 3)
    assert "PLACE is not set" in problem.message


@pytest.mark.parametrize("text", ["${env:PLACE", "${env:}", "${env:a b}", "${env:${env:PLACE}}"])
def test_case_67_malformed_reference(text: str) -> None:
    with pytest.raises(ValueError, match=r"write \$\{env:NAME\}"):
        resolve(text, {"PLACE": "x"})


def test_case_67_secrets_are_in_no_repr_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_TOKEN", "hunter2-resolved")
    options = (
        "  options: {password: hunter2-literal, apiToken: '${env:SOURCE_TOKEN}', header: true}\n"
    )
    text = TRAIN.replace("  path: rows.parquet\n", "  path: ftp://me@host/rows\n" + options)
    config = train(text)
    for shown in (repr(config), str(config), str(public(config.model_dump()))):
        assert "hunter2" not in shown
        assert "me@host" not in shown
        assert "header" in shown
    # A secret next to a mistake, or as the mistake.
    for wrong in (
        text.replace("header: true", "header: [1]"),
        text.replace("hunter2-literal", "[hunter2-literal]"),
        text.replace("hunter2-literal", "*hunter2-literal"),
        text.replace("hunter2-literal", "!hunter2-literal x"),
        text.replace("hunter2-literal", "'hunter2-literal"),
        text.replace(
            "  options: {password: hunter2-literal", "  options: [password=hunter2-literal"
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            train(wrong)
        assert "hunter2" not in str(caught.value)
        assert "hunter2" not in repr(caught.value.__context__)


@pytest.mark.parametrize("key", ["rows.parquet", "out/model", "out/report.json"])
def test_case_67_password_in_a_path_is_refused_unseen(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = refusal(TRAIN.replace(key, "s3://key:hunter2@bucket/x"))
    assert "hunter2" not in str(problem)
    assert f"s3://{MASK}@bucket/x" in problem.message
    monkeypatch.setenv("LOGIN", "key:hunter2")
    problem = refusal(TRAIN.replace(key, "s3://a-${env:LOGIN}@bucket/x"))
    assert "hunter2" not in str(problem)
    monkeypatch.setenv("WHOLE", "s3://key:hunter2@bucket/x")
    problem = refusal(TRAIN.replace(key, "${env:WHOLE}"))
    assert "hunter2" not in str(problem)
    assert "holds a password" in problem.message


def test_case_67_pydantic_itself_shows_no_input() -> None:
    with pytest.raises(ValueError, match="options") as caught:
        TrainConfig.model_validate({"input": {"format": "csv", "options": ["hunter2"]}})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f"cannot open {SECRET}",
        f"cannot open {SECRET!r}",
        "https://host/?p=pa%27ss%22w%5Crd%21",
        "ftp://me:else@host/",
        "s3a://me:else/other@bucket/x",
        "https://host/x?X-Amz-Signature=other&X-Amz-Date=1",
        "https://host/x?sig=other",
        "url=jdbc:x;password=other&x=1",
        "secretKey = other",
    ],
)
def test_case_67_redactor(text: str) -> None:
    redact = Redactor({"options": {"password": SECRET}})
    shown = redact(text)
    assert MASK in shown
    for secret in ("ss", "me:else", "other"):
        assert secret not in shown.replace("password", "")


@pytest.mark.parametrize(
    "key",
    [
        "fs.azure.sas.box.account.blob.core.windows.net",
        "fs.s3a.encryption.key",
        "parquet.encryption.key.list",
        "sig",
    ],
)
def test_case_67_options_of_stores_are_secrets(key: str) -> None:
    assert public({"options": {key: "hunter2"}}) == {"options": {key: MASK}}
    assert "hunter2" not in Redactor({"options": {key: "hunter2"}})("found hunter2")
    assert "hunter2" not in Redactor()("abfss://box@account/x?sv=1&sig=hunter2")


def test_labels_of_a_map_are_finite() -> None:
    problem = refusal(TRAIN.replace("{column: y}", "{column: y, map: {.nan: 0, 1: 1}}"))
    assert problem.path[:2] == ("label", "map")


def test_case_67_redactor_leaves_the_rest_alone() -> None:
    redact = Redactor({"path": "${env:N}", "params": {"minTokenLength": 3}}, {"N": "1"})
    assert redact("1 of 100 rows, minTokenLength=3") == "${env:N} of 100 rows, minTokenLength=3"
    assert public({"params": {"minTokenLength": 3}}) == {"params": {"minTokenLength": 3}}


def test_case_67_user_info_without_password_is_no_password() -> None:
    # A container of Azure's storage stands where others have a user.
    assert not has_password("abfss://container@account.dfs.core.windows.net/rows")
    assert not has_password("hdfs://namenode:8020/rows@noon")
    assert has_password("s3://key:secret@bucket/rows")
    assert has_password("s3a://key:sec/ret@bucket/rows")
    container = "abfss://container@account/rows"
    assert Redactor()(container) == public(container) == container


# --- errors and help


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (JobError("no rows"), "no rows"),
        (KeyError("label"), "KeyError: 'label'"),
        (ValueError("must be\n  positive"), "must be positive"),
        (ValueError(), "ValueError"),
        (KeyboardInterrupt(), "interrupted"),
        (
            RuntimeError(
                "Job aborted: Traceback (most recent call last):\n"
                '  File "worker.py", line 3, in main\n    f()\n'
                "ValueError: the row has 3 features, expected 4\n\n\tat org.apache.Spark(X.java:1)"
            ),
            "ValueError: the row has 3 features, expected 4",
        ),
        (
            RuntimeError("java.io.IOException: disk full\n\tat a.b.C.d(C.java:3)\n\t... 3 more"),
            "java.io.IOException: disk full",
        ),
    ],
)
def test_one_line(error: BaseException, line: str) -> None:
    assert one_line(error) == line


def test_nearest() -> None:
    assert nearest("max_iter", ["maxIter", "tol"]) == "; did you mean 'maxIter'?"
    assert nearest("zzz", ["maxIter", "tol"]) == ""


@pytest.mark.parametrize("kind", [TrainConfig, ScoreConfig, EvaluateConfig])
def test_every_key_is_described(kind: type[Section]) -> None:
    keys = describe(kind)
    paths = [key.path for key in keys]
    assert len(set(paths)) == len(paths)
    assert {"input.format", "output.overwrite"} <= set(paths)
    for key in keys:
        assert key.description.endswith("."), key
        assert key.type
        assert key.default


def test_help_of_numbers_and_choices() -> None:
    keys = {key.path: key for key in describe(TrainConfig)}
    assert keys["split.fraction"].type == "number > 0 and < 1"
    assert keys["input.num_features"].type == "whole number > 0"
    assert keys["output.predictions.format"].default == "parquet"
    assert keys["input.format"].default == "required"
    assert keys["evaluation_input"].type == "as input"


def test_configuration_needs_no_pyspark() -> None:
    code = (
        "import sys; sys.modules['pyspark'] = None\n"
        "from sparkml_lsml.jobs import TrainConfig, load_config\n"
        "load_config(TrainConfig, 'conf/train-regression.yaml')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr


# --- classes and Params of the pipeline; no JVM is started


def pipeline_problems(old: str = "", new: str = "") -> list[Problem]:
    module = pytest.importorskip("sparkml_lsml.jobs.pipeline", exc_type=ImportError)
    problems: list[Problem] = module.check_pipeline(train(TRAIN.replace(old, new, 1)))
    return problems


def test_a_right_pipeline() -> None:
    assert pipeline_problems() == []


@pytest.mark.parametrize(
    ("old", "new", "path", "words"),
    [
        ("VectorAssembler", "VectorAssembly", "pipeline.stages[0].class", "'VectorAssembler'?"),
        ("VectorAssembler", "PCAModel", "pipeline.stages[0].class", "unknown class"),
        ("VectorAssembler", "os.system", "pipeline.stages[0].class", "unknown class"),
        ("VectorAssembler", "LinearSVC", "pipeline.stages[0].class", "unknown class"),
        ("LinearSVC", "LinearSvm", "pipeline.estimator.class", "'LinearSVC'?"),
        ("LinearSVC", "KMeans", "pipeline.estimator.class", "known estimators"),
        ("inputCols:", "inputCol:", "pipeline.stages[0].params.inputCol", "'inputCols'?"),
        ("regParam", "regparm", "pipeline.estimator.params.regparm", "'regParam'?"),
        ("1e-2", "high", "pipeline.estimator.params.regParam", "expected a number, found 'high'"),
        ("1e-2", "-1", "pipeline.estimator.params.regParam", "regParam=-1"),
        (SVC, BOUNDS, BOUNDS_PATH, "a vector of"),
        ("[a, b]", "7", "pipeline.stages[0].params.inputCols", "expected a list of texts"),
        (SVC, NETWORK, "pipeline.estimator.params.layers", "layers=[2, 0, 2], expected a list of"),
        ("regParam: 1e-2", "labelCol: z", "pipeline.estimator.params.labelCol", "'y'"),
    ],
)
def test_wrong_pipeline(old: str, new: str, path: str, words: str) -> None:
    (problem,) = pipeline_problems(old, new)
    assert dotted(problem.path) == path
    assert words in problem.message


def test_every_feature_stage_is_known() -> None:
    pipeline = pytest.importorskip("sparkml_lsml.jobs.pipeline", exc_type=ImportError)
    assert {"StringIndexer", "PCA", "StandardScaler", "Word2Vec"} <= set(pipeline.feature_stages())
    assert {"LinearSVC", "LogisticRegression", "LinearRegression"} <= set(pipeline.estimators())
    assert {"MLPClassifier", "MLPRegressor"} <= set(pipeline.estimators())
    for kind in pipeline.estimators().values():
        assert "maxIter" in pipeline.params_of(kind)
