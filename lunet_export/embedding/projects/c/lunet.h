/* lunet.h: log-probabilities and samples of an exported folder of lunet_export, with ONNX Runtime. MIT licence.
 *
 * The whole library. One C file of a program needs   #define LUNET_IMPLEMENTATION   before   #include "lunet.h".
 * That file is C11; the others are C or C++. Only libm is linked, and libdl if the C library has one: ONNX Runtime, in
 * any version from 1.16 on, is loaded when a flow is opened. Its headers are not needed.
 *
 * Functions return LUNET_OK or an error code; lunet_error() then returns a sentence. Any number of threads may use an
 * open flow at once. Numbers are double here, and have the dtype of the graphs inside.
 */
#ifndef LUNET_H
#define LUNET_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { LUNET_OK = 0, LUNET_BAD_INPUT = 2, LUNET_RUNTIME = 3, LUNET_SYSTEM = 4 };

typedef struct lunet lunet;

typedef struct lunet_options {
    const char* runtime;  /* path of ONNX Runtime's library; NULL: the system finds it by its usual name */
    const char* provider; /* "cpu" or "cuda"; NULL: "cpu". CUDA runs every node, or opening fails: no silent fallback */
    int threads;          /* number of CPU threads; 0: ONNX Runtime's choice */
    int device;           /* number of the CUDA device */
    int tf32;             /* 1 lets CUDA round the inputs of matrix products to 10 bits of mantissa */
} lunet_options;

/* Open a folder: manifest.json, density.onnx and sampling.onnx; the graphs are verified by their SHA-256. NULL options
 * are the defaults. */
int lunet_open(lunet** flow, const char* folder, const lunet_options* options);
void lunet_close(lunet* flow);

/* The sentence of the last error in this thread. */
const char* lunet_error(void);

const char* lunet_name(const lunet* flow);    /* name of the model */
const char* lunet_kind(const lunet* flow);    /* "lunet", "realnvp", "jko" or "composed" */
const char* lunet_dtype(const lunet* flow);   /* dtype of the graphs: "float32" or "float64" */
const char* lunet_version(const lunet* flow); /* version of ONNX Runtime */
size_t lunet_dim(const lunet* flow);          /* D, numbers per row */
double lunet_levels(const lunet* flow);       /* images lie in [0, levels); 0 for other data */
size_t lunet_context_dim(const lunet* flow);  /* C, numbers per context; 0 for a flow that takes none */

/* Rows that are not finite, x outside the domain of the model, and rows so far out that an answer overflows return
 * LUNET_BAD_INPUT: lunet_error() then names the row, and the numbers written so far are not valid. So does a context
 * that is missing, not taken, of another size or not finite. */

/* log p of rows x, (rows, D), in nats: log_prob (rows,). z (rows, D) may be NULL. */
int lunet_log_prob(const lunet* flow, const double* x, size_t rows, double* log_prob, double* z);

/* z (rows, D) -> x (rows, D). */
int lunet_decode(const lunet* flow, const double* z, size_t rows, double* x);

/* Rows first .. first + rows - 1 of a seed, the same in every language: x (rows, D). Temperature 1 is the model itself.
 */
int lunet_sample(const lunet* flow, uint64_t seed, uint64_t first, size_t rows, double temperature, double* x);

/* The same of a conditional flow, log p(x | c). contexts is the number of contexts: `rows`, one per row, (rows, C); or
 * 1, one for all rows, (C,). They are in their own units. Without a context, NULL, these functions are those above. Row
 * i of a seed has the same z whatever its context. */
int lunet_log_prob_given(const lunet* flow, const double* x, size_t rows, const double* context, size_t contexts,
                         double* log_prob, double* z);
int lunet_decode_given(const lunet* flow, const double* z, size_t rows, const double* context, size_t contexts,
                       double* x);
int lunet_sample_given(const lunet* flow, uint64_t seed, uint64_t first, size_t rows, double temperature,
                       const double* context, size_t contexts, double* x);

/* The number, from 1, of the first column in which one of the contexts lies beyond those of training, where nothing was
 * fitted; 0 if there is none, or if the folder does not say what training had. The ends of a column are in
 * "manifest.json" at "model/context/range/low" and "model/context/range/high". */
size_t lunet_beyond(const lunet* flow, const double* context, size_t contexts);

/* Philox4x32-10, and the standard normal numbers of a row of a seed. */
void lunet_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4]);
void lunet_normal(uint64_t seed, uint64_t row, size_t dim, double* numbers);

/* The numbers at a place of "manifest.json" or "vectors.json", such as "density/tolerance/z", in the order of the text;
 * true is 1, null (no bound) is infinity. count is 0 if there is no such place. Free them with lunet_free. */
int lunet_read(const lunet* flow, const char* file, const char* place, double** numbers, size_t* count);
void lunet_free(double* numbers);

#ifdef __cplusplus
}
#endif
#endif /* LUNET_H */

#if defined(LUNET_IMPLEMENTATION) && !defined(LUNET_IMPLEMENTED)
#define LUNET_IMPLEMENTED
#ifdef __cplusplus
#error "Expected LUNET_IMPLEMENTATION in a C file; this is C++, which may include lunet.h without it."
#endif
#include <errno.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <windows.h>
#define LUNET__CALL __stdcall
#else
#include <dlfcn.h>
#define LUNET__CALL
#endif
#ifdef _MSC_VER
#define LUNET__LOCAL __declspec(thread)
#else
#define LUNET__LOCAL _Thread_local
#endif

/* ---- failures ---- */

static LUNET__LOCAL char lunet__said[1024];

const char* lunet_error(void) { return lunet__said; }

static int lunet__fail(int code, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(lunet__said, sizeof lunet__said, format, arguments);
    va_end(arguments);
    return code;
}

static int lunet__no_memory(void) { return lunet__fail(LUNET_SYSTEM, "Expected memory; the system has none left."); }

/* ---- files, and their SHA-256 (FIPS 180-4) ---- */

typedef struct {
    char* data;
    size_t size;
} lunet__bytes;

#ifdef _WIN32
enum { LUNET__WIDE = 4096 };

static int lunet__wide(const char* path, wchar_t* wide) {
    errno = ENOENT;
    return MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, LUNET__WIDE);
}
#endif

static FILE* lunet__fopen(const char* path) {
#ifdef _WIN32
    wchar_t wide[LUNET__WIDE];
    return lunet__wide(path, wide) ? _wfopen(wide, L"rb") : NULL;
#else
    return fopen(path, "rb");
#endif
}

static int lunet__unreadable(const char* folder, const char* name, int reason) {
    if (reason == ENOENT || reason == ENOTDIR)
        return lunet__fail(LUNET_BAD_INPUT, "Expected %s in %s; it is missing. Export again.", name, folder);
    return lunet__fail(LUNET_SYSTEM, "Expected to read %s in %s; the system says: %s.", name, folder, strerror(reason));
}

/* Read a whole file, and add a zero at its end. */
static int lunet__read_file(const char* folder, const char* name, lunet__bytes* bytes) {
    size_t room = strlen(folder) + strlen(name) + 2, capacity = 1 << 16, got;
    char *path = malloc(room), *grown;
    int reason;
    FILE* file;
    *bytes = (lunet__bytes){NULL, 0};
    if (!path) return lunet__no_memory();
    snprintf(path, room, "%s/%s", folder, name);
    file = lunet__fopen(path);
    reason = errno;
    free(path);
    if (!file) return lunet__unreadable(folder, name, reason);
    do {
        grown = realloc(bytes->data, capacity + 1);
        if (!grown) break;
        bytes->data = grown;
        got = fread(bytes->data + bytes->size, 1, capacity - bytes->size, file);
        bytes->size += got;
        capacity *= 2;
    } while (got && !ferror(file));
    reason = errno;
    got = (size_t)(!grown || ferror(file));
    fclose(file);
    if (got) {
        free(bytes->data);
        bytes->data = NULL;
        return grown ? lunet__unreadable(folder, name, reason) : lunet__no_memory();
    }
    bytes->data[bytes->size] = 0;
    return LUNET_OK;
}

static uint32_t lunet__rotate(uint32_t word, int by) { return word >> by | word << (32 - by); }

static void lunet__sha256_block(uint32_t state[8], const unsigned char* block) {
    static const uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 |
               block[4 * i + 3];
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = lunet__rotate(w[i - 15], 7) ^ lunet__rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = lunet__rotate(w[i - 2], 17) ^ lunet__rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    memcpy(v, state, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = lunet__rotate(v[4], 6) ^ lunet__rotate(v[4], 11) ^ lunet__rotate(v[4], 25);
        uint32_t t1 = v[7] + s1 + ((v[4] & v[5]) ^ (~v[4] & v[6])) + k[i] + w[i];
        uint32_t s0 = lunet__rotate(v[0], 2) ^ lunet__rotate(v[0], 13) ^ lunet__rotate(v[0], 22);
        uint32_t t2 = s0 + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) state[i] += v[i];
}

static void lunet__sha256(const lunet__bytes* bytes, char hex[65]) {
    uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    unsigned char tail[128] = {0};
    size_t whole = bytes->size / 64 * 64, rest = bytes->size - whole, end = rest < 56 ? 64 : 128;
    for (size_t at = 0; at < whole; at += 64) lunet__sha256_block(state, (const unsigned char*)bytes->data + at);
    memcpy(tail, bytes->data + whole, rest);
    tail[rest] = 0x80;
    for (int i = 0; i < 8; i++) tail[end - 1 - (size_t)i] = (unsigned char)((uint64_t)bytes->size * 8 >> 8 * i);
    for (size_t at = 0; at < end; at += 64) lunet__sha256_block(state, tail + at);
    for (int i = 0; i < 8; i++) snprintf(hex + 8 * i, 9, "%08x", (unsigned)state[i]);
}

/* ---- JSON ---- */

typedef struct {
    const char *begin, *end;
} lunet__json; /* text of a value; begin is NULL if there is none */

static const char* lunet__space(const char* at) { return at + strspn(at, " \t\r\n"); }

/* Return the place after the value that begins at `at`, or NULL if it is malformed. The text ends with a zero. */
static const char* lunet__skip(const char* at, int depth) {
    if (*at == '"') {
        for (at++; *at && *at != '"'; at++)
            if (*at == '\\' && !*++at) return NULL;
        return *at ? at + 1 : NULL;
    }
    if (*at == '{' || *at == '[') {
        char close = *at == '{' ? '}' : ']';
        if (depth == 0) return NULL;
        at = lunet__space(at + 1);
        if (*at == close) return at + 1;
        for (;; at = lunet__space(at + 1)) {
            if (close == '}') {
                if (*at != '"' || !(at = lunet__skip(at, 0)) || *(at = lunet__space(at)) != ':') return NULL;
                at = lunet__space(at + 1);
            }
            if (!(at = lunet__skip(at, depth - 1))) return NULL;
            at = lunet__space(at);
            if (*at == close) return at + 1;
            if (*at != ',') return NULL;
        }
    }
    {
        size_t length = strcspn(at, ",]} \t\r\n");
        return length ? at + length : NULL;
    }
}

/* Return the value at a place such as "sha256/density.onnx" of a validated text. */
static lunet__json lunet__at(const char* text, const char* place) {
    const char* at = lunet__space(text);
    while (at && *place) {
        size_t length = strcspn(place, "/");
        if (*at != '{') return (lunet__json){NULL, NULL};
        at = lunet__space(at + 1);
        while (at && *at == '"') {
            const char *key = at + 1, *end = lunet__skip(at, 0);
            int found = (size_t)(end - key) == length + 1 && !memcmp(key, place, length);
            at = lunet__space(lunet__space(end) + 1);
            if (found) break;
            at = lunet__space(lunet__skip(at, 64));
            if (*at != ',') return (lunet__json){NULL, NULL};
            at = lunet__space(at + 1);
        }
        if (!at || *at == '}') return (lunet__json){NULL, NULL};
        place += length + (place[length] == '/');
    }
    return (lunet__json){at, lunet__skip(at, 64)};
}

/* Read a number whatever the decimal point of the program's locale is; in some it has several bytes. */
static double lunet__number(lunet__json value) {
    char digits[64], local[80], *end, *point;
    size_t length = value.begin ? (size_t)(value.end - value.begin) : 0;
    double number;
    if (length == 0 || length >= sizeof digits) return NAN;
    memcpy(digits, value.begin, length);
    digits[length] = 0;
    if (!strcmp(digits, "null")) return INFINITY;
    if (!strcmp(digits, "true") || !strcmp(digits, "false")) return digits[0] == 't';
    point = digits + strcspn(digits, ".");
    snprintf(local, sizeof local, "%.*s%s%s", (int)(point - digits), digits, *point ? localeconv()->decimal_point : "",
             *point ? point + 1 : "");
    number = strtod(local, &end);
    return *end ? NAN : number;
}

static int lunet__is(lunet__json value, const char* word) {
    return value.begin && *value.begin == '"' && (size_t)(value.end - value.begin) == strlen(word) + 2 &&
           !memcmp(value.begin + 1, word, strlen(word));
}

/* Read the four hexadecimal digits of an escape; 0 if there are none. */
static unsigned lunet__hex(const char* at, const char* end) {
    unsigned code = 0;
    return end - at >= 4 && sscanf(at, "%4x", &code) == 1 ? code : 0;
}

/* Read a string as UTF-8, cut to the room. */
static void lunet__string(lunet__json value, char* target, size_t room) {
    const char* end = value.begin && *value.begin == '"' ? value.end - 1 : value.begin;
    size_t length = 0;
    for (const char* at = value.begin ? value.begin + 1 : end; at < end && length + 5 < room; at++) {
        unsigned code, low;
        const char* plain = "\"\\/bfnrt";
        const char* found;
        if (*at != '\\') {
            target[length++] = *at;
        } else if (*++at != 'u') {
            found = strchr(plain, *at);
            if (found) target[length++] = "\"\\/\b\f\n\r\t"[found - plain];
        } else {
            code = lunet__hex(at + 1, end);
            at += end - at > 4 ? 4 : 0;
            low = code >> 10 == 54 && end - at > 6 && at[1] == '\\' && at[2] == 'u' ? lunet__hex(at + 3, end) : 0;
            if (low >> 10 == 55) {
                code = 0x10000 + ((code & 1023) << 10) + (low & 1023);
                at += 6;
            }
            if (code >= 0x10000) target[length++] = (char)(0xF0 | code >> 18);
            if (code >= 0x800)
                target[length++] = (char)(code >= 0x10000 ? 0x80 | (code >> 12 & 63) : 0xE0 | code >> 12);
            if (code >= 0x80) target[length++] = (char)(code >= 0x800 ? 0x80 | (code >> 6 & 63) : 0xC0 | code >> 6);
            target[length++] = (char)(code >= 0x80 ? 0x80 | (code & 63) : code);
        }
    }
    target[length] = 0;
}

/* Read a whole file; if the text of the manifest is given, compare the file with its SHA-256 there. */
static int lunet__file(const char* folder, const char* name, const char* manifest, lunet__bytes* bytes) {
    char expected[80] = "", got[65], place[80];
    int code = lunet__read_file(folder, name, bytes);
    if (code || !manifest) return code;
    snprintf(place, sizeof place, "sha256/%s", name);
    lunet__string(lunet__at(manifest, place), expected, sizeof expected);
    lunet__sha256(bytes, got);
    if (!strcmp(expected, got)) return LUNET_OK;
    free(bytes->data);
    return lunet__fail(
        LUNET_BAD_INPUT,
        "Expected %s in %s with SHA-256 %.12s...; got %.12s.... It was altered after export; export again.", name,
        folder, expected, got);
}

static int lunet__refuse_text(const lunet__bytes* bytes, const char* name) {
    const char* end = lunet__skip(lunet__space(bytes->data), 64);
    if (end && lunet__space(end) == bytes->data + bytes->size) return LUNET_OK;
    return lunet__fail(LUNET_BAD_INPUT, "%s is not valid JSON. Export again.", name);
}

/* ---- noise ---- */

void lunet_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t words[4]) {
    uint32_t k0 = key[0], k1 = key[1];
    memcpy(words, counter, 4 * sizeof *words);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53 * words[0], p1 = (uint64_t)0xCD9E8D57 * words[2];
        words[0] = (uint32_t)(p1 >> 32) ^ words[1] ^ k0;
        words[2] = (uint32_t)(p0 >> 32) ^ words[3] ^ k1;
        words[1] = (uint32_t)p1;
        words[3] = (uint32_t)p0;
        k0 += 0x9E3779B9;
        k1 += 0xBB67AE85;
    }
}

void lunet_normal(uint64_t seed, uint64_t row, size_t dim, double* numbers) {
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    for (size_t column = 0; column < dim; column += 4) {
        const uint32_t counter[4] = {(uint32_t)(column / 4), (uint32_t)row, (uint32_t)(row >> 32), 0};
        uint32_t words[4];
        lunet_philox(counter, key, words);
        for (size_t i = 0; i < 4 && column + i < dim; i++) {
            const uint32_t* pair = words + (i & 2);
            double radius = sqrt(-2.0 * log((pair[0] + 0.5) * 0x1p-32));
            double angle = 6.283185307179586 * 0x1p-32 * pair[1];
            numbers[column + i] = radius * (i & 1 ? sin(angle) : cos(angle));
        }
    }
}

/* ---- ONNX Runtime: its table of functions, to which new versions only append ---- */

enum { LUNET__API = 16, LUNET__FLOAT32 = 1, LUNET__FLOAT64 = 11, LUNET__FATAL = 4 };

typedef struct OrtStatus OrtStatus;

/* The functions that are used, in their places; the gaps are functions that are not. */
typedef struct {
    void (*gap_0[2])(void);
    const char*(LUNET__CALL* GetErrorMessage)(const OrtStatus*);
    OrtStatus*(LUNET__CALL* CreateEnv)(int, const char*, void**);
    void (*gap_4[4])(void);
    OrtStatus*(LUNET__CALL* CreateSessionFromArray)(const void*, const void*, size_t, const void*, void**);
    OrtStatus*(LUNET__CALL* Run)(void*, const void*, const char* const*, const void* const*, size_t, const char* const*,
                                 size_t, void**);
    OrtStatus*(LUNET__CALL* CreateSessionOptions)(void**);
    void (*gap_11[11])(void);
    OrtStatus*(LUNET__CALL* SetSessionLogSeverityLevel)(void*, int);
    void (*gap_23[1])(void);
    OrtStatus*(LUNET__CALL* SetIntraOpNumThreads)(void*, int);
    void (*gap_25[5])(void);
    OrtStatus*(LUNET__CALL* SessionGetInputCount)(const void*, size_t*);
    void (*gap_31[2])(void);
    OrtStatus*(LUNET__CALL* SessionGetInputTypeInfo)(const void*, size_t, void**);
    void (*gap_34[15])(void);
    OrtStatus*(LUNET__CALL* CreateTensorWithDataAsOrtValue)(const void*, void*, size_t, const int64_t*, size_t, int,
                                                            void**);
    void (*gap_50[1])(void);
    OrtStatus*(LUNET__CALL* GetTensorMutableData)(void*, void**);
    void (*gap_52[3])(void);
    OrtStatus*(LUNET__CALL* CastTypeInfoToTensorInfo)(const void*, const void**);
    void (*gap_56[4])(void);
    OrtStatus*(LUNET__CALL* GetTensorElementType)(const void*, int*);
    OrtStatus*(LUNET__CALL* GetDimensionsCount)(const void*, size_t*);
    OrtStatus*(LUNET__CALL* GetDimensions)(const void*, int64_t*, size_t);
    void (*gap_63[1])(void);
    OrtStatus*(LUNET__CALL* GetTensorShapeElementCount)(const void*, size_t*);
    OrtStatus*(LUNET__CALL* GetTensorTypeAndShape)(const void*, void**);
    void (*gap_66[3])(void);
    OrtStatus*(LUNET__CALL* CreateCpuMemoryInfo)(int, int, void**);
    void (*gap_70[22])(void);
    void(LUNET__CALL* ReleaseEnv)(void*);
    void(LUNET__CALL* ReleaseStatus)(OrtStatus*);
    void(LUNET__CALL* ReleaseMemoryInfo)(void*);
    void(LUNET__CALL* ReleaseSession)(void*);
    void(LUNET__CALL* ReleaseValue)(void*);
    void (*gap_97[1])(void);
    void(LUNET__CALL* ReleaseTypeInfo)(void*);
    void(LUNET__CALL* ReleaseTensorTypeAndShapeInfo)(void*);
    void(LUNET__CALL* ReleaseSessionOptions)(void*);
    void (*gap_101[29])(void);
    OrtStatus*(LUNET__CALL* AddSessionConfigEntry)(void*, const char*, const char*);
    void (*gap_131[73])(void);
    OrtStatus*(LUNET__CALL* SessionOptionsAppendExecutionProvider_CUDA_V2)(void*, const void*);
    OrtStatus*(LUNET__CALL* CreateCUDAProviderOptions)(void**);
    OrtStatus*(LUNET__CALL* UpdateCUDAProviderOptions)(void*, const char* const*, const char* const*, size_t);
    void (*gap_207[1])(void);
    void(LUNET__CALL* ReleaseCUDAProviderOptions)(void*);
} lunet__api;

typedef struct {
    const lunet__api*(LUNET__CALL* get)(uint32_t);
    const char*(LUNET__CALL* version)(void);
} lunet__base;

struct lunet {
    char name[256], kind[32], dtype[32], version[32], *folder;
    lunet__bytes manifest;
    size_t dim, batch, context_dim;
    double levels;
    double *low, *high;   /* borders of the domain, (D,) each, infinite for no border; NULL: x may lie anywhere */
    int closed;           /* whether the borders belong to the domain */
    double *least, *most; /* ends of the contexts of training, (C,) each; NULL: not known */
    int type;
    const lunet__api* api;
    void *env, *memory, *density, *sampling;
};

const char* lunet_name(const lunet* flow) { return flow->name; }
const char* lunet_kind(const lunet* flow) { return flow->kind; }
const char* lunet_dtype(const lunet* flow) { return flow->dtype; }
const char* lunet_version(const lunet* flow) { return flow->version; }
size_t lunet_dim(const lunet* flow) { return flow->dim; }
double lunet_levels(const lunet* flow) { return flow->levels; }
size_t lunet_context_dim(const lunet* flow) { return flow->context_dim; }

/* Check the status of a call; on an error set the sentence and free the status. */
static int lunet__wrong(const lunet__api* api, OrtStatus* status, const char* what) {
    const char *message, *mark;
    size_t length;
    if (!status) return LUNET_OK;
    message = api->GetErrorMessage(status);
    mark = strstr(message, "[ONNXRuntimeError]"); /* the text before it may be a place in its sources */
    if (mark) message = mark;
    length = strcspn(message, "\r\n");
    while (length && strchr(" .", message[length - 1])) length--;
    lunet__fail(LUNET_RUNTIME, "Expected ONNX Runtime to %s; it says: %.*s.", what, (int)length, message);
    api->ReleaseStatus(status);
    return LUNET_RUNTIME;
}

static int lunet__load(lunet* flow, const char* given) {
#if defined(_WIN32)
    const char* names[] = {"onnxruntime.dll"};
    wchar_t wide[LUNET__WIDE];
    HMODULE library = NULL;
#elif defined(__APPLE__)
    const char* names[] = {"libonnxruntime.dylib", "libonnxruntime.1.dylib"};
    void* library = NULL;
#else
    const char* names[] = {"libonnxruntime.so.1", "libonnxruntime.so"};
    void* library = NULL;
#endif
    const lunet__base*(LUNET__CALL * entry)(void) = NULL;
    const lunet__base* base;
    const char* said;
    int minor = 0;
    for (size_t i = 0; !library && i < (given ? 1 : sizeof names / sizeof *names); i++) {
#ifdef _WIN32
        library = lunet__wide(given ? given : names[i], wide) ? LoadLibraryW(wide) : NULL;
    }
    if (library) *(FARPROC*)&entry = GetProcAddress(library, "OrtGetApiBase");
    said = given ? given : names[0];
#else
        library = dlopen(given ? given : names[i], RTLD_NOW | RTLD_LOCAL);
    }
    if (library) *(void**)&entry = dlsym(library, "OrtGetApiBase");
    said = dlerror(); /* names the library and the reason */
#endif
    if (!entry)
        return lunet__fail(LUNET_RUNTIME, "Expected ONNX Runtime's library; got %s. Install it, or give its path.",
                           said);
    base = entry();
    snprintf(flow->version, sizeof flow->version, "%s", base->version());
    if (sscanf(flow->version, "1.%d", &minor) != 1 || minor < LUNET__API || !(flow->api = base->get(LUNET__API)))
        return lunet__fail(LUNET_RUNTIME, "Expected ONNX Runtime 1.%d or newer; got %s. Install a newer one.",
                           LUNET__API, flow->version);
    return LUNET_OK;
}

static int lunet__use_cuda(const lunet* flow, void* settings, const lunet_options* options) {
    const char* keys[] = {"device_id", "use_tf32"};
    char device[16];
    const char* values[] = {device, options->tf32 ? "1" : "0"};
    void* cuda = NULL;
    const lunet__api* api = flow->api;
    int code;
    snprintf(device, sizeof device, "%d", options->device);
    code = lunet__wrong(api, api->CreateCUDAProviderOptions(&cuda), "run on CUDA");
    if (!code) code = lunet__wrong(api, api->UpdateCUDAProviderOptions(cuda, keys, values, 2), "run on CUDA");
    if (!code)
        code = lunet__wrong(api, api->SessionOptionsAppendExecutionProvider_CUDA_V2(settings, cuda), "run on CUDA");
    /* Nodes that CUDA cannot run would silently go to the CPU. */
    if (!code)
        code = lunet__wrong(api, api->AddSessionConfigEntry(settings, "session.disable_cpu_ep_fallback", "1"),
                            "run on CUDA");
    if (cuda) api->ReleaseCUDAProviderOptions(cuda);
    return code;
}

/* Check that input number `index` of a session is [batch, width], of the manifest's dtype. */
static int lunet__refuse_input(const lunet* flow, void* session, size_t index, size_t width, const char* name) {
    const lunet__api* api = flow->api;
    void* info = NULL;
    const void* tensor = NULL;
    int64_t shape[2] = {0, 0};
    size_t rank = 0;
    int type = 0;
    OrtStatus* status = api->SessionGetInputTypeInfo(session, index, &info);
    if (!status) status = api->CastTypeInfoToTensorInfo(info, &tensor);
    if (!status && tensor) {
        status = api->GetTensorElementType(tensor, &type);
        if (!status) status = api->GetDimensionsCount(tensor, &rank);
        if (!status && rank == 2) status = api->GetDimensions(tensor, shape, rank);
    }
    if (info) api->ReleaseTypeInfo(info);
    if (lunet__wrong(api, status, "tell the graph's input")) return LUNET_RUNTIME;
    if (type == flow->type && rank == 2 && shape[1] == (int64_t)width) return LUNET_OK;
    return lunet__fail(
        LUNET_BAD_INPUT,
        "Expected %s with %s of %zu %s, as the manifest says; got %lld numbers of type %d. Export again.", name,
        index ? "contexts" : "rows", width, flow->dtype, (long long)shape[1], type);
}

/* Check that a session takes rows, and contexts if the manifest says so. */
static int lunet__refuse_inputs(const lunet* flow, void* session, const char* name) {
    size_t inputs = 0, expected = flow->context_dim ? 2 : 1;
    int code = lunet__wrong(flow->api, flow->api->SessionGetInputCount(session, &inputs), "tell the graph's inputs");
    if (!code && inputs != expected)
        code = lunet__fail(LUNET_BAD_INPUT,
                           "Expected %s with %s, as the manifest says; got %zu. Export again.", name,
                           flow->context_dim ? "two inputs, rows and contexts" : "one input, rows", inputs);
    if (!code) code = lunet__refuse_input(flow, session, 0, flow->dim, name);
    return code || !flow->context_dim ? code : lunet__refuse_input(flow, session, 1, flow->context_dim, name);
}

/* Refuse weights in another file: ONNX Runtime would read whatever file the graph names. A tensor that names one has
   the string "location" after its length, 8 or padded; no string of our graphs looks like that. */
static int lunet__refuse_outside(const lunet__bytes* graph, const char* name) {
    const char *at = graph->data, *end = graph->data + graph->size;
    while (end - at >= 9 && (at = memchr(at + 1, 'l', (size_t)(end - at) - 8))) {
        if (!memcmp(at, "location", 8) && (at[-1] == 8 || at[-1] == 0))
            return lunet__fail(LUNET_BAD_INPUT,
                               "Expected %s to hold its weights; it keeps them in another file, which is not read. "
                               "Export again.",
                               name);
    }
    return LUNET_OK;
}

static int lunet__session(const lunet* flow, const char* name, const lunet_options* options, void** session) {
    const lunet__api* api = flow->api;
    lunet__bytes graph;
    void* settings = NULL;
    char what[64];
    int code = lunet__file(flow->folder, name, flow->manifest.data, &graph);
    if (code) return code;
    snprintf(what, sizeof what, "open %s", name);
    code = lunet__refuse_outside(&graph, name);
    if (!code) code = lunet__wrong(api, api->CreateSessionOptions(&settings), what);
    if (!code) code = lunet__wrong(api, api->SetSessionLogSeverityLevel(settings, LUNET__FATAL), what);
    if (!code && options->threads)
        code = lunet__wrong(api, api->SetIntraOpNumThreads(settings, options->threads), what);
    if (!code && !strcmp(options->provider, "cuda")) code = lunet__use_cuda(flow, settings, options);
    if (!code)
        code =
            lunet__wrong(api, api->CreateSessionFromArray(flow->env, graph.data, graph.size, settings, session), what);
    if (settings) api->ReleaseSessionOptions(settings);
    free(graph.data);
    return code ? code : lunet__refuse_inputs(flow, *session, name);
}

/* Read the numbers of a value in the order of the text; none if there is no value. */
static int lunet__numbers(lunet__json value, double** numbers, size_t* count) {
    size_t most = 1;
    *numbers = NULL;
    *count = 0;
    for (const char* at = value.begin; at && at < value.end; at++) most += *at == ',';
    if (value.begin && !(*numbers = malloc(most * sizeof **numbers))) return lunet__no_memory();
    for (const char* at = value.begin; at && at < value.end;) {
        const char* end = at + strcspn(at, ",[] \t\r\n");
        if (end > value.end) end = value.end;
        if (end > at && *count < most) (*numbers)[(*count)++] = lunet__number((lunet__json){at, end});
        at = end + (end < value.end);
    }
    return LUNET_OK;
}

static int lunet__absent(lunet__json value) { return !value.begin || !strncmp(value.begin, "null", 4); }

/* Read `low` and `high` at a place of the manifest; whole tells whether both have so many numbers. */
static int lunet__ends(const char* text, const char* place, size_t width, double** low, double** high, int* whole) {
    char end[64];
    size_t lows = 0, highs = 0;
    int code;
    snprintf(end, sizeof end, "%s/low", place);
    if ((code = lunet__numbers(lunet__at(text, end), low, &lows))) return code;
    snprintf(end, sizeof end, "%s/high", place);
    if ((code = lunet__numbers(lunet__at(text, end), high, &highs))) return code;
    *whole = lows == width && highs == width;
    return LUNET_OK;
}

/* Read the borders of the domain, if there are any. */
static int lunet__borders(lunet* flow, const char* text) {
    lunet__json closed = lunet__at(text, "model/domain/closed");
    int code, whole;
    if (lunet__absent(lunet__at(text, "model/domain"))) return LUNET_OK;
    if ((code = lunet__ends(text, "model/domain", flow->dim, &flow->low, &flow->high, &whole))) return code;
    flow->closed = closed.begin && *closed.begin == 't';
    whole = whole && closed.begin && (flow->closed || *closed.begin == 'f');
    for (size_t i = 0; whole && i < flow->dim; i++) {
        if (isinf(flow->low[i])) flow->low[i] = -INFINITY; /* null: no border */
        whole = flow->low[i] < flow->high[i];
    }
    return whole ? LUNET_OK
                 : lunet__fail(LUNET_BAD_INPUT,
                               "Expected a whole manifest.json; model.domain is missing or wrong. Export again.");
}

/* Read what a context is, if the flow takes one. */
static int lunet__contexts(lunet* flow, const char* text) {
    double dim = lunet__number(lunet__at(text, "model/context/dim"));
    int code, whole = dim >= 1 && dim <= 1e6 && dim == floor(dim);
    if (lunet__absent(lunet__at(text, "model/context"))) return LUNET_OK;
    flow->context_dim = whole ? (size_t)dim : 0;
    if (whole && !lunet__absent(lunet__at(text, "model/context/range"))) {
        code = lunet__ends(text, "model/context/range", flow->context_dim, &flow->least, &flow->most, &whole);
        if (code) return code;
        for (size_t i = 0; whole && i < flow->context_dim; i++)
            whole = isfinite(flow->least[i]) && isfinite(flow->most[i]) && flow->least[i] <= flow->most[i];
    }
    return whole ? LUNET_OK
                 : lunet__fail(LUNET_BAD_INPUT,
                               "Expected a whole manifest.json; model.context is missing or wrong. Export again.");
}

/* Refuse a format that is not known; one network is of version 2 if it takes contexts, and of version 1 if not. */
static int lunet__refuse_format(const char* text) {
    lunet__json version = lunet__at(text, "format_version");
    int classes = lunet__at(text, "classes").begin != NULL, context = !lunet__absent(lunet__at(text, "model/context"));
    double number = lunet__number(version);
    int known = number == 1 || number == 2;
    if (!lunet__is(lunet__at(text, "format"), "lunet_export"))
        return lunet__fail(LUNET_BAD_INPUT,
                           "Expected manifest.json of format \"lunet_export\"; this is another file. Export again.");
    if (!known || (!classes && number != (context ? 2 : 1)))
        return lunet__fail(LUNET_BAD_INPUT,
                           "Expected format version %s; got %.*s. Take the lunet.h of the lunet-export that wrote it.",
                           !known    ? "1 or 2"
                           : context ? "2 for a flow with contexts"
                                     : "1 for a flow without contexts",
                           version.begin ? (int)(version.end - version.begin) : 0, version.begin ? version.begin : "");
    if (classes)
        return lunet__fail(
            LUNET_BAD_INPUT,
            "Expected a folder with one network; this one holds one network per class. Export the model file of one class.");
    return LUNET_OK;
}

static int lunet__describe(lunet* flow) {
    const char* text = flow->manifest.data;
    double dim, batch;
    int code;
    if (lunet__refuse_text(&flow->manifest, "manifest.json")) return LUNET_BAD_INPUT;
    if ((code = lunet__refuse_format(text))) return code;
    lunet__string(lunet__at(text, "model/name"), flow->name, sizeof flow->name);
    lunet__string(lunet__at(text, "model/kind"), flow->kind, sizeof flow->kind);
    lunet__string(lunet__at(text, "dtype"), flow->dtype, sizeof flow->dtype);
    dim = lunet__number(lunet__at(text, "model/dim"));
    {
        lunet__json range = lunet__at(text, "batch"); /* [smallest, largest] */
        const char* comma =
            range.begin && *range.begin == '[' ? memchr(range.begin, ',', (size_t)(range.end - range.begin)) : NULL;
        batch = comma ? strtod(comma + 1, NULL) : NAN;
    }
    flow->levels = lunet__at(text, "model/preprocessing/levels").begin
                       ? lunet__number(lunet__at(text, "model/preprocessing/levels"))
                       : 0;
    flow->type = !strcmp(flow->dtype, "float32")   ? LUNET__FLOAT32
                 : !strcmp(flow->dtype, "float64") ? LUNET__FLOAT64
                                                   : 0;
    if (!(dim >= 1 && dim <= 1e6 && dim == floor(dim) && batch >= 1 && batch <= 1e6 && flow->levels >= 0 &&
          flow->levels <= FLT_MAX && flow->type))
        return lunet__fail(
            LUNET_BAD_INPUT,
            "Expected a whole manifest.json; model.dim, dtype, batch or levels is missing or wrong. Export again.");
    flow->dim = (size_t)dim;
    flow->batch = (size_t)batch;
    code = lunet__borders(flow, text);
    return code ? code : lunet__contexts(flow, text);
}

static int lunet__opened(lunet* flow, const char* folder, const lunet_options* options) {
    const lunet__api* api;
    int code;
    if (strcmp(options->provider, "cpu") && strcmp(options->provider, "cuda"))
        return lunet__fail(LUNET_BAD_INPUT, "Expected a provider of cpu, cuda; got %s.", options->provider);
    if (!(flow->folder = malloc(strlen(folder) + 1))) return lunet__no_memory();
    strcpy(flow->folder, folder);
    if ((code = lunet__file(folder, "manifest.json", NULL, &flow->manifest))) return code;
    if ((code = lunet__describe(flow))) return code;
    if ((code = lunet__load(flow, options->runtime))) return code;
    api = flow->api;
    code = lunet__wrong(api, api->CreateEnv(LUNET__FATAL, "lunet", &flow->env), "start");
    if (!code) code = lunet__wrong(api, api->CreateCpuMemoryInfo(0, 0, &flow->memory), "start");
    if (!code) code = lunet__session(flow, "density.onnx", options, &flow->density);
    if (!code) code = lunet__session(flow, "sampling.onnx", options, &flow->sampling);
    return code;
}

int lunet_open(lunet** flow, const char* folder, const lunet_options* options) {
    lunet_options chosen = options ? *options : (lunet_options){NULL, NULL, 0, 0, 0};
    int code;
    if (!chosen.provider) chosen.provider = "cpu";
    *flow = calloc(1, sizeof **flow);
    if (!*flow) return lunet__no_memory();
    code = lunet__opened(*flow, folder, &chosen);
    if (code) {
        lunet_close(*flow);
        *flow = NULL;
    }
    return code;
}

void lunet_close(lunet* flow) {
    if (!flow) return;
    if (flow->density) flow->api->ReleaseSession(flow->density);
    if (flow->sampling) flow->api->ReleaseSession(flow->sampling);
    if (flow->memory) flow->api->ReleaseMemoryInfo(flow->memory);
    if (flow->env) flow->api->ReleaseEnv(flow->env);
    free(flow->manifest.data);
    free(flow->folder);
    free(flow->low);
    free(flow->high);
    free(flow->least);
    free(flow->most);
    free(flow);
}

/* ---- rows through a graph ---- */

/* Return the number of the graphs' dtype next to a border and inside it; the inside is towards an infinity. */
static double lunet__inside(const lunet* flow, double border, double towards) {
    int single = flow->type == LUNET__FLOAT32, up = towards > 0;
    double end = border, tiny = single ? FLT_MIN : DBL_MIN;
    if (isinf(border)) return border;
    if (single) end = fabs(border) > FLT_MAX ? copysign(INFINITY, border) : (float)border;
    if (up ? end < border : end > border) /* rounded to the other side */
        end = single ? nextafterf((float)end, (float)towards) : nextafter(end, towards);
    if (flow->closed) return end;
    if (end == border) end = single ? nextafterf((float)end, (float)towards) : nextafter(end, towards);
    return end != 0 && fabs(end) < tiny ? copysign(tiny, end) : end; /* open domains end before denormal numbers */
}

/* Refuse numbers of the input `name`, `width` per row, that the graphs do not take. */
static int lunet__refuse_rows(const lunet* flow, const char* name, const double* rows, size_t count, size_t width) {
    double levels = *name == 'x' ? flow->levels : 0, most = flow->type == LUNET__FLOAT32 ? FLT_MAX : DBL_MAX;
    for (size_t i = 0; i < count; i++) {
        if (!(fabs(rows[i]) <= most))
            return lunet__fail(LUNET_BAD_INPUT,
                               "Expected finite %s numbers in %s; row %zu (from 0), column %zu is %g.", flow->dtype,
                               name, i / width, i % width + 1, rows[i]);
        if (levels > 0 && !(rows[i] >= 0 && rows[i] < levels))
            return lunet__fail(LUNET_BAD_INPUT,
                               "Expected x in [0, %g): grey level plus noise; row %zu (from 0), column %zu is %g.",
                               levels, i / width, i % width + 1, rows[i]);
        if (*name == 'x' && flow->low) {
            size_t column = i % width;
            double low = flow->low[column], high = flow->high[column];
            if (!(flow->closed ? rows[i] >= low && rows[i] <= high : rows[i] > low && rows[i] < high))
                return lunet__fail(
                    LUNET_BAD_INPUT,
                    "Expected x in %c%g, %g%c in column %zu; row %zu (from 0) is %g. The density is not defined there.",
                    flow->closed ? '[' : '(', low, high, flow->closed ? ']' : ')', column + 1, i / width, rows[i]);
        }
    }
    return LUNET_OK;
}

static size_t lunet__size(const lunet* flow) { return flow->type == LUNET__FLOAT64 ? sizeof(double) : sizeof(float); }

/* Convert rows to the graphs' dtype. A number that rounds to a border of the domain, or beyond it, is moved inside. */
static void lunet__cast(const lunet* flow, const char* name, const double* rows, size_t count, void* target) {
    float levels = *name == 'x' ? (float)flow->levels : 0;
    const double* low = *name == 'x' ? flow->low : NULL;
    for (size_t i = 0; i < count; i++) {
        float single = (float)rows[i];
        double number = flow->type == LUNET__FLOAT64 ? rows[i] : single;
        if (flow->type == LUNET__FLOAT32 && levels > 0 && single >= levels) number = nextafterf(levels, 0);
        if (low) {
            size_t column = i % flow->dim;
            number = fmax(number, lunet__inside(flow, low[column], INFINITY));
            number = fmin(number, lunet__inside(flow, flow->high[column], -INFINITY));
        }
        if (flow->type == LUNET__FLOAT64)
            ((double*)target)[i] = number;
        else
            ((float*)target)[i] = (float)number;
    }
}

/* Take the numbers of an output, `width` per row from row `first` on; they must be as many as expected, and finite. */
static int lunet__take(const lunet* flow, void* value, const char* name, size_t first, size_t rows, size_t width,
                       double* target) {
    size_t count = rows * width;
    const lunet__api* api = flow->api;
    void *info = NULL, *data = NULL;
    size_t got = 0;
    int type = 0;
    OrtStatus* status = api->GetTensorTypeAndShape(value, &info);
    if (!status) status = api->GetTensorShapeElementCount(info, &got);
    if (!status) status = api->GetTensorElementType(info, &type);
    if (info) api->ReleaseTensorTypeAndShapeInfo(info);
    if (!status) status = api->GetTensorMutableData(value, &data);
    if (lunet__wrong(api, status, "give its output")) return LUNET_RUNTIME;
    if (got != count || type != flow->type)
        return lunet__fail(LUNET_BAD_INPUT,
                           "Expected %zu numbers of %s in the output %s; got %zu of type %d. Export again.", count,
                           flow->dtype, name, got, type);
    for (size_t i = 0; i < count; i++)
        target[i] = flow->type == LUNET__FLOAT64 ? ((double*)data)[i] : ((float*)data)[i];
    for (size_t i = 0; i < count; i++)
        if (!isfinite(target[i]))
            return lunet__fail(
                LUNET_BAD_INPUT,
                "Expected rows whose answers %s can hold; row %zu overflows: it is too far out. Leave it out.",
                flow->dtype, first + i / width);
    return LUNET_OK;
}

/* What a graph is fed: rows x or z, and contexts, of which there are none, one for all rows, or as many. */
typedef struct {
    const char* name;
    const double* numbers; /* (rows, D) */
    size_t rows;
    const double* context; /* (contexts, C) */
    size_t contexts;
} lunet__fed;

/* What a graph answers: `width` numbers per row. */
typedef struct {
    const char* name;
    size_t width;
    double* target;
} lunet__answer;

enum { LUNET__MOST = 2 }; /* inputs, and outputs, of a graph */

/* Refuse what the graphs do not take; all of it is checked before the first run. */
static int lunet__refuse(const lunet* flow, const lunet__fed* fed) {
    size_t dim = flow->context_dim;
    char got[24] = "none";
    int code = lunet__refuse_rows(flow, fed->name, fed->numbers, fed->rows * flow->dim, flow->dim);
    if (code) return code;
    if (!dim && fed->contexts)
        return lunet__fail(LUNET_BAD_INPUT, "Expected no context for a flow that takes none; got one. Leave it out.");
    if (fed->contexts) snprintf(got, sizeof got, "%zu", fed->contexts);
    if (dim && fed->contexts != 1 && fed->contexts != fed->rows)
        return lunet__fail(LUNET_BAD_INPUT,
                           "Expected a context of %zu numbers for each of %zu rows, or one for all; got %s. Give one "
                           "per row or one for all rows.",
                           dim, fed->rows, got);
    return lunet__refuse_rows(flow, "context", fed->context, fed->contexts * dim, dim);
}

/* Make a tensor (batch, width) of numbers that stay where they are. */
static int lunet__tensor(const lunet* flow, void* numbers, size_t batch, size_t width, void** value) {
    const int64_t shape[2] = {(int64_t)batch, (int64_t)width};
    return lunet__wrong(flow->api,
                        flow->api->CreateTensorWithDataAsOrtValue(flow->memory, numbers,
                                                                  batch * width * lunet__size(flow), shape, 2,
                                                                  flow->type, value),
                        "take the rows");
}

/* Run `batch` rows from number `first` on. */
static int lunet__run(const lunet* flow, void* session, const lunet__fed* fed, size_t first, size_t batch, char* room,
                      const lunet__answer* answers, size_t many) {
    const lunet__api* api = flow->api;
    const char *inputs[LUNET__MOST] = {fed->name, "context"}, *outputs[LUNET__MOST];
    void *values[LUNET__MOST] = {NULL, NULL}, *found[LUNET__MOST] = {NULL, NULL};
    char* behind = room + batch * flow->dim * lunet__size(flow);
    int code;
    for (size_t i = 0; i < many; i++) outputs[i] = answers[i].name;
    lunet__cast(flow, fed->name, fed->numbers + first * flow->dim, batch * flow->dim, room);
    code = lunet__tensor(flow, room, batch, flow->dim, values);
    if (!code && flow->context_dim) {
        size_t shared = fed->contexts == 1; /* the graph takes one context for all rows, and computes its part once */
        size_t contexts = shared ? 1 : batch, from = shared ? 0 : first;
        lunet__cast(flow, "context", fed->context + from * flow->context_dim, contexts * flow->context_dim, behind);
        code = lunet__tensor(flow, behind, contexts, flow->context_dim, values + 1);
    }
    if (!code)
        code = lunet__wrong(api,
                            api->Run(session, NULL, inputs, (const void* const*)values, flow->context_dim ? 2 : 1,
                                     outputs, many, found),
                            "run the graph");
    for (size_t i = 0; i < many; i++) {
        double* target = answers[i].target + first * answers[i].width;
        if (!code) code = lunet__take(flow, found[i], outputs[i], first, batch, answers[i].width, target);
        if (found[i]) api->ReleaseValue(found[i]);
    }
    for (size_t i = 0; i < LUNET__MOST; i++)
        if (values[i]) api->ReleaseValue(values[i]);
    return code;
}

static size_t lunet__least(size_t left, size_t batch) { return left < batch ? left : batch; }

/* Run all rows, as many at once as the graphs take, in a buffer that is allocated once. */
static int lunet__run_all(const lunet* flow, void* session, const lunet__fed* fed, const lunet__answer* answers,
                          size_t many) {
    char* room = malloc(lunet__least(fed->rows, flow->batch) * (flow->dim + flow->context_dim) * sizeof(double) + 1);
    int code = room ? lunet__refuse(flow, fed) : lunet__no_memory();
    for (size_t row = 0, batch; !code && row < fed->rows; row += batch) {
        batch = lunet__least(fed->rows - row, flow->batch);
        code = lunet__run(flow, session, fed, row, batch, room, answers, many);
    }
    free(room);
    return code;
}

int lunet_log_prob_given(const lunet* flow, const double* x, size_t rows, const double* context, size_t contexts,
                         double* log_prob, double* z) {
    const lunet__fed fed = {"x", x, rows, context, context ? contexts : 0};
    const lunet__answer answers[] = {{"log_prob", 1, log_prob}, {"z", flow->dim, z}};
    return lunet__run_all(flow, flow->density, &fed, answers, z ? 2 : 1);
}

int lunet_log_prob(const lunet* flow, const double* x, size_t rows, double* log_prob, double* z) {
    return lunet_log_prob_given(flow, x, rows, NULL, 0, log_prob, z);
}

int lunet_decode_given(const lunet* flow, const double* z, size_t rows, const double* context, size_t contexts,
                       double* x) {
    const lunet__fed fed = {"z", z, rows, context, context ? contexts : 0};
    const lunet__answer answer = {"x", flow->dim, x};
    return lunet__run_all(flow, flow->sampling, &fed, &answer, 1);
}

int lunet_decode(const lunet* flow, const double* z, size_t rows, double* x) {
    return lunet_decode_given(flow, z, rows, NULL, 0, x);
}

int lunet_sample_given(const lunet* flow, uint64_t seed, uint64_t first, size_t rows, double temperature,
                       const double* context, size_t contexts, double* x) {
    if (!(temperature >= 0 && isfinite(temperature)))
        return lunet__fail(LUNET_BAD_INPUT, "Expected a temperature of 0 or more; got %g. 1 is the model itself.",
                           temperature);
    for (size_t row = 0; row < rows; row++) lunet_normal(seed, first + row, flow->dim, x + row * flow->dim);
    for (size_t i = 0; i < rows * flow->dim; i++) x[i] *= temperature;
    return lunet_decode_given(flow, x, rows, context, contexts, x); /* each batch is read before it is written */
}

int lunet_sample(const lunet* flow, uint64_t seed, uint64_t first, size_t rows, double temperature, double* x) {
    return lunet_sample_given(flow, seed, first, rows, temperature, NULL, 0, x);
}

/* Round a number to the graphs' dtype. */
static double lunet__held(const lunet* flow, double number) {
    return flow->type == LUNET__FLOAT64 || fabs(number) > FLT_MAX ? number : (float)number;
}

size_t lunet_beyond(const lunet* flow, const double* context, size_t contexts) {
    size_t dim = flow->least && context ? flow->context_dim : 0;
    for (size_t column = 0; column < dim; column++) {
        double least = lunet__held(flow, flow->least[column]), most = lunet__held(flow, flow->most[column]);
        for (size_t row = 0; row < contexts; row++) {
            double number = lunet__held(flow, context[row * dim + column]);
            if (!(number >= least && number <= most)) return column + 1;
        }
    }
    return 0;
}

/* ---- test vectors ---- */

int lunet_read(const lunet* flow, const char* file, const char* place, double** numbers, size_t* count) {
    lunet__bytes bytes = flow->manifest;
    int vectors = strcmp(file, "manifest.json") != 0, code = LUNET_OK;
    *numbers = NULL;
    *count = 0;
    if (vectors && (code = lunet__file(flow->folder, file, flow->manifest.data, &bytes))) return code;
    if (!(code = lunet__refuse_text(&bytes, file))) {
        code = lunet__numbers(lunet__at(bytes.data, place), numbers, count);
    }
    if (vectors) free(bytes.data);
    return code;
}

void lunet_free(double* numbers) { free(numbers); }

#endif /* LUNET_IMPLEMENTATION */
