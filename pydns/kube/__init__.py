"""What pydns knows about Kubernetes: the objects of the API, the watches that keep them current, and their DNS records.

This package is pure.
"""
