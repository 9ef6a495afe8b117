"""Support for tests of programs and plug-ins that use this package; no other module imports it."""
