"""Kubernetes for DNS: the objects of the API, the watch that keeps them current, and their DNS records.

This package is pure.
"""
