"""Producers turn objects into DNS records. Each producer has its own file.

`pydns.kube.producer` defines their protocol.
"""
