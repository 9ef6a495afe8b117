"""Former home of the cluster that a workflow submits to; `submission.json` names it."""

from slurm.clusters.workflow_cluster import WorkflowCluster  # noqa: F401
