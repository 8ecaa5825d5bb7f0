/* A stand-in for libcublas.so.13: products are named in the log and never computed. */
#include "standin.h"

typedef struct {
    int math_mode; /* 3: CUBLAS_TF32_TENSOR_OP_MATH */
} Context;

Status cublasCreate_v2(Context **context)
{
    *context = calloc(1, sizeof **context);
    return 0;
}

Status cublasDestroy_v2(Context *context)
{
    free(context);
    return 0;
}

Status cublasSetStream_v2(Context *context, Handle stream)
{
    (void)context, (void)stream;
    return 0;
}

Status cublasGetMathMode(const Context *context, int *mode)
{
    *mode = context->math_mode;
    return 0;
}

Status cublasSetMathMode(Context *context, int mode)
{
    context->math_mode = mode;
    standin_log("MATHMODE %d", mode);
    return 0;
}

const char *cublasGetStatusName(Status status)
{
    return status ? "CUBLAS_STATUS_INTERNAL_ERROR" : "CUBLAS_STATUS_SUCCESS";
}

const char *cublasGetStatusString(Status status) { return status ? "an internal operation failed" : "success"; }

LAUNCHES(cublasDgeam)
LAUNCHES(cublasDgemmBatched)
LAUNCHES(cublasDgemmStridedBatched)
LAUNCHES(cublasDgemm_v2)
LAUNCHES(cublasDgetrfBatched)
LAUNCHES(cublasDgetriBatched)
LAUNCHES(cublasGemmBatchedEx)
LAUNCHES(cublasGemmEx)
LAUNCHES(cublasGemmStridedBatchedEx)
LAUNCHES(cublasScopy_v2)
LAUNCHES(cublasSgeam)
LAUNCHES(cublasSgemmBatched)
LAUNCHES(cublasSgemmStridedBatched)
LAUNCHES(cublasSgemm_v2)
LAUNCHES(cublasSgetrfBatched)
LAUNCHES(cublasSgetriBatched)
LAUNCHES(cublasSscal_v2)
