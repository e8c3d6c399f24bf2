"""The command line of ``python -m sparkml_lsml``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

import sparkml_lsml
from sparkml_lsml.cli import doctor as doctoring
from sparkml_lsml.cli.findings import Status, worst
from sparkml_lsml.cli.launch import Launch
from sparkml_lsml.errors import SparkMLError

OK, FAILED, BAD_USAGE = 0, 1, 2

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Look at an environment, at the configuration of a job, or at a saved model.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments
        Arguments after the program's name; those of the process by default.

    Returns
    -------
    int
        0 if all is well, 1 if something was found to be wrong, 2 if the command line is.
    """
    try:
        status = app(
            args=list(arguments) if arguments is not None else None,
            prog_name="python -m sparkml_lsml",
            standalone_mode=False,
        )
    except Exception as error:
        # Typer's own errors of use; newer and older releases derive them from different classes.
        if not hasattr(error, "format_message"):
            raise
        text = error.format_message()
        if text:  # without arguments the help was printed instead
            print(f"error: {text} (--help tells more)", file=sys.stderr)
        return BAD_USAGE
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return FAILED
    return int(status or OK)


def _version(wanted: bool) -> None:
    if wanted:
        print(sparkml_lsml.__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


@app.command()
def doctor(
    master: Annotated[
        str, typer.Option(help="The Spark to look at, such as local[2], yarn or spark://host:7077.")
    ] = "local[2]",
    conf: Annotated[
        list[str] | None,
        typer.Option(help="A setting, key=value, as for spark-submit; may be repeated."),
    ] = None,
    properties_file: Annotated[
        Path | None, typer.Option(help="A file of settings, as for spark-submit.", dir_okay=False)
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Seconds for the session, and again for the job.", min=1.0)
    ] = 60.0,
    without_spark: Annotated[
        bool, typer.Option("--without-spark", help="Start no Spark; look at this machine only.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Check Python, Java, Spark, its settings and its workers, and say what to do.

    Exit status: 0, or 1 if there is a problem that stops fits.
    """
    launch = None
    if not without_spark:
        options = ["--master", master, "--conf", "spark.ui.enabled=false"]
        if properties_file is not None:
            if not properties_file.is_file():
                raise typer.BadParameter(f"there is no file {properties_file}")
            options += ["--properties-file", str(properties_file)]
        for setting in conf or ():
            if "=" not in setting:
                raise typer.BadParameter(f"--conf {setting}: expected key=value")
            options += ["--conf", setting]
        launch = Launch(options, timeout)
    doing = "Looking around" if launch is None else "Starting Spark, and a job in it"
    with Console(stderr=True).status(f"{doing} ..."):
        findings = doctoring.examine(launch)
    _print(doctoring.to_dict(findings)) if as_json else doctoring.render(findings, Console())
    return FAILED if worst(findings) is Status.PROBLEM else OK


def _print(values: Any) -> None:
    print(json.dumps(values, indent=2, ensure_ascii=False))


@app.command()
def validate(
    files: Annotated[
        list[str], typer.Argument(help="YAML files of jobs.", metavar="FILE...", show_default=False)
    ],
    job: Annotated[
        str | None,
        typer.Option(help="train, tune, score or evaluate; by default what the keys say."),
    ] = None,
    imports: Annotated[
        bool,
        typer.Option(
            "--imports/--no-imports",
            help="Import the modules that a file names under imports, which runs their code.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Check configurations of jobs without starting Spark, and show every problem with its line.

    Nothing of a file is run. Where it has imports, any name of a loss is therefore taken; with
    --imports they are imported, and names of losses are checked.

    Exit status: 0 if all are valid, else 1.
    """
    from sparkml_lsml.cli import validate as validating

    if job is not None and job not in validating.KINDS:
        raise typer.BadParameter(f"--job {job}: expected one of {', '.join(validating.KINDS)}")
    found = [validating.examine(source, job, imports=imports) for source in files]
    if as_json:
        _print(validating.to_dict(found))
    else:
        validating.render(found, Console())
    return FAILED if any(each.problems for each in found) else OK


@app.command()
def show(
    path: Annotated[str, typer.Argument(help="Folder of a saved model.", show_default=False)],
    top: Annotated[int, typer.Option(help="How many of the largest coefficients.", min=0)] = 10,
    as_json: AsJson = False,
) -> int:
    """Show a saved model, pipeline or search: classes, Params, sizes and largest coefficients.

    Every checksum is verified. Local folders are read without Spark. Exit status: 0, or 1 if there
    is no saved model or it is damaged.
    """
    from sparkml_lsml.cli import saved
    from sparkml_lsml.cli import show as showing

    try:
        parts = saved.read(path, top)
    except SparkMLError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    _print(showing.to_dict(parts)) if as_json else showing.render(parts, Console())
    return OK
