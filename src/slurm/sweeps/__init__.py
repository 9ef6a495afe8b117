"""Parameter sweeps: one function, many points, several clusters at once."""
