from slurm import Cluster, task


@task(time="00:10:00", mem="1G")
def invert(x: float) -> float:
    print(f"inverting {x}")
    return 1 / x


with Cluster("local"):  # "slurm" on a login node, "slurm+ssh://login" on a laptop
    print(invert.map([1, 2, 0, 4]).results(return_exceptions=True))
