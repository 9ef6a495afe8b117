"""Clusters: what users construct, its environments, the cluster inside a workflow, and the removal of environments."""
