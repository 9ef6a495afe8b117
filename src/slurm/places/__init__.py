"""Places: a transport, a scheduler, a store and a tracker, made from a URL."""
