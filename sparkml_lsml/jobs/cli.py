"""The command line of the four jobs: help, exit status, and what is printed where."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from pyspark.sql import SparkSession
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand

from sparkml_lsml.jobs import run, search, yamlfile
from sparkml_lsml.jobs.base import Section
from sparkml_lsml.jobs.checking import check_all
from sparkml_lsml.jobs.config import EvaluateConfig, ScoreConfig, TrainConfig, TuneConfig
from sparkml_lsml.jobs.console import to_stderr
from sparkml_lsml.jobs.errors import ConfigError, one_line
from sparkml_lsml.jobs.fields import describe
from sparkml_lsml.jobs.redaction import Redactor

OK, FAILED, BAD_CONFIGURATION = 0, 1, 2
_SHOWN_CANDIDATES = 20

_JOBS: dict[str, tuple[type[Section], Callable[..., dict[str, Any]], str]] = {
    "train": (
        TrainConfig,
        run.train,
        "Fit a pipeline, evaluate it on held-out rows, and write model, predictions and report.",
    ),
    "tune": (
        TuneConfig,
        run.tune,
        "Search Params of the estimator, and do with the best what train.py does.",
    ),
    "score": (ScoreConfig, run.score, "Apply a saved model to rows and write the predictions."),
    "evaluate": (
        EvaluateConfig,
        run.evaluate,
        "Compare predictions with labels and write the metrics.",
    ),
}


def main(job: str, arguments: Sequence[str] | None = None) -> int:
    """Run a job from the command line.

    Parameters
    ----------
    job
        ``train``, ``tune``, ``score`` or ``evaluate``.
    arguments
        Arguments after the program's name; those of the process by default.

    Returns
    -------
    int
        0 if all went well, 1 if the job failed, 2 if its command line or configuration is wrong.
        After a failure the last line on standard error begins with ``error:``.

    Examples
    --------
    >>> main("train", ["--conf-file", "conf/train-regression.yaml", "--check"])
    conf/train-regression.yaml: ok
    0
    """
    kind, work, summary = _JOBS[job]

    class Command(TyperCommand):
        """Adds the keys of the configuration to the options in ``--help``."""

        def format_help(self, ctx: Any, formatter: Any) -> None:
            super().format_help(ctx, formatter)
            _print_keys(kind)

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")

    @app.command(cls=Command, help=summary)
    def command(
        conf_file: Annotated[
            str, typer.Option(help="YAML file with the keys listed below.", show_default=False)
        ],
        check: Annotated[
            bool, typer.Option("--check", help="Only check the file; start no Spark job.")
        ] = False,
        no_imports: Annotated[
            bool,
            typer.Option(
                "--no-imports",
                help="With --check: do not run the code of the modules that imports names.",
            ),
        ] = False,
        show_traceback: Annotated[
            bool, typer.Option("--traceback", help="On failure print the Python traceback too.")
        ] = False,
    ) -> int:
        if no_imports and not check:
            raise typer.BadParameter(
                "--no-imports goes with --check: a job imports what its file names"
            )
        return _run(
            kind, work, conf_file, check=check, imports=not no_imports, traced=show_traceback
        )

    try:
        status = app(
            args=list(arguments) if arguments is not None else None,
            prog_name=f"{job}.py",
            standalone_mode=False,
        )
    except Exception as error:
        # Typer's own errors of use; newer and older releases derive them from different classes.
        if not hasattr(error, "format_message"):
            raise
        to_stderr(f"error: {error.format_message()} (--help tells more)")
        return BAD_CONFIGURATION
    return int(status or OK)


def _run(
    kind: type[Section],
    work: Callable[..., dict[str, Any]],
    conf_file: str,
    *,
    check: bool,
    imports: bool,
    traced: bool,
) -> int:
    redact = Redactor()
    spark: SparkSession | None = None
    message, status = "", OK
    try:
        document = yamlfile.read(conf_file)
        config = check_all(kind, document, imports=imports)
        redact = Redactor(config.model_dump(by_alias=True))
        if check:
            print(f"{conf_file}: ok")
            return OK
        spark = _start(getattr(config, "app_name", "sparkml_lsml"))
        try:
            report = work(config, spark, lambda line: to_stderr(redact(line)))
        except ConfigError as error:
            raise document.error([*error.problems]) from error
        _print_report(report, redact)
    except ConfigError as error:
        message, status = _explain(error, redact), BAD_CONFIGURATION
        _maybe_trace(error, redact, traced)
    except (Exception, KeyboardInterrupt) as error:
        message, status = redact(one_line(error)), FAILED
        _maybe_trace(error, redact, traced)
    finally:
        if spark is not None:
            _stop(spark)
    if status != OK:
        to_stderr(f"error: {message}")
    return status


def _start(app_name: str) -> SparkSession:
    spark = SparkSession.builder.appName(app_name).getOrCreate()
    if spark.sparkContext.getConf().get("spark.log.level") is None:
        # At spark-submit's default, INFO, what a job has to say drowns.
        spark.sparkContext.setLogLevel("WARN")
    return spark


def _stop(spark: SparkSession) -> None:
    try:
        spark.stop()
    except Exception as error:
        # The JVM may be gone already, and that is not what went wrong first.
        to_stderr(f"Spark could not be stopped ({type(error).__name__})")


def _explain(error: ConfigError, redact: Redactor) -> str:
    """Print all problems but a single one, and return the last line."""
    source = f"{error.source}: " if error.source else ""
    if len(error.problems) == 1:
        return redact(f"{source}{error.problems[0]}")
    for problem in error.problems:
        to_stderr(redact(f"{source}{problem}"))
    count = len(error.problems)
    return redact(f"{source}{count} problems, the first: {error.problems[0]}")


def _maybe_trace(error: BaseException, redact: Redactor, show: bool) -> None:
    if show:
        to_stderr(redact("".join(traceback.format_exception(error))).rstrip())


def _print_report(report: dict[str, Any], redact: Redactor) -> None:
    if "search" in report:
        Console().print(_table_of(report["search"]))
    table = Table(title=f"{report['job']}: done in {report['seconds']['total']:.1f} s")
    table.add_column("what")
    table.add_column("value", overflow="fold")
    for name, value in report["rows"].items():
        table.add_row(f"{name.replace('_', ' ')} rows", f"{value:,}")
    training = report["training"] or {}
    for name, value in training.items():
        if name not in ("params", "num_features", "notes") and value is not None:
            table.add_row(name, Text(f"{value:.6g}" if isinstance(value, float) else str(value)))
    for note in training.get("notes", ()):
        table.add_row("note", Text(redact(note)))
    for name, value in (report["metrics"] or {}).items():
        if not isinstance(value, dict):
            table.add_row(name, "undefined" if value is None else f"{value:.6g}")
    for name, value in report["outputs"].items():
        table.add_row(name.removesuffix(".path"), Text(redact(value)))
    Console().print(table)


def _table_of(found: dict[str, Any]) -> Table:
    """The best candidates of a search, best first."""
    sign = -1.0 if found["larger_is_better"] else 1.0
    means = [sign * each["mean"] for each in found["candidates"]]
    order = sorted(range(len(means)), key=lambda k: (math.isnan(means[k]), means[k]))
    folds = f"mean and spread of {found['folds']} folds" if found["folds"] > 1 else "one split"
    hidden = len(order) - _SHOWN_CANDIDATES
    table = Table(
        title=f"search: {found['metric']}, {folds}",
        caption=f"{hidden} more in the report" if hidden > 0 else None,
    )
    for name in found["candidates"][0]["params"]:
        table.add_column(name, justify="right")
    table.add_column(found["metric"], justify="right")
    if found["folds"] > 1:
        table.add_column("spread", justify="right")
    for number in order[:_SHOWN_CANDIDATES]:
        each = found["candidates"][number]
        row = [*map(search.shown, each["params"].values()), f"{each['mean']:.6g}"]
        if each["spread"] is not None:
            row.append(f"{each['spread']:.2g}")
        table.add_row(*map(Text, row), style="bold green" if number == found["best"] else "")
    return table


def _print_keys(kind: type[Section]) -> None:
    table = Table(box=box.SIMPLE, title="Keys of the configuration file", title_justify="left")
    table.add_column("Key", no_wrap=True)
    table.add_column("Type, default, description", ratio=1)
    for key in describe(kind):
        required = key.default == "required"
        facts = key.type + ("; required" if required else f"; default: {key.default}")
        table.add_row(
            Text(key.path, "bold" if required else ""),
            Text.assemble((facts, "cyan"), "\n", key.description),
        )
    console = Console()
    console.print(table)
    console.print(
        "Paths, table names and values of options may hold ${env:NAME}, the value of an environment"
        " variable. Exit status: 0 done, 1 failed, 2 wrong command line or configuration.",
        highlight=False,
        markup=False,
    )
