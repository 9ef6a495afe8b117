"""Container runtimes: how a command is run in an image, as text."""
