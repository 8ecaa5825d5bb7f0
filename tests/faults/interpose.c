/* Faults at the k-th file operation under a folder, for processes that load this library before the C library.

   Counted: open for writing, write, pwrite, writev, fwrite, fsync, ftruncate, rename, unlink, rmdir, mkdir, chmod, link,
   of paths and open files under the armed root. When the k-th comes, the fault happens; a write is then done by half,
   which is what a kill or a full disk may leave. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { NONE, SIGNAL, FULL, READ_ONLY, VANISH, CLOCK };

static char root[PATH_MAX];
static size_t root_length;
static int kind, number, struck;
static long at, count;
static unsigned long jumps = 88172645463325252ul;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

void faults_arm(const char *folder, int what, long when, int which) {
    strncpy(root, folder, sizeof root - 1);
    root_length = strlen(root);
    kind = what, at = when, number = which, count = 0, struck = 0;
}

long faults_count(void) { return count; }

static int is_under(const char *path) { return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]); }

static int under(int folder, const char *path) {
    if (!root_length || !path) return 0;
    if (path[0] == '/') return is_under(path);
    char link[64], base[PATH_MAX];
    ssize_t n;
    if (folder == AT_FDCWD) {
        if (!getcwd(base, sizeof base)) return 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        if ((n = readlink(link, base, sizeof base - 1)) < 0) return 0;
        base[n] = 0;
    }
    return is_under(base);
}

static int open_under(int handle) {
    char link[64], path[PATH_MAX];
    if (!root_length) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return is_under(path);
}

/* What becomes of an operation: 0 it is done; 1 it is done by half, then `strike`; -1 it fails with errno. */
static int judge(int makes_bytes, int frees) {
    count++;
    if (kind == NONE || count < at) return 0;
    if (count == at) {
        struck = 1;
        if (kind == SIGNAL) return makes_bytes ? 1 : (kill(getpid(), number), 0);
        if (kind == VANISH) {
            char gone[PATH_MAX + 8];
            snprintf(gone, sizeof gone, "%s.gone", root);
            syscall(SYS_rename, root, gone);
            return 0;
        }
        if (kind == FULL && makes_bytes) return 1;
    }
    if (kind == FULL && !frees) return errno = ENOSPC, -1;
    if (kind == READ_ONLY) return errno = EROFS, -1;
    return 0;
}

static void strike(void) { if (kind == SIGNAL) kill(getpid(), number); }

static int open_at(int folder, const char *path, int flags, mode_t mode) {
    int writes = flags & (O_CREAT | O_WRONLY | O_RDWR | O_TRUNC);
    if (writes && under(folder, path)) {
        /* A full disk lets an existing file be opened. */
        int makes = (flags & O_CREAT) && faccessat(folder, path, F_OK, 0);
        if (judge(0, !makes) < 0) return -1;
    }
    return (int)syscall(SYS_openat, folder, path, flags | O_LARGEFILE, mode);
}

#define MODE(flags, last) mode_t mode = 0; if ((flags) & (O_CREAT | __O_TMPFILE)) { va_list a; va_start(a, last); mode = va_arg(a, mode_t); va_end(a); }
int open(const char *path, int flags, ...) { MODE(flags, flags) return open_at(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags, flags) return open_at(AT_FDCWD, path, flags, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE(flags, flags) return open_at(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE(flags, flags) return open_at(folder, path, flags, mode); }

ssize_t write(int handle, const void *data, size_t size) {
    if (open_under(handle)) switch (judge(1, 0)) {
        case -1: return -1;
        case 1: { ssize_t n = syscall(SYS_write, handle, data, size / 2); strike(); return n; }
    }
    return syscall(SYS_write, handle, data, size);
}

ssize_t pwrite64(int handle, const void *data, size_t size, off64_t where) {
    if (open_under(handle)) switch (judge(1, 0)) {
        case -1: return -1;
        case 1: { ssize_t n = syscall(SYS_pwrite64, handle, data, size / 2, where); strike(); return n; }
    }
    return syscall(SYS_pwrite64, handle, data, size, where);
}
ssize_t pwrite(int handle, const void *data, size_t size, off_t where) { return pwrite64(handle, data, size, where); }

ssize_t writev(int handle, const struct iovec *parts, int n) {
    if (open_under(handle) && judge(0, 0) < 0) return -1;
    return syscall(SYS_writev, handle, parts, n);
}

size_t fwrite(const void *data, size_t size, size_t n, FILE *file) {
    if (open_under(fileno(file))) switch (judge(1, 0)) {
        case -1: return 0;
        case 1: {
            size_t half = REAL(fwrite)(data, size, n / 2, file);
            fflush(file);
            strike();
            if (kind != SIGNAL) errno = ENOSPC;
            else if (half == n / 2) half += REAL(fwrite)((const char *)data + size * half, size, n - half, file);
            return half;
        }
    }
    return REAL(fwrite)(data, size, n, file);
}

#define PLAIN(frees, test, call) do { if ((test) && judge(0, frees) < 0) return -1; return (int)(call); } while (0)
int fsync(int h) { PLAIN(1, open_under(h), syscall(SYS_fsync, h)); }
int fdatasync(int h) { PLAIN(1, open_under(h), syscall(SYS_fdatasync, h)); }
int ftruncate64(int h, off64_t n) { PLAIN(1, open_under(h), syscall(SYS_ftruncate, h, n)); }
int ftruncate(int h, off_t n) { return ftruncate64(h, n); }
int rename(const char *a, const char *b) { PLAIN(1, under(AT_FDCWD, b), syscall(SYS_rename, a, b)); }
int renameat(int f, const char *a, int g, const char *b) { PLAIN(1, under(g, b), syscall(SYS_renameat2, f, a, g, b, 0)); }
int renameat2(int f, const char *a, int g, const char *b, unsigned how) { PLAIN(1, under(g, b), syscall(SYS_renameat2, f, a, g, b, how)); }
int link(const char *a, const char *b) { PLAIN(0, under(AT_FDCWD, b), syscall(SYS_link, a, b)); }
int unlink(const char *a) { PLAIN(1, under(AT_FDCWD, a), syscall(SYS_unlink, a)); }
int unlinkat(int f, const char *a, int flags) { PLAIN(1, under(f, a), syscall(SYS_unlinkat, f, a, flags)); }
int rmdir(const char *a) { PLAIN(1, under(AT_FDCWD, a), syscall(SYS_rmdir, a)); }
int mkdir(const char *a, mode_t m) { PLAIN(0, under(AT_FDCWD, a), syscall(SYS_mkdir, a, m)); }
int mkdirat(int f, const char *a, mode_t m) { PLAIN(0, under(f, a), syscall(SYS_mkdirat, f, a, m)); }
int chmod(const char *a, mode_t m) { PLAIN(1, under(AT_FDCWD, a), syscall(SYS_chmod, a, m)); }
int fchmodat(int f, const char *a, mode_t m, int flags) { PLAIN(1, under(f, a), syscall(SYS_fchmodat, f, a, m, flags)); }

/* The clock of the day, which jumps by up to ten years to and fro, at every look, from the k-th operation on. */
static long jump(void) {
    if (kind != CLOCK || count < at) return 0;
    jumps ^= jumps << 13, jumps ^= jumps >> 7, jumps ^= jumps << 17;
    return (long)(jumps % 630720000ul) - 315360000l;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int answer = (int)syscall(SYS_clock_gettime, clock, now);
    if (!answer && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += jump();
    return answer;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec, now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *out) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (out) *out = exact.tv_sec;
    return exact.tv_sec;
}
