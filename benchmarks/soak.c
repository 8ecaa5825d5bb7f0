/* soak FOLDER LIBRARY CALLS THREADS: a service in C. Threads score and sample through one open flow, in batches of changing
 * sizes; every answer is held against the first one of its kind, bit by bit; every tenth of the time the flow is closed and
 * opened anew. Prints "calls resident-bytes" 200 times, then "wrong N". Exit code 1 if an answer changed. */
#define _POSIX_C_SOURCE 200809L
#define LUNET_IMPLEMENTATION
#include "lunet.h"
#include <pthread.h>
#include <unistd.h>

enum { TURNS = 32, LARGEST = 32, SLICES = 200, REOPENED = 20, MOST_THREADS = 64 };

static lunet* flow;
static size_t dim, sizes[TURNS];
static double *rows[TURNS], *drawn[TURNS], *log_prob[TURNS];

typedef struct {
    long calls, first, wrong;
} task;

static void stop(int code) {
    if (code == 0) return;
    fprintf(stderr, "%s\n", lunet_error());
    exit(code);
}

static double* room(size_t numbers) {
    double* memory = malloc(numbers * sizeof *memory);
    if (!memory) stop(lunet__no_memory());
    return memory;
}

/* Of call k the turn k mod TURNS; even calls sample, odd ones score. */
static void* work(void* given) {
    task* mine = given;
    double *x = room(LARGEST * dim), *p = room(LARGEST);
    for (long k = mine->first; k < mine->first + mine->calls; k++) {
        size_t turn = (size_t)(k / 2) % TURNS, n = sizes[turn];
        int code = k % 2 ? lunet_log_prob(flow, rows[turn], n, p, NULL) : lunet_sample(flow, turn, 0, n, 1.0, x);
#ifdef PLANTED /* the fault that a test must see */
        if (k == PLANTED) x[0] = p[0] = nextafter(x[0], 1e9);
#endif
        mine->wrong += code != 0 || memcmp(k % 2 ? p : x, k % 2 ? log_prob[turn] : drawn[turn],
                                           n * (k % 2 ? 1 : dim) * sizeof(double)) != 0;
    }
    free(x);
    free(p);
    return NULL;
}

static long resident(void) {
    long pages = 0;
    FILE* file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%*s %ld", &pages) != 1) pages = 0;
    if (file) fclose(file);
    return pages * sysconf(_SC_PAGESIZE);
}

int main(int argc, char** argv) {
    if (argc < 5) stop(lunet__fail(LUNET_BAD_INPUT, "Usage: %s FOLDER LIBRARY CALLS THREADS", argv[0]));
    lunet_options options = {argv[2], "cpu", 1, 0, 0};
    long calls = atol(argv[3]) / SLICES, threads = atol(argv[4]), done = 0, wrong = 0;
    pthread_t running[MOST_THREADS];
    task tasks[MOST_THREADS];
    if (calls < 1 || threads < 1 || threads > MOST_THREADS)
        stop(lunet__fail(LUNET_BAD_INPUT, "Expected %d calls or more, and 1 to %d threads.", SLICES, MOST_THREADS));
    stop(lunet_open(&flow, argv[1], &options));
    dim = lunet_dim(flow);
    for (size_t turn = 0; turn < TURNS; turn++) {
        size_t n = sizes[turn] = 1 + turn * turn * (LARGEST - 1) / ((TURNS - 1) * (TURNS - 1));
        rows[turn] = room(n * dim), drawn[turn] = room(n * dim), log_prob[turn] = room(n);
        stop(lunet_sample(flow, turn, 0, n, 1.0, drawn[turn]));
        memcpy(rows[turn], drawn[turn], n * dim * sizeof(double));
        stop(lunet_log_prob(flow, rows[turn], n, log_prob[turn], NULL));
    }
    for (int slice = 0; slice < SLICES; slice++) {
        if (slice > 0 && slice % (SLICES / REOPENED) == 0) {
            lunet_close(flow);
            stop(lunet_open(&flow, argv[1], &options));
        }
        for (long t = 0; t < threads; t++) {
            tasks[t] = (task){calls / threads + (t < calls % threads), done, 0};
            done += tasks[t].calls;
            if (pthread_create(&running[t], NULL, work, &tasks[t]) != 0)
                stop(lunet__fail(LUNET_SYSTEM, "Expected a thread; the system gives none."));
        }
        for (long t = 0; t < threads; t++) {
            pthread_join(running[t], NULL);
            wrong += tasks[t].wrong;
        }
        printf("%ld %ld\n", done, resident());
        fflush(stdout);
    }
    lunet_close(flow);
    printf("wrong %ld\n", wrong);
    return wrong > 0;
}
