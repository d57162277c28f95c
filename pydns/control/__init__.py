"""The controller watches the cluster, compiles the changes and writes them to the answer table."""
