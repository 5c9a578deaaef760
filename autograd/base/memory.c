#include "autograd/base/memory.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The start of a small file, as text. Without stdio, which would allocate: the peak is asked for in every step. */
static bool read_start(const char *path, size_t size, char *out) {
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    const ssize_t length = read(file, out, size - 1);
    close(file);
    out[length > 0 ? length : 0] = '\0';
    return length > 0;
}

/* The number after `key` in a file of lines "Key:  123 kB", in bytes; 0 where it is not there. */
static int64_t kilobytes_in(const char *path, const char *key) {
    char text[4096];
    const char *line = read_start(path, sizeof text, text) ? strstr(text, key) : NULL;
    return line ? strtoll(line + strlen(key), NULL, 10) * 1024 : 0;
}

/* 0 for "max" */
static int64_t number_in(const char *path) {
    char text[64];
    return read_start(path, sizeof text, text) ? strtoll(text, NULL, 10) : 0;
}

int64_t mla_memory_peak(void) { return kilobytes_in("/proc/self/status", "\nVmHWM:"); }
int64_t mla_memory_resident(void) { return kilobytes_in("/proc/self/status", "\nVmRSS:"); }

int64_t mla_memory_available(void) {
    const int64_t machine = kilobytes_in("/proc/meminfo", "\nMemAvailable:");
    const int64_t limit = number_in("/sys/fs/cgroup/memory.max"), used = number_in("/sys/fs/cgroup/memory.current");
    return limit > 0 && limit - used < machine ? limit - used : machine;
}

int64_t mla_memory_installed(void) {
    const int64_t machine = kilobytes_in("/proc/meminfo", "MemTotal:"), limit = number_in("/sys/fs/cgroup/memory.max");
    return limit > 0 && limit < machine ? limit : machine;
}
