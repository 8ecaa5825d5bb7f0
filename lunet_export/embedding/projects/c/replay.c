/* replay FOLDER [cpu|cuda [LIBRARY]]: check an exported folder, sample, score. LIBRARY is ONNX Runtime's.
 * Exit codes: 0 good, 1 a vector is outside its tolerance, 2 bad file or argument, 3 the runtime is missing, too old or
 * cannot do it, 4 the operating system. */
#define LUNET_IMPLEMENTATION
#include "lunet.h"
#include <time.h>

enum { SAMPLES = 100, TURNS = 20, CALLS = 10 };

static lunet* flow;
static double* context; /* the first of the vectors, for all samples and calls; NULL for a flow that takes none */
static int checks, wrong;

static void stop(int code) {
    if (code == 0) return;
    fprintf(stderr, "%s\n", lunet_error());
    exit(code);
}

static void* room(size_t numbers) {
    void* memory = malloc((numbers + 1) * sizeof(double));
    if (!memory) stop(lunet__no_memory());
    return memory;
}

/* Numbers of vectors.json: `wide` in each of `*rows` rows, which are counted if *rows is 0. */
static double* vectors(const char* place, size_t wide, size_t* rows) {
    double* numbers;
    size_t count;
    stop(lunet_read(flow, "vectors.json", place, &numbers, &count));
    if (*rows == 0) *rows = count / wide;
    if (count == 0 || count != *rows * wide)
        stop(lunet__fail(LUNET_BAD_INPUT,
                         "Expected %zu rows of %zu numbers in %s of vectors.json; got %zu in all. Export again.", *rows,
                         wide, place, count));
    for (size_t i = 0; i < count; i++)
        if (!isfinite(numbers[i]))
            stop(lunet__fail(LUNET_BAD_INPUT,
                             "Expected finite numbers in %s of vectors.json; got others. Export again.", place));
    return numbers;
}

static void compare(const char* name, const double* expected, const double* got, const double* tolerance, size_t rows,
                    size_t wide, const double* skipped) {
    double ratio = 0, difference = 0;
    size_t worst = 0;
    for (size_t i = 0; i < rows * wide; i++) {
        double gap = fabs(expected[i] - got[i]);
        if ((skipped && skipped[i / wide] != 0) || gap / tolerance[i / wide] <= ratio) continue; /* a NaN fails */
        ratio = gap / tolerance[i / wide];
        worst = i / wide;
        difference = gap;
        if (isnan(ratio)) break;
    }
    printf("vectors %s: %#.6g of the tolerance", name, ratio);
    checks++;
    if (!(ratio <= 1)) {
        wrong++;
        printf("; FAILED: row %zu is off by %#.6g, tolerance %#.6g", worst, difference, tolerance[worst]);
    }
    printf("\n");
}

/* Contexts of the vectors; NULL for a flow that takes none. */
static double* contexts(const char* place, size_t* rows) {
    return lunet_context_dim(flow) ? vectors(place, lunet_context_dim(flow), rows) : NULL;
}

static void replay(void) {
    size_t dim = lunet_dim(flow), rows = 0, many = 0, count;
    double *log_prob = vectors("density/log_prob", 1, &rows), *tight_x = vectors("density/tolerance/x", 1, &rows);
    double *x = vectors("density/x", dim, &rows), *z = vectors("density/z", dim, &rows);
    double *drawn_log_prob = vectors("sampling/log_prob", 1, &many), *clamped = vectors("sampling/clamped", 1, &many);
    double *drawn_z = vectors("sampling/z", dim, &many), *drawn_x = vectors("sampling/x", dim, &many);
    double *c = contexts("density/context", &rows), *drawn_c = contexts("sampling/context", &many);
    double *got_z = room(rows * dim), *got_log_prob = room(rows), *back = room(rows * dim), *predicted;
    double *got_x = room(many * dim), *again = room(many * dim), *again_log_prob = room(many);
    stop(lunet_log_prob_given(flow, x, rows, c, rows, got_log_prob, got_z));
    stop(lunet_decode_given(flow, got_z, rows, c, rows, back));
    stop(lunet_decode_given(flow, drawn_z, many, drawn_c, many, got_x));
    stop(lunet_log_prob_given(flow, got_x, many, drawn_c, many, again_log_prob, again));
    context = c;
    stop(lunet_read(flow, "manifest.json", "certificate/rows/round_trip", &predicted, &count));
    for (size_t row = 0; row < rows && row < count; row++) tight_x[row] = fmin(tight_x[row], 2 * predicted[row]);
    compare("density z", z, got_z, vectors("density/tolerance/z", 1, &rows), rows, dim, NULL);
    compare("density log_prob", log_prob, got_log_prob, vectors("density/tolerance/log_prob", 1, &rows), rows, 1, NULL);
    compare("sampling x", drawn_x, got_x, vectors("sampling/tolerance/x", 1, &many), many, dim, NULL);
    compare("x -> z -> x", x, back, tight_x, rows, dim, NULL);
    compare("z -> x -> z", drawn_z, again, vectors("sampling/tolerance/z", 1, &many), many, dim, clamped);
    compare("log_prob of sampled x", drawn_log_prob, again_log_prob, vectors("sampling/tolerance/log_prob", 1, &many),
            many, 1, clamped);
}

static void noise(uint64_t seed, uint64_t row) {
    const uint32_t counter[4] = {0, (uint32_t)row, (uint32_t)(row >> 32), 0},
                   key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t w[4];
    double n[4];
    lunet_philox(counter, key, w);
    lunet_normal(seed, row, 4, n);
    printf("noise seed %llu, row %llu: %08x %08x %08x %08x; %.9f %.9f %.9f %.9f\n", (unsigned long long)seed,
           (unsigned long long)row, w[0], w[1], w[2], w[3], n[0], n[1], n[2], n[3]);
}

static void sample(void) {
    size_t dim = lunet_dim(flow);
    double *x = room(SAMPLES * dim), *log_prob = room(SAMPLES), sum = 0;
    stop(lunet_sample_given(flow, 7, 0, SAMPLES, 1.0, context, 1, x));
    stop(lunet_log_prob_given(flow, x, SAMPLES, context, 1, log_prob, NULL));
    printf("sample seed 7, row 0:");
    for (size_t i = 0; i < dim && i < 4; i++) printf(" %#.6g", x[i]);
    printf("; %#.6g nats, %#.6g bits/dim\n", log_prob[0], -log_prob[0] / ((double)dim * log(2)));
    for (int i = 0; i < SAMPLES; i++) sum += log_prob[i];
    printf("sample seed 7, %d rows: mean log_prob %#.6g nats\n", SAMPLES, sum / SAMPLES);
}

static int ascending(const void* a, const void* b) { return (*(double*)a > *(double*)b) - (*(double*)a < *(double*)b); }

/* Milliseconds per call: the median over turns of several calls, as a browser's clock is coarse; two turns warm up. */
static double median(int density, double* x, double* z) {
    double times[TURNS], log_prob;
    struct timespec begin, end; /* the clock of C11: Windows lacks the steady one of POSIX */
    for (int turn = -2; turn < TURNS; turn++) {
        timespec_get(&begin, TIME_UTC);
        for (int call = 0; call < CALLS; call++)
            stop(density ? lunet_log_prob_given(flow, x, 1, context, 1, &log_prob, z)
                         : lunet_decode_given(flow, z, 1, context, 1, x));
        timespec_get(&end, TIME_UTC);
        if (turn < 0) continue;
        times[turn] =
            ((double)(end.tv_sec - begin.tv_sec) * 1e3 + (double)(end.tv_nsec - begin.tv_nsec) * 1e-6) / CALLS;
    }
    qsort(times, TURNS, sizeof *times, ascending);
    return times[TURNS / 2];
}

int main(int argc, char** argv) {
    lunet_options options = {argc > 3 ? argv[3] : NULL, argc > 2 ? argv[2] : NULL, 1, 0, 0};
    double *x, *z;
    if (argc < 2) stop(lunet__fail(LUNET_BAD_INPUT, "Usage: %s FOLDER [cpu|cuda [LIBRARY]]", argv[0]));
    stop(lunet_open(&flow, argv[1], &options));
    printf("model %s: %s, %zu dimensions, %s", lunet_name(flow), lunet_kind(flow), lunet_dim(flow), lunet_dtype(flow));
    if (lunet_context_dim(flow)) printf(", context of %zu numbers", lunet_context_dim(flow));
    printf("\n");
    printf("runtime ONNX Runtime %s, %s\n", lunet_version(flow), options.provider ? options.provider : "cpu");
    replay();
    noise(7, 0);
    noise(7, 4294967301);
    noise(UINT64_MAX, 1);
    sample();
    x = room(lunet_dim(flow));
    z = room(lunet_dim(flow));
    stop(lunet_sample_given(flow, 7, 0, 1, 1.0, context, 1, x));
    lunet_normal(7, 0, lunet_dim(flow), z);
    printf("latency density %.3f ms, ", median(1, x, z));
    printf("sampling %.3f ms: medians of %d turns of %d calls, batch 1\n", median(0, x, z), TURNS, CALLS);
    lunet_close(flow);
    if (wrong)
        printf("%d of %d vectors are outside their tolerance\n", wrong, checks);
    else
        printf("all %d vectors are within their tolerance\n", checks);
    if (fflush(stdout) || ferror(stdout)) stop(lunet__fail(LUNET_SYSTEM, "Expected to print; the system refuses."));
    return wrong > 0;
}
