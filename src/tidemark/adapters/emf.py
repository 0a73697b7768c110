"""CloudWatch metrics as log lines (embedded metric format): no call, no client, no dimension, so that the alarms' names suffice."""

import json
import sys
import time
from collections.abc import Mapping

NAMESPACE = "Tidemark"


def emit_milliseconds(values: Mapping[str, float]) -> None:
    """One line with these metrics, in milliseconds, on standard output."""
    if not values:
        return
    definition = {"Namespace": NAMESPACE, "Dimensions": [[]], "Metrics": [{"Name": name, "Unit": "Milliseconds"} for name in values]}
    line = {"_aws": {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": [definition]}, **values}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
