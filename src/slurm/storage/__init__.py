"""Storage: job directories over a transport: records, results, log tails, and the zip that holds the runner."""
