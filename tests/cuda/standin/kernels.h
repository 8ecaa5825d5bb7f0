/* The kernels that a library registers with the runtime, and for which GPUs it holds machine code of them. */
#ifndef KERNELS_H
#define KERNELS_H

/* The name of a kernel by the address of its host stub, "?" if it never was registered. */
const char *kernel_name(const void *function);

/* 1 when the fat binary of this kernel has machine code (or PTX) that the capability can run. */
int kernel_runs_on(const void *function, int capability);

#endif
