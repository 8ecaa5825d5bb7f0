/* A stand-in for libcublasLt.so.13: products are named in the log and never computed. */
#include "standin.h"

#define CREATES(function)                   \
    Status function(Handle *handle)         \
    {                                       \
        *handle = malloc(1);                \
        return 0;                           \
    }

#define DESTROYS(function)                  \
    Status function(Handle handle)          \
    {                                       \
        free(handle);                       \
        return 0;                           \
    }

#define ACCEPTS(function)                   \
    Status function(void) { return 0; }

LAUNCHES(cublasLtMatmul)
LAUNCHES(cublasLtMatrixTransform)

CREATES(cublasLtCreate)
CREATES(cublasLtMatmulDescCreate)
CREATES(cublasLtMatmulPreferenceCreate)
CREATES(cublasLtMatrixLayoutCreate)
CREATES(cublasLtMatrixTransformDescCreate)

DESTROYS(cublasLtDestroy)
DESTROYS(cublasLtMatmulDescDestroy)
DESTROYS(cublasLtMatmulPreferenceDestroy)
DESTROYS(cublasLtMatrixLayoutDestroy)
DESTROYS(cublasLtMatrixTransformDescDestroy)

ACCEPTS(cublasLtMatmulAlgoConfigSetAttribute)
ACCEPTS(cublasLtMatmulAlgoGetHeuristic)
ACCEPTS(cublasLtMatmulAlgoInit)
ACCEPTS(cublasLtMatmulDescSetAttribute)
ACCEPTS(cublasLtMatmulPreferenceSetAttribute)
ACCEPTS(cublasLtMatrixLayoutSetAttribute)
