"""Commands that run again and again, and the time between.

`manage.py scheduler` runs them locally. On AWS EventBridge Scheduler does: `infra/` reads
this file too, so nothing is imported here that infrastructure does not have.
"""

from datetime import timedelta

# On AWS each run is a task that is started and paid for.
COMMANDS = {
    "remove_expired_notes": timedelta(minutes=5),
    "prune_db_task_results": timedelta(days=1),
    "clearsessions": timedelta(days=1),
}

# On AWS besides: there CloudWatch reads what this prints, and alarms watch it.
ON_AWS = {
    "report_metrics": timedelta(minutes=5),
}
