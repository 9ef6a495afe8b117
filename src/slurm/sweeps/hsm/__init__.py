"""Files of HPC Sweep Manager: read them directly, or import them as a sweep and a Slurmfile."""
