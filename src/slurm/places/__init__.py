"""Places: a transport, a scheduler, a store and a tracker, put together from a URL."""
