/* A stand-in for libcuda.so.1: the few questions that a program asks the driver itself. Needs no other library. */
#include <stdio.h>

#include "standin.h"

typedef int Result;

static int initialised;

Result cuInit(unsigned flags)
{
    (void)flags;
    if (device_count() < 1)
        return NO_DEVICE;
    initialised = 1;
    return SUCCESS;
}

Result cuDriverGetVersion(int *version)
{
    *version = driver_version();
    return SUCCESS;
}

Result cuDeviceGetCount(int *count)
{
    *count = 0;
    if (!initialised)
        return NOT_INITIALIZED;
    *count = device_count();
    return SUCCESS;
}

static Result device_error(int device)
{
    if (!initialised)
        return NOT_INITIALIZED;
    return device < 0 || device >= device_count() ? INVALID_DEVICE : SUCCESS;
}

Result cuDeviceGet(int *device, int ordinal)
{
    if (device_error(ordinal))
        return device_error(ordinal);
    *device = ordinal;
    return SUCCESS;
}

Result cuDeviceGetName(char *name, int length, int device)
{
    if (device_error(device))
        return device_error(device);
    snprintf(name, (size_t)length, "%s", DEVICE_NAME);
    return SUCCESS;
}

Result cuDeviceGetAttribute(int *value, int attribute, int device)
{
    if (device_error(device))
        return device_error(device);
    *value = device_attribute(attribute);
    return SUCCESS;
}

Result cuDeviceTotalMem_v2(size_t *size, int device)
{
    if (device_error(device))
        return device_error(device);
    *size = DEVICE_MEMORY;
    return SUCCESS;
}

/* Contexts: which device is the thread's current one, and who waits for which. */

static _Thread_local int current[16], depth; /* a stack of devices; what is below it belongs to the runtime */

static void note(const char *what, int device)
{
    const char *path = getenv("CUDASTANDIN_LOG");
    FILE *file = path && *path ? fopen(path, "a") : NULL;
    if (file) {
        fprintf(file, "%s %d\n", what, device);
        fclose(file);
    }
}

/* The handle is the device's number plus 1, so that none is NULL. */
Result cuDevicePrimaryCtxRetain(Handle *context, int device)
{
    if (device_error(device))
        return device_error(device);
    *context = (Handle)(size_t)(device + 1);
    return SUCCESS;
}

Result cuDevicePrimaryCtxRelease_v2(int device) { return device_error(device); }

Result cuCtxPushCurrent_v2(Handle context)
{
    if (depth == sizeof current / sizeof *current)
        return INVALID_VALUE;
    current[depth++] = (int)(size_t)context - 1;
    return SUCCESS;
}

Result cuCtxPopCurrent_v2(Handle *context)
{
    if (depth == 0)
        return INVALID_CONTEXT;
    *context = (Handle)(size_t)(current[--depth] + 1);
    return SUCCESS;
}

Result cuCtxSynchronize(void)
{
    if (depth == 0)
        return INVALID_CONTEXT;
    note("SYNC cuCtxSynchronize", current[depth - 1]);
    return SUCCESS;
}

Result cuTensorMapEncodeTiled(void) { return NOT_SUPPORTED; }

Result cuGetErrorName(Result error, const char **name)
{
    switch (error) {
    case SUCCESS: *name = "CUDA_SUCCESS"; return SUCCESS;
    case INVALID_VALUE: *name = "CUDA_ERROR_INVALID_VALUE"; return SUCCESS;
    case OUT_OF_MEMORY: *name = "CUDA_ERROR_OUT_OF_MEMORY"; return SUCCESS;
    case NOT_INITIALIZED: *name = "CUDA_ERROR_NOT_INITIALIZED"; return SUCCESS;
    case NO_DEVICE: *name = "CUDA_ERROR_NO_DEVICE"; return SUCCESS;
    case INVALID_DEVICE: *name = "CUDA_ERROR_INVALID_DEVICE"; return SUCCESS;
    case NO_KERNEL_IMAGE: *name = "CUDA_ERROR_NO_BINARY_FOR_GPU"; return SUCCESS;
    case NOT_SUPPORTED: *name = "CUDA_ERROR_NOT_SUPPORTED"; return SUCCESS;
    default: *name = NULL; return INVALID_VALUE;
    }
}

Result cuGetErrorString(Result error, const char **text)
{
    switch (error) {
    case SUCCESS: *text = "no error"; return SUCCESS;
    case INVALID_VALUE: *text = "invalid argument"; return SUCCESS;
    case OUT_OF_MEMORY: *text = "out of memory"; return SUCCESS;
    case NOT_INITIALIZED: *text = "initialization error"; return SUCCESS;
    case NO_DEVICE: *text = "no CUDA-capable device is detected"; return SUCCESS;
    case INVALID_DEVICE: *text = "invalid device ordinal"; return SUCCESS;
    case NO_KERNEL_IMAGE: *text = "no kernel image is available for execution on the device"; return SUCCESS;
    case NOT_SUPPORTED: *text = "operation not supported"; return SUCCESS;
    default: *text = NULL; return INVALID_VALUE;
    }
}
