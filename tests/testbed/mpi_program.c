/* Adds up a one of each process of its world, and writes the sum, the size of the world, and a path of its library. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <mpi.h>
#include <stdio.h>

int main(int argc, char **argv) {
    int size, sum, one = 1;
    Dl_info library;
    MPI_Init(&argc, &argv);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    MPI_Allreduce(&one, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    dladdr((void *)MPI_Init, &library);
    printf("%d of %d by %s\n", sum, size, library.dli_fname);
    MPI_Finalize();
    return 0;
}
