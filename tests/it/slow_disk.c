// Preloaded into a process: its disk takes a while to have what was written.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int later(const char *name, int file) {
    const char *pause = getenv("SLOW_DISK_US");
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    usleep(pause ? atoi(pause) : 0);
    return real(file);
}

int fsync(int file) { return later("fsync", file); }
int fdatasync(int file) { return later("fdatasync", file); }
