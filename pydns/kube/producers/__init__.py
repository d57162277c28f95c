"""Producers: one file for each sort of records that objects make. `pydns.kube.producer` has the protocol."""
