/*
 * A layer below a process that lets a disk fail when it is told to. Loaded by LD_PRELOAD; `failing-disk.ts` builds it.
 *
 *   FAILING_FOLDER  what is at or below it is on that disk
 *   FAILING_SIGN    a file elsewhere. While it is there the disk fails; its first letter says how:
 *                   w  nothing is written (EIO)   r  the file system has become read-only (EROFS)   s  syncs fail (EIO)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define NEXT(name) ({ static __typeof__(&name) next; if (next == NULL) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name); next; })

static char folder[PATH_MAX];
static const char *sign;

__attribute__((constructor)) static void begin(void) {
  const char *given = getenv("FAILING_FOLDER");
  if (given != NULL && realpath(given, folder) != NULL) sign = getenv("FAILING_SIGN");
}

/* How the disk of this file fails now; 0: it does not. */
static char failure(int file) {
  char letter = 0, link[64], path[PATH_MAX];
  if (sign == NULL) return 0;
  int shown = NEXT(open)(sign, O_RDONLY | O_CLOEXEC);
  if (shown < 0) return 0;
  if (read(shown, &letter, 1) != 1) letter = 0;
  close(shown);
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return strncmp(path, folder, strlen(folder)) == 0 ? letter : 0;
}

static int refuses_writes(int file) {
  int error = errno;
  char how = failure(file);
  errno = how == 'w' ? EIO : how == 'r' ? EROFS : error;
  return how == 'w' || how == 'r';
}

static int refuses_syncs(int file) {
  int error = errno;
  char how = failure(file);
  errno = how == 's' ? EIO : error;
  return how == 's';
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) {
  return refuses_writes(file) ? -1 : NEXT(pwrite)(file, bytes, count, at);
}
ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) {
  return refuses_writes(file) ? -1 : NEXT(pwrite64)(file, bytes, count, at);
}
ssize_t write(int file, const void *bytes, size_t count) {
  return refuses_writes(file) ? -1 : NEXT(write)(file, bytes, count);
}
int ftruncate(int file, off_t size) {
  return refuses_writes(file) ? -1 : NEXT(ftruncate)(file, size);
}
int ftruncate64(int file, off64_t size) {
  return refuses_writes(file) ? -1 : NEXT(ftruncate64)(file, size);
}
int fsync(int file) {
  return refuses_syncs(file) ? -1 : NEXT(fsync)(file);
}
int fdatasync(int file) {
  return refuses_syncs(file) ? -1 : NEXT(fdatasync)(file);
}
