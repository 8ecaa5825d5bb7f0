/* Registration: the static initialisers of a CUDA library hand over their fat binaries and the kernels in them.
 *
 * A fat binary is a header and one entry for each architecture. Machine code of sm_XY runs on capabilities X.Z with
 * Z >= Y; arch-specific code (sm_90a) and PTX are entries of the same form. Only the headers are read.
 */
#include "kernels.h"

#include <stdint.h>
#include <stdlib.h>

#include "standin.h"

enum { WRAPPER_MAGIC = 0x466243b1, BLOB_MAGIC = (int)0xba55ed50, PTX = 1, MACHINE_CODE = 2 };

typedef struct {
    int32_t magic, version;
    const void *blob;
    void *file_name;
} Wrapper; /* what the compiler passes to __cudaRegisterFatBinary */

typedef struct {
    int32_t magic;
    uint16_t version, header_size;
    uint64_t size; /* of all entries */
} Blob;

typedef struct {
    uint16_t kind, flags;
    uint32_t header_size;
    uint64_t size; /* of what follows the header */
    uint32_t compressed_size, unused;
    uint16_t minor, major;
    uint32_t architecture; /* 10 * major + minor */
} Entry;

_Static_assert(offsetof(Entry, architecture) == 28, "an entry names its architecture at byte 28");

typedef struct {
    const void *function;
    const char *name;
    const Blob *blob;
} Kernel;

static Kernel *kernels;
static size_t count, capacity;
static int sorted;

Handle *__cudaRegisterFatBinary(const Wrapper *wrapper)
{
    Handle *handle = malloc(sizeof *handle);
    *handle = wrapper->magic == WRAPPER_MAGIC ? (Handle)wrapper->blob : NULL;
    return handle;
}

void __cudaRegisterFatBinaryEnd(Handle *handle) { (void)handle; }

void __cudaUnregisterFatBinary(Handle *handle) { free(handle); }

void __cudaRegisterFunction(Handle *handle, const void *function, char *device_function, const char *name,
                            int thread_limit, void *thread, void *block, void *block_size, void *grid_size,
                            int *warp_size)
{
    (void)device_function, (void)thread_limit, (void)thread, (void)block, (void)block_size, (void)grid_size;
    (void)warp_size;
    if (count == capacity) {
        capacity = capacity ? 2 * capacity : 4096;
        kernels = realloc(kernels, capacity * sizeof *kernels);
    }
    kernels[count++] = (Kernel){function, name, *handle};
    sorted = 0;
}

void __cudaRegisterVar(Handle *handle, char *host, char *address, const char *name, int external, size_t size,
                       int constant, int global)
{
    (void)handle, (void)host, (void)address, (void)name, (void)external, (void)size, (void)constant, (void)global;
}

static int by_address(const void *a, const void *b)
{
    uintptr_t left = (uintptr_t)((const Kernel *)a)->function, right = (uintptr_t)((const Kernel *)b)->function;
    return (left > right) - (left < right);
}

static const Kernel *find(const void *function)
{
    Kernel key = {.function = function};
    if (!sorted) {
        qsort(kernels, count, sizeof *kernels, by_address);
        sorted = 1;
    }
    return count ? bsearch(&key, kernels, count, sizeof *kernels, by_address) : NULL;
}

const char *kernel_name(const void *function)
{
    const Kernel *kernel = find(function);
    return kernel ? kernel->name : "?";
}

int kernel_runs_on(const void *function, int capability)
{
    const Kernel *kernel = find(function);
    if (!kernel || !kernel->blob || kernel->blob->magic != BLOB_MAGIC)
        return 1; /* nothing is known about it */
    const char *here = (const char *)kernel->blob + kernel->blob->header_size, *end = here + kernel->blob->size;
    while (here < end) {
        const Entry *entry = (const Entry *)here;
        int architecture = (int)entry->architecture;
        if (entry->kind == PTX && architecture <= capability)
            return 1;
        if (entry->kind == MACHINE_CODE && architecture / 10 == capability / 10 && architecture <= capability)
            return 1;
        here += entry->header_size + entry->size;
    }
    return 0;
}
