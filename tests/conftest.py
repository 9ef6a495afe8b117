"""Fixtures that all tests share: clusters of both kinds, each test in a root of its own."""

pytest_plugins = ["testbed.fixtures"]
