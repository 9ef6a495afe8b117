"""Files of HPC Sweep Manager: read as they are, or imported as a sweep and a Slurmfile."""
