"""Kubernetes for DNS: API objects, the watch that keeps them current, and their DNS records. This package is pure."""
