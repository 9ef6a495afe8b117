"""Clusters: the class that users construct, its environments and their removal, and the cluster of a workflow."""
