/* A stand-in for libcudart.so.13 that needs no GPU, no driver and no CUDA headers.
 *
 * Device memory is host memory. Copies are made, kernels are named in the log and never executed: the numbers that
 * come out of a session mean nothing. Layouts of structs are those of CUDA 13.0.
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kernels.h"
#include "standin.h"

typedef int Error;
typedef struct {
    unsigned x, y, z;
} Extent;

/* ---- log */

static int capturing; /* between cudaStreamBeginCapture and cudaStreamEndCapture */

static FILE *log_file(void)
{
    static FILE *file;
    static int opened;
    if (!opened) {
        const char *path = getenv("CUDASTANDIN_LOG");
        opened = 1;
        if (path && *path && (file = fopen(path, "a")))
            setvbuf(file, NULL, _IOLBF, 0);
    }
    return file;
}

void standin_log(const char *format, ...)
{
    FILE *file = log_file();
    if (!file)
        return;
    va_list arguments;
    va_start(arguments, format);
    if (capturing)
        fputs("captured ", file);
    vfprintf(file, format, arguments);
    fputc('\n', file);
    va_end(arguments);
}

/* For the test program: a line that parts what came before from what comes now. */
void standin_mark(const char *text) { standin_log("MARK %s", text); }

/* ---- errors */

static _Thread_local Error last_error;

static Error answer(Error error)
{
    if (error)
        last_error = error;
    return error;
}

/* What every call answers that needs a driver and a device. */
static Error machine_error(void)
{
    if (driver_version() < RUNTIME_VERSION)
        return INSUFFICIENT_DRIVER;
    return device_count() < 1 ? NO_DEVICE : SUCCESS;
}

#define NEED_DEVICE()                          \
    do {                                       \
        if (machine_error())                   \
            return answer(machine_error());    \
    } while (0)

Error cudaGetLastError(void)
{
    Error error = machine_error() ? machine_error() : last_error;
    last_error = SUCCESS;
    return error;
}

Error cudaPeekAtLastError(void) { return machine_error() ? machine_error() : last_error; }

const char *cudaGetErrorName(Error error)
{
    switch (error) {
    case SUCCESS: return "cudaSuccess";
    case INVALID_VALUE: return "cudaErrorInvalidValue";
    case OUT_OF_MEMORY: return "cudaErrorMemoryAllocation";
    case INSUFFICIENT_DRIVER: return "cudaErrorInsufficientDriver";
    case NO_DEVICE: return "cudaErrorNoDevice";
    case INVALID_DEVICE: return "cudaErrorInvalidDevice";
    case NO_KERNEL_IMAGE: return "cudaErrorNoKernelImageForDevice";
    case NOT_FOUND: return "cudaErrorSymbolNotFound";
    case NOT_SUPPORTED: return "cudaErrorNotSupported";
    default: return "unrecognized error code";
    }
}

const char *cudaGetErrorString(Error error)
{
    switch (error) {
    case SUCCESS: return "no error";
    case INVALID_VALUE: return "invalid argument";
    case OUT_OF_MEMORY: return "out of memory";
    case INSUFFICIENT_DRIVER: return "CUDA driver version is insufficient for CUDA runtime version";
    case NO_DEVICE: return "no CUDA-capable device is detected";
    case INVALID_DEVICE: return "invalid device ordinal";
    case NO_KERNEL_IMAGE: return "no kernel image is available for execution on the device";
    case NOT_FOUND: return "named symbol not found";
    case NOT_SUPPORTED: return "operation not supported";
    default: return "unrecognized error code";
    }
}

/* ---- devices */

static _Thread_local int current_device;

Error cudaDriverGetVersion(int *version)
{
    *version = driver_version();
    return SUCCESS;
}

Error cudaRuntimeGetVersion(int *version)
{
    *version = RUNTIME_VERSION;
    return SUCCESS;
}

Error cudaGetDeviceCount(int *count)
{
    *count = 0;
    NEED_DEVICE();
    *count = device_count();
    return SUCCESS;
}

Error cudaGetDevice(int *device)
{
    NEED_DEVICE();
    *device = current_device;
    return SUCCESS;
}

Error cudaSetDevice(int device)
{
    NEED_DEVICE();
    if (device < 0 || device >= device_count())
        return answer(INVALID_DEVICE);
    current_device = device;
    return SUCCESS;
}

/* cudaDeviceProp, with the fields between those that are filled in left out. */
typedef struct {
    char name[256], uuid[16], luid[8];
    unsigned luid_node_mask;
    size_t total_global_memory, shared_memory_per_block;
    int registers_per_block, warp_size;
    size_t memory_pitch;
    int max_threads_per_block, max_threads_extent[3], max_grid_size[3];
    size_t total_constant_memory;
    int major, minor;
    size_t texture_alignment, texture_pitch_alignment;
    int multiprocessor_count, textures_and_surfaces[41];
    size_t surface_alignment;
    int concurrent_kernels, pci_and_ecc[5], async_engine_count, unified_addressing, memory_bus_width, l2_cache_size;
    int persisting_l2_cache_size, max_threads_per_multiprocessor, caching[3];
    size_t shared_memory_per_multiprocessor;
    int registers_per_multiprocessor, abilities[9];
    size_t shared_memory_per_block_optin;
    char later[328];
} Properties;

_Static_assert(offsetof(Properties, total_global_memory) == 288, "cudaDeviceProp.totalGlobalMem");
_Static_assert(offsetof(Properties, major) == 360, "cudaDeviceProp.major");
_Static_assert(offsetof(Properties, multiprocessor_count) == 384, "cudaDeviceProp.multiProcessorCount");
_Static_assert(offsetof(Properties, concurrent_kernels) == 560, "cudaDeviceProp.concurrentKernels");
_Static_assert(offsetof(Properties, max_threads_per_multiprocessor) == 604, "maxThreadsPerMultiProcessor");
_Static_assert(offsetof(Properties, shared_memory_per_block_optin) == 672, "cudaDeviceProp.sharedMemPerBlockOptin");
_Static_assert(sizeof(Properties) == 1008, "cudaDeviceProp of CUDA 13.0");

Error cudaGetDeviceProperties(Properties *properties, int device)
{
    NEED_DEVICE();
    if (device < 0 || device >= device_count())
        return answer(INVALID_DEVICE);
    *properties = (Properties){
        .name = DEVICE_NAME,
        .total_global_memory = DEVICE_MEMORY,
        .shared_memory_per_block = 49152,
        .registers_per_block = 65536,
        .warp_size = 32,
        .max_threads_per_block = 1024,
        .max_threads_extent = {1024, 1024, 64},
        .max_grid_size = {2147483647, 65535, 65535},
        .total_constant_memory = 65536,
        .major = compute_capability() / 10,
        .minor = compute_capability() % 10,
        .multiprocessor_count = 84,
        .concurrent_kernels = 1,
        .async_engine_count = 2,
        .unified_addressing = 1,
        .memory_bus_width = 384,
        .l2_cache_size = 6 << 20,
        .max_threads_per_multiprocessor = 1536,
        .shared_memory_per_multiprocessor = 102400,
        .registers_per_multiprocessor = 65536,
        .shared_memory_per_block_optin = 101376,
    };
    return SUCCESS;
}

Error cudaDeviceGetAttribute(int *value, int attribute, int device)
{
    NEED_DEVICE();
    if (device < 0 || device >= device_count())
        return answer(INVALID_DEVICE);
    *value = device_attribute(attribute);
    return SUCCESS;
}

Error cudaDeviceSynchronize(void)
{
    standin_log("SYNC cudaDeviceSynchronize");
    return answer(machine_error());
}

Error cudaMemGetInfo(size_t *available, size_t *total)
{
    NEED_DEVICE();
    *available = DEVICE_MEMORY - (1ull << 30);
    *total = DEVICE_MEMORY;
    return SUCCESS;
}

/* ---- memory */

static Error allocate(void **pointer, size_t size, const char *function)
{
    NEED_DEVICE();
    standin_log("ALLOC %s %zu", function, size);
    if (posix_memalign(pointer, 256, size ? size : 256))
        return answer(OUT_OF_MEMORY);
    memset(*pointer, 0, size);
    return SUCCESS;
}

static Error release(void *pointer, const char *function)
{
    standin_log("FREE %s", function);
    free(pointer);
    return SUCCESS;
}

Error cudaMalloc(void **pointer, size_t size) { return allocate(pointer, size, "cudaMalloc"); }

Error cudaMallocHost(void **pointer, size_t size) { return allocate(pointer, size, "cudaMallocHost"); }

Error cudaHostAlloc(void **pointer, size_t size, unsigned flags)
{
    (void)flags;
    return allocate(pointer, size, "cudaHostAlloc");
}

Error cudaMallocFromPoolAsync(void **pointer, size_t size, Handle pool, Handle stream)
{
    (void)pool, (void)stream;
    return allocate(pointer, size, "cudaMallocFromPoolAsync");
}

Error cudaFree(void *pointer) { return release(pointer, "cudaFree"); }

Error cudaFreeHost(void *pointer) { return release(pointer, "cudaFreeHost"); }

Error cudaFreeAsync(void *pointer, Handle stream)
{
    (void)stream;
    return release(pointer, "cudaFreeAsync");
}

static const char *const DIRECTION[] = {"H2H", "H2D", "D2H", "D2D", "any"}; /* cudaMemcpyKind */

static Error copy(void *target, const void *source, size_t size, int kind, const char *function)
{
    NEED_DEVICE();
    standin_log("COPY %s %s %zu", DIRECTION[kind], function, size);
    memmove(target, source, size);
    return SUCCESS;
}

Error cudaMemcpy(void *target, const void *source, size_t size, int kind)
{
    return copy(target, source, size, kind, "cudaMemcpy");
}

Error cudaMemcpyAsync(void *target, const void *source, size_t size, int kind, Handle stream)
{
    (void)stream;
    return copy(target, source, size, kind, "cudaMemcpyAsync");
}

Error cudaMemcpy2DAsync(void *target, size_t target_pitch, const void *source, size_t source_pitch, size_t width,
                        size_t height, int kind, Handle stream)
{
    (void)stream;
    NEED_DEVICE();
    standin_log("COPY %s cudaMemcpy2DAsync %zu", DIRECTION[kind], width * height);
    for (size_t row = 0; row < height; row++)
        memmove((char *)target + row * target_pitch, (const char *)source + row * source_pitch, width);
    return SUCCESS;
}

/* Variables on the device have no value here: zeros. */
Error cudaMemcpyFromSymbol(void *target, const void *symbol, size_t size, size_t offset, int kind)
{
    (void)symbol, (void)offset;
    NEED_DEVICE();
    standin_log("COPY %s cudaMemcpyFromSymbol %zu", DIRECTION[kind], size);
    memset(target, 0, size);
    return SUCCESS;
}

static Error fill(void *target, int value, size_t size, const char *function)
{
    NEED_DEVICE();
    standin_log("MEMSET %s %zu", function, size);
    memset(target, value, size);
    return SUCCESS;
}

Error cudaMemset(void *target, int value, size_t size) { return fill(target, value, size, "cudaMemset"); }

Error cudaMemsetAsync(void *target, int value, size_t size, Handle stream)
{
    (void)stream;
    return fill(target, value, size, "cudaMemsetAsync");
}

/* cudaPointerAttributes: the kind of memory (2: of a device), whose it is, and its two addresses. */
typedef struct {
    int type, device;
    const void *device_pointer, *host_pointer;
    long reserved[8];
} PointerAttributes;

Error cudaPointerGetAttributes(PointerAttributes *attributes, const void *pointer)
{
    NEED_DEVICE();
    *attributes = (PointerAttributes){.type = 2, .device = current_device, .device_pointer = pointer};
    return SUCCESS;
}

static Error new_handle(Handle *handle)
{
    static size_t next = 0x100000;
    NEED_DEVICE();
    *handle = (Handle)(next += 16);
    return SUCCESS;
}

Error cudaMemPoolCreate(Handle *pool, const void *properties)
{
    (void)properties;
    return new_handle(pool);
}

Error cudaMemPoolDestroy(Handle pool)
{
    (void)pool;
    return SUCCESS;
}

Error cudaMemPoolGetAttribute(Handle pool, int attribute, unsigned long long *value)
{
    (void)pool, (void)attribute;
    *value = 0;
    return SUCCESS;
}

Error cudaMemPoolSetAttribute(Handle pool, int attribute, void *value)
{
    (void)pool, (void)attribute, (void)value;
    return SUCCESS;
}

Error cudaMemPoolTrimTo(Handle pool, size_t size)
{
    (void)pool, (void)size;
    return SUCCESS;
}

/* ---- streams and events */

Error cudaStreamCreate(Handle *stream) { return new_handle(stream); }

Error cudaStreamCreateWithFlags(Handle *stream, unsigned flags)
{
    (void)flags;
    return new_handle(stream);
}

Error cudaStreamDestroy(Handle stream)
{
    (void)stream;
    return SUCCESS;
}

Error cudaStreamSynchronize(Handle stream)
{
    (void)stream;
    NEED_DEVICE();
    standin_log("SYNC cudaStreamSynchronize");
    return SUCCESS;
}

Error cudaStreamWaitEvent(Handle stream, Handle event, unsigned flags)
{
    (void)stream, (void)event, (void)flags;
    standin_log("CALL cudaStreamWaitEvent");
    return SUCCESS;
}

Error cudaEventCreate(Handle *event) { return new_handle(event); }

Error cudaEventCreateWithFlags(Handle *event, unsigned flags)
{
    (void)flags;
    return new_handle(event);
}

Error cudaEventDestroy(Handle event)
{
    (void)event;
    return SUCCESS;
}

Error cudaEventElapsedTime(float *milliseconds, Handle start, Handle end)
{
    (void)start, (void)end;
    *milliseconds = 1;
    return SUCCESS;
}

Error cudaEventRecord(Handle event, Handle stream)
{
    (void)event, (void)stream;
    return SUCCESS;
}

Error cudaEventRecordWithFlags(Handle event, Handle stream, unsigned flags)
{
    (void)event, (void)stream, (void)flags;
    return SUCCESS;
}

Error cudaEventSynchronize(Handle event)
{
    (void)event;
    standin_log("SYNC cudaEventSynchronize");
    return SUCCESS;
}

/* ---- CUDA graphs */

Error cudaStreamBeginCapture(Handle stream, int mode)
{
    (void)stream, (void)mode;
    standin_log("CAPTURE BEGIN");
    capturing = 1;
    return SUCCESS;
}

Error cudaStreamEndCapture(Handle stream, Handle *graph)
{
    (void)stream;
    capturing = 0;
    standin_log("CAPTURE END");
    return new_handle(graph);
}

Error cudaStreamIsCapturing(Handle stream, int *status)
{
    (void)stream;
    *status = capturing;
    return SUCCESS;
}

Error cudaGraphInstantiate(Handle *executable, Handle graph, unsigned long long flags)
{
    (void)graph, (void)flags;
    return new_handle(executable);
}

Error cudaGraphLaunch(Handle executable, Handle stream)
{
    (void)executable, (void)stream;
    standin_log("REPLAY");
    return SUCCESS;
}

Error cudaGraphDestroy(Handle graph)
{
    (void)graph;
    return SUCCESS;
}

Error cudaGraphExecDestroy(Handle executable)
{
    (void)executable;
    return SUCCESS;
}

/* ---- launches */

static _Thread_local struct {
    Extent grid, block;
    size_t shared_memory;
    Handle stream;
} configuration; /* of the <<<...>>> that is being called */

unsigned __cudaPushCallConfiguration(Extent grid, Extent block, size_t shared_memory, Handle stream)
{
    configuration.grid = grid;
    configuration.block = block;
    configuration.shared_memory = shared_memory;
    configuration.stream = stream;
    return 0;
}

Error __cudaPopCallConfiguration(Extent *grid, Extent *block, size_t *shared_memory, Handle *stream)
{
    *grid = configuration.grid;
    *block = configuration.block;
    *shared_memory = configuration.shared_memory;
    *stream = configuration.stream;
    return SUCCESS;
}

static Error launch(const void *function)
{
    NEED_DEVICE();
    if (!kernel_runs_on(function, compute_capability()))
        return answer(NO_KERNEL_IMAGE);
    standin_log("KERNEL %s", kernel_name(function));
    return SUCCESS;
}

/* Kernel handles are the addresses of the host stubs. */
Error __cudaGetKernel(const void **kernel, const void *function)
{
    *kernel = function;
    return SUCCESS;
}

Error __cudaLaunchKernel(const void *kernel, Extent grid, Extent block, void **arguments, size_t shared_memory,
                         Handle stream)
{
    (void)grid, (void)block, (void)arguments, (void)shared_memory, (void)stream;
    return launch(kernel);
}

Error cudaLaunchKernel(const void *function, Extent grid, Extent block, void **arguments, size_t shared_memory,
                       Handle stream)
{
    return __cudaLaunchKernel(function, grid, block, arguments, shared_memory, stream);
}

Error cudaLaunchCooperativeKernel(const void *function, Extent grid, Extent block, void **arguments,
                                  size_t shared_memory, Handle stream)
{
    return __cudaLaunchKernel(function, grid, block, arguments, shared_memory, stream);
}

Error cudaLaunchKernelExC(const void *config, const void *function, void **arguments)
{
    (void)config, (void)arguments;
    return launch(function);
}

Error cudaLaunchHostFunc(Handle stream, void (*function)(void *), void *data)
{
    (void)stream;
    standin_log("CALL cudaLaunchHostFunc");
    if (!capturing)
        function(data);
    return SUCCESS;
}

/* cudaFuncAttributes, whose later fields stay 0. */
typedef struct {
    size_t shared_size, constant_size, local_size;
    int max_threads_per_block, registers, ptx_version, binary_version;
    char later[104];
} FunctionAttributes;

_Static_assert(sizeof(FunctionAttributes) == 144, "cudaFuncAttributes of CUDA 13.0");

Error cudaFuncGetAttributes(FunctionAttributes *attributes, const void *function)
{
    NEED_DEVICE();
    if (!kernel_runs_on(function, compute_capability()))
        return answer(NO_KERNEL_IMAGE);
    *attributes = (FunctionAttributes){
        .max_threads_per_block = 1024,
        .registers = 32,
        .ptx_version = compute_capability(),
        .binary_version = compute_capability(),
    };
    return SUCCESS;
}

Error cudaFuncSetAttribute(const void *function, int attribute, int value)
{
    (void)function, (void)attribute, (void)value;
    return answer(machine_error());
}

Error cudaKernelSetAttributeForDevice(Handle kernel, int attribute, int value, int device)
{
    (void)kernel, (void)attribute, (void)value, (void)device;
    return answer(machine_error());
}

Error cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *function, int block_size,
                                                             size_t shared_memory, unsigned flags)
{
    (void)function, (void)block_size, (void)shared_memory, (void)flags;
    *blocks = 2;
    return SUCCESS;
}

/* ---- what is loaded by name: there is none */

Error cudaGetDriverEntryPointByVersion(const char *symbol, void **function, unsigned version,
                                       unsigned long long flags, int *result)
{
    (void)symbol, (void)version, (void)flags;
    *function = NULL;
    if (result)
        *result = 1; /* cudaDriverEntryPointSymbolNotFound */
    return answer(NOT_FOUND);
}

Error cudaLibraryLoadData(Handle *library, const void *code, void *jit_options, void **jit_values, unsigned jit_count,
                          void *options, void **values, unsigned count)
{
    (void)library, (void)code, (void)jit_options, (void)jit_values, (void)jit_count, (void)options, (void)values;
    (void)count;
    return answer(NOT_FOUND);
}

Error cudaLibraryGetKernel(Handle *kernel, Handle library, const char *name)
{
    (void)kernel, (void)library, (void)name;
    return answer(NOT_FOUND);
}

Error cudaLibraryUnload(Handle library)
{
    (void)library;
    return SUCCESS;
}
