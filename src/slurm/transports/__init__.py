"""Transports: how a command is run *there* and how bytes get there and back."""
