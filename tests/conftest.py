"""What all tests share: servers have no fixed ports and don't wait for late queries, unless a test says so."""

import os

os.environ |= {f"PYDNS_{each}": "off" for each in ("HEALTH", "READY", "METRICS")}
os.environ["PYDNS_DRAIN_QUIET"] = "0"
