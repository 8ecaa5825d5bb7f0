/* The implementation of lunet.h, which is C. */
#define LUNET_IMPLEMENTATION
#include "lunet.h"
