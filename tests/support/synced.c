/* Preloaded into a server (LD_PRELOAD), notes how far each file has reached the disk: a line `inode size path` in the
   file that $SYNCED names, after each fsync and fdatasync, with the size that the file had before it. $SYNC_US delays each
   by so many microseconds. See benchmarks/power.py. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int noted(const char *call, int fd) {
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, call);
  const char *log = getenv("SYNCED");
  struct stat file;
  if (!log || fstat(fd, &file) || !S_ISREG(file.st_mode)) return real(fd);
  if (getenv("SYNC_US")) usleep(atoi(getenv("SYNC_US")));
  int result = real(fd);
  if (result) return result;
  char link[64], path[4096], line[4200];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return result;
  path[length] = 0;
  int size = snprintf(line, sizeof line, "%lu %ld %s\n", (unsigned long)file.st_ino, (long)file.st_size, path);
  int out = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (out < 0 || write(out, line, size) != size) abort();
  close(out);
  return result;
}

int fsync(int fd) { return noted("fsync", fd); }
int fdatasync(int fd) { return noted("fdatasync", fd); }
