"""External zones: the names with which clients outside of the cluster reach Services, Ingresses and Gateways.

The producer is `pydns.kube.producers.external`.

exposure    the fields of an object that external names need: annotations, addresses of the load balancer
hostnames   the parser for the values of annotations
claims      the records that an object claims for a name, and the rules for a name that several objects claim
source      the protocol of sources, which turn objects into claims
"""
