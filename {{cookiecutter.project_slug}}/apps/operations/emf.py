"""CloudWatch's Embedded Metric Format: a log line that CloudWatch Logs reads metrics from.

Nothing calls CloudWatch, so no role needs cloudwatch:PutMetricData.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
from collections.abc import Mapping
from datetime import datetime


def line(
    namespace: str,
    dimensions: Mapping[str, str],
    values: Mapping[str, float],
    units: Mapping[str, str],
    *,
    at: datetime,
) -> str:
    """Return the metrics in `values` as one line of JSON, without its end.

    `dimensions` together name one series; `units` has the unit of each value.
    """
    directive = {
        "Namespace": namespace,
        "Dimensions": [list(dimensions)],
        "Metrics": [{"Name": name, "Unit": units[name]} for name in values],
    }
    head = {"Timestamp": int(at.timestamp() * 1000), "CloudWatchMetrics": [directive]}
    return json.dumps({"_aws": head, **dimensions, **values}, allow_nan=False)
