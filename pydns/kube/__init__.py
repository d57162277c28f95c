"""Kubernetes as DNS sees it: API objects, the watch that keeps them current, and the records that they mean. Pure."""
