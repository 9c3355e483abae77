// Preloaded into a process: while there is the file SLOW_DISK_WHILE, its disk takes a while to have what was written.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int later(const char *name, int file) {
    const char *pause = getenv("SLOW_DISK_US"), *until = getenv("SLOW_DISK_WHILE");
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (pause && until && access(until, F_OK) == 0) {
        usleep(atoi(pause));
    }
    return real(file);
}

int fsync(int file) { return later("fsync", file); }
int fdatasync(int file) { return later("fdatasync", file); }
