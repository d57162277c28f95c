"""Producers turn objects into DNS records. Each kind of record has its own file.

`pydns.kube.producer` defines their protocol.
"""
