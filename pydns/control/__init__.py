"""The controller: watches the cluster, compiles what changed and writes it to the answer table."""
