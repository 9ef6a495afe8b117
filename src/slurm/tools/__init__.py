"""External tools: run directories, manifests, stages, and a dry run, for programs that other people wrote."""
