"""A server whose clock really steps: a preloaded library adds an offset to the time of day only."""

import mmap
import shutil
import struct
import subprocess
from pathlib import Path

_SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long long *offset_ms;

__attribute__((constructor)) static void find_offset(void) {
    const char *path = getenv("STEPPING_CLOCK");
    int fd = path ? open(path, O_RDONLY) : -1;
    if (fd < 0) return;
    void *shared = mmap(NULL, sizeof *offset_ms, PROT_READ, MAP_SHARED, fd, 0);
    if (shared != MAP_FAILED) offset_ms = shared;
    close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (failed || !offset_ms || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return failed;
    long long ms = *offset_ms, ns = now->tv_nsec + ms % 1000 * 1000000;
    now->tv_sec += ms / 1000 + (ns >= 1000000000) - (ns < 0);
    now->tv_nsec = (ns + 1000000000) % 1000000000;
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result) {
    struct timespec exact;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
    if (result) *result = exact.tv_sec;
    return exact.tv_sec;
}
"""

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


class SteppingClock:
    """The clock of every process that is started with `environment`. Needs a C compiler."""

    def __init__(self, directory: Path) -> None:
        assert COMPILER is not None
        source, library, shared = directory / "clock.c", directory / "clock.so", directory / "offset"
        source.write_text(_SOURCE)
        subprocess.run([COMPILER, "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
        shared.write_bytes(struct.pack("q", 0))
        with shared.open("r+b") as file:
            self._offset = mmap.mmap(file.fileno(), 8)
        self.environment = {"LD_PRELOAD": str(library), "STEPPING_CLOCK": str(shared)}

    def step(self, ms: int) -> None:
        """Set the clock forward, or back."""
        self._offset[:] = struct.pack("q", struct.unpack("q", self._offset[:])[0] + ms)

    def close(self) -> None:
        """The processes keep the offset that they have."""
        self._offset.close()
