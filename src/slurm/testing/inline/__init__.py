"""The scheduler and the transport of `Cluster("inline")`: elements run in this process, and fail on request."""
