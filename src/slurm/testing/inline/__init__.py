"""The scheduler and the transport of `Cluster("inline")`: elements run in this process, failures on request."""
