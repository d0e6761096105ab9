"""What the environments of a kind have in common; `environments.toml` picks one.

A profile sets sizes, zones, retention, protection and cost. No profile sets encryption:
that is the same everywhere.
"""

from typing import Any

PROFILES: dict[str, dict[str, Any]] = {
    # Cheap, and gone without a trace when it is destroyed.
    "dev": {
        "network": {"zones": 2, "nat": "none"},
        "database": {"instance": "t4g.micro", "multi_az": False, "backup_days": 7},
        "cache": {"node": "cache.t4g.micro", "replicas": 0},
        "web": {"cpu": 256, "memory": 1024, "minimum": 1, "maximum": 2},
        "worker": {"cpu": 256, "memory": 1024, "minimum": 1, "maximum": 2, "spot": True},
        "protect": False,
        "exec": True,
        "monthly_budget": 500,
    },
    # As production, smaller.
    "staging": {
        "network": {"zones": 2, "nat": "none"},
        "database": {"instance": "t4g.small", "multi_az": True, "backup_days": 7},
        "cache": {"node": "cache.t4g.micro", "replicas": 1},
        "web": {"cpu": 512, "memory": 2048, "minimum": 2, "maximum": 4},
        "worker": {"cpu": 256, "memory": 1024, "minimum": 1, "maximum": 4, "spot": True},
        "exec": True,
        "monthly_budget": 650,
    },
    "production": {
        "network": {"zones": 3, "nat": "per_zone"},
        "database": {
            "instance": "m7g.large",
            "multi_az": True,
            "backup_days": 35,
            "storage": 100,
            "max_storage": 1000,
        },
        "cache": {"node": "cache.m7g.large", "replicas": 2},
        "web": {"cpu": 1024, "memory": 4096, "minimum": 3, "maximum": 12},
        "worker": {"cpu": 512, "memory": 2048, "minimum": 2, "maximum": 8},
        "exec": False,
        "monthly_budget": 2500,
    },
}
