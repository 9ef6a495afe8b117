"""Container runtimes: the shell text that runs a command in an image."""
