/* Stand-ins for TensorRT, its ONNX parser and cuDNN, good for one thing: the TensorRT provider can be constructed.
 *
 * Every object is one whose methods all answer 0.
 */
#include <stddef.h>

enum { METHODS = 512 };

typedef long (*Method)(void);

static long nothing(void) { return 0; }

/* An object begins with the address of the table of its methods. */
static void *object(void)
{
    static Method methods[METHODS];
    static Method *first_word = methods;
    for (int method = 0; method < METHODS; method++)
        methods[method] = nothing;
    return &first_word;
}

int getInferLibVersion(void) { return 101300; } /* 10.13.0 */

void *createInferBuilder_INTERNAL(void) { return object(); }
void *createInferRefitter_INTERNAL(void) { return object(); }
void *createInferRuntime_INTERNAL(void) { return object(); }
void *createNvOnnxParserRefitter_INTERNAL(void) { return object(); }
void *createNvOnnxParser_INTERNAL(void) { return object(); }
void *getPluginRegistry(void) { return object(); }

int cudnnCreate(void **handle)
{
    *handle = object();
    return 0;
}

int cudnnDestroy(void *handle)
{
    (void)handle;
    return 0;
}

int cudnnSetStream(void *handle, void *stream)
{
    (void)handle, (void)stream;
    return 0;
}
