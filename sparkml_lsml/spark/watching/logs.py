"""The log of the package as JSON."""

import json
import logging
import math
from datetime import UTC, datetime
from typing import Any


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and what a line of progress knows.

    Numbers that are not finite become null, as JSON has none.

    Examples
    --------
    >>> import logging
    >>> facts = {"name": "sparkml_lsml", "levelname": "INFO", "msg": "hello", "created": 0.0}
    >>> print(JsonFormatter().format(logging.makeLogRecord(facts)))
    {"time": "1970-01-01T00:00:00.000+00:00", "level": "INFO", "logger": "sparkml_lsml", \
"message": "hello"}
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        when = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, Any] = {
            "time": when.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        facts: dict[str, Any] = getattr(record, "progress", {})
        line |= {name: _plain(value) for name, value in facts.items()}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
