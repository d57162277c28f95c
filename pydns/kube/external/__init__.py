"""External zones: names for what leads into the cluster. The producer is `pydns.kube.producers.external`.

exposure    what is read of an object for these names: annotations, addresses of its load balancer
hostnames   the values of annotations
claims      what an object wants a name to have, and who gets it if several want one
"""
