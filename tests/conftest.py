"""What all tests share, unless one says otherwise: servers have no fixed ports, don't wait, and ask nobody outside."""

import os

os.environ |= {f"PYDNS_{each}": "off" for each in ("HEALTH", "READY", "METRICS")}
os.environ["PYDNS_DRAIN_QUIET"] = "0"
os.environ["PYDNS_RESOLV_CONF"] = os.devnull
