/* What the stand-in libraries share: the settings of the pretended machine, and one log of every call.
 *
 * CUDASTANDIN_LOG=FILE      appends a line a call
 * CUDASTANDIN_CC=86         compute capability, 10 * major + minor
 * CUDASTANDIN_DEVICES=1     number of devices
 * CUDASTANDIN_DRIVER=13000  CUDA version of the driver, 1000 * major + 10 * minor
 */
#ifndef STANDIN_H
#define STANDIN_H

#include <stddef.h>
#include <stdlib.h>

typedef void *Handle; /* streams, events, graphs, modules: never looked into */

#define RUNTIME_VERSION 13000
#define DEVICE_MEMORY (24ull << 30)
#define DEVICE_NAME "Stand-in GPU"

/* Numbers that the runtime (cudaError_t) and the driver (CUresult) share. */
enum {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    INSUFFICIENT_DRIVER = 35, /* of the runtime only */
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201, /* of the driver only */
    NO_KERNEL_IMAGE = 209,
    NOT_FOUND = 500,
    NOT_SUPPORTED = 801,
};

/* Attributes that the runtime and the driver number alike. */
enum {
    MAX_THREADS_PER_BLOCK = 1,
    MAX_SHARED_MEMORY_PER_BLOCK = 8,
    WARP_SIZE = 10,
    MULTIPROCESSOR_COUNT = 16,
    MAX_THREADS_PER_MULTIPROCESSOR = 39,
    COMPUTE_CAPABILITY_MAJOR = 75,
    COMPUTE_CAPABILITY_MINOR = 76,
    MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97,
};

static inline int setting(const char *name, int otherwise)
{
    const char *text = getenv(name);
    return text && *text ? atoi(text) : otherwise;
}

static inline int compute_capability(void) { return setting("CUDASTANDIN_CC", 86); }
static inline int device_count(void) { return setting("CUDASTANDIN_DEVICES", 1); }
static inline int driver_version(void) { return setting("CUDASTANDIN_DRIVER", RUNTIME_VERSION); }

/* The answer of cuDeviceGetAttribute and cudaDeviceGetAttribute: an ordinary GPU of that capability. */
static inline int device_attribute(int attribute)
{
    switch (attribute) {
    case MAX_THREADS_PER_BLOCK: return 1024;
    case MAX_SHARED_MEMORY_PER_BLOCK: return 49152;
    case WARP_SIZE: return 32;
    case MULTIPROCESSOR_COUNT: return 84;
    case MAX_THREADS_PER_MULTIPROCESSOR: return 1536;
    case COMPUTE_CAPABILITY_MAJOR: return compute_capability() / 10;
    case COMPUTE_CAPABILITY_MINOR: return compute_capability() % 10;
    case MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: return 101376;
    default: return 0;
    }
}

/* Defined in cudart.c, which the cuBLAS libraries link: one log, in the order of the calls. */
void standin_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

typedef int Status; /* of cuBLAS; 0 is success */

/* A function of cuBLAS that gives the device work. Declared without arguments, it may be called with any on the
 * platforms that the wheel is made for. */
#define LAUNCHES(function)                  \
    Status function(void)                   \
    {                                       \
        standin_log("CUBLAS " #function);   \
        return 0;                           \
    }

#endif
