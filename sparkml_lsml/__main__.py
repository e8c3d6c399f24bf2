"""``python -m sparkml_lsml``: look at an environment, a job's configuration or a saved model."""

import sys

_EXTRA = ("pydantic", "rich", "typer", "yaml")


def main() -> int:
    """Run the command line; its exit status."""
    try:
        from sparkml_lsml.cli.app import main as run

        return run()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRA:
            raise
        print(
            f"error: python -m sparkml_lsml needs the module {missing}: "
            "pip install 'sparkml_lsml[jobs]'",
            file=sys.stderr,
        )
        return 2


if __name__ == "__main__":
    sys.exit(main())
