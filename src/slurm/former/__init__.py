"""Former module names that pickled handles and records of earlier versions contain.

`slurm.__path__` ends with this directory, so that `slurm.job` is found here. Nothing else imports these modules.
"""
