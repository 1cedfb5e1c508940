/*
 * A layer below a process that records what it does to the files of one folder, in the order it does it, and passes every
 * call on as it is. Loaded by LD_PRELOAD; `recording.ts` builds it, and reads what it writes.
 *
 *   POWER_CUT_FOLDER   what is at or below it is recorded
 *   POWER_CUT_JOURNAL  the file that the records are appended to, outside of that folder; several processes may share it
 *   POWER_CUT_KILL     the process is killed after so many records, in the middle of whatever it does; 0 or absent: never
 *
 * A call and its record are one step under one lock, so that the records have the order of the calls; only a sync is two
 * records, since others may write while it waits. A record is one append. What cannot be followed, a file that is mapped to
 * be written for one, leaves a record that says so: a recording with a gap is none.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* As they are numbered in `recording.ts`. */
enum kind { CREATED = 1, WRITTEN, TRUNCATED, SYNC_BEGUN, SYNCED, UNLINKED, RENAMED, FOLDER_CREATED, FOLDER_REMOVED, NOTED, UNSEEN };

struct head {
  uint32_t bytes; /* of the whole record */
  uint32_t kind;
  uint64_t inode;
  uint64_t offset;
  uint32_t path_bytes; /* the rest behind the path is data */
  uint32_t thread;
};

#define FILES_MAX 65536

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t inode_of[FILES_MAX]; /* by file descriptor; 0: not recorded */
static char folder[PATH_MAX];
static size_t folder_length;
static int journal = -1;
static long records_left; /* until it is killed; 0: never */

/* The function below us of the same name. */
#define NEXT(name) ({ static __typeof__(&name) next; if (next == NULL) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name); next; })

__attribute__((constructor)) static void begin(void) {
  const char *folder_given = getenv("POWER_CUT_FOLDER"), *journal_given = getenv("POWER_CUT_JOURNAL");
  if (folder_given == NULL || journal_given == NULL || realpath(folder_given, folder) == NULL) return;
  folder_length = strlen(folder);
  const char *kill_given = getenv("POWER_CUT_KILL");
  if (kill_given != NULL) records_left = atol(kill_given);
  journal = NEXT(open)(journal_given, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static void record(enum kind kind, uint64_t inode, uint64_t offset, const char *path, const void *data, size_t bytes) {
  size_t path_bytes = path == NULL ? 0 : strlen(path);
  struct head head = {sizeof head + path_bytes + bytes, kind, inode, offset, path_bytes, syscall(SYS_gettid)};
  struct iovec parts[] = {{&head, sizeof head}, {(void *)path, path_bytes}, {(void *)data, bytes}};
  int error = errno;
  if (NEXT(writev)(journal, parts, 3) != (ssize_t)head.bytes) abort();
  if (records_left > 0 && --records_left == 0) kill(getpid(), SIGKILL);
  errno = error;
}

/* The absolute form of `path` where it is recorded, else NULL. */
static const char *recorded(int at, const char *path, char *absolute) {
  if (journal < 0 || path == NULL) return NULL;
  if (path[0] == '/') {
    if (strlen(path) >= PATH_MAX) return NULL;
    strcpy(absolute, path);
  } else {
    char base[PATH_MAX];
    if (at == AT_FDCWD) {
      if (getcwd(base, sizeof base) == NULL) return NULL;
    } else {
      char link[64];
      snprintf(link, sizeof link, "/proc/self/fd/%d", at);
      ssize_t length = readlink(link, base, sizeof base - 1);
      if (length < 0) return NULL;
      base[length] = 0;
    }
    if (snprintf(absolute, PATH_MAX, "%s/%s", base, path) >= PATH_MAX) return NULL;
  }
  if (strncmp(absolute, folder, folder_length) != 0) return NULL;
  return absolute[folder_length] == '/' || absolute[folder_length] == 0 ? absolute : NULL;
}

static uint64_t inode_at(int file) {
  return file >= 0 && file < FILES_MAX ? inode_of[file] : 0;
}

/* Files */

static int opened(int file, const char *path, int flags, int existed) {
  struct stat now;
  if (file < 0 || fstat(file, &now) != 0) return file;
  if (file >= FILES_MAX) record(UNSEEN, 0, 0, path, "open", 4);
  else inode_of[file] = now.st_ino;
  if (!existed) record(CREATED, now.st_ino, 0, path, NULL, 0);
  else if (flags & O_TRUNC) record(TRUNCATED, now.st_ino, 0, NULL, NULL, 0);
  return file;
}

#define OPEN(at, call)                                               \
  char absolute[PATH_MAX];                                           \
  mode_t mode = 0;                                                   \
  if (flags & (O_CREAT | O_TMPFILE)) {                               \
    va_list rest;                                                    \
    va_start(rest, flags);                                           \
    mode = va_arg(rest, mode_t);                                     \
    va_end(rest);                                                    \
  }                                                                  \
  const char *found = recorded(at, path, absolute);                  \
  if (found == NULL) return call;                                    \
  pthread_mutex_lock(&lock);                                         \
  struct stat before;                                                \
  int existed = stat(found, &before) == 0;                           \
  int file = opened(call, found, flags, existed);                    \
  pthread_mutex_unlock(&lock);                                       \
  return file;

int open(const char *path, int flags, ...) { OPEN(AT_FDCWD, NEXT(open)(path, flags, mode)) }
int open64(const char *path, int flags, ...) { OPEN(AT_FDCWD, NEXT(open64)(path, flags, mode)) }
int openat(int at, const char *path, int flags, ...) { OPEN(at, NEXT(openat)(at, path, flags, mode)) }
int openat64(int at, const char *path, int flags, ...) { OPEN(at, NEXT(openat64)(at, path, flags, mode)) }

int close(int file) {
  if (inode_at(file) != 0) inode_of[file] = 0;
  return NEXT(close)(file);
}

/* Where a write without an offset goes. */
static off_t place(int file) {
  struct stat now;
  if (fcntl(file, F_GETFL) & O_APPEND) return fstat(file, &now) == 0 ? now.st_size : 0;
  return lseek(file, 0, SEEK_CUR);
}

static void record_parts(uint64_t inode, off_t offset, const struct iovec *parts, int count, ssize_t written) {
  for (int i = 0; i < count && written > 0; i++) {
    size_t bytes = (size_t)written < parts[i].iov_len ? (size_t)written : parts[i].iov_len;
    record(WRITTEN, inode, offset, NULL, parts[i].iov_base, bytes);
    offset += bytes;
    written -= bytes;
  }
}

#define WRITE(where, call, parts, count)                               \
  uint64_t inode = inode_at(file);                                     \
  if (inode == 0) return call;                                         \
  pthread_mutex_lock(&lock);                                           \
  off_t from = where;                                                  \
  ssize_t written = call;                                              \
  record_parts(inode, from, parts, count, written);                    \
  pthread_mutex_unlock(&lock);                                         \
  return written;

#define ONE (&(struct iovec){(void *)data, bytes})

ssize_t write(int file, const void *data, size_t bytes) { WRITE(place(file), NEXT(write)(file, data, bytes), ONE, 1) }
ssize_t pwrite(int file, const void *data, size_t bytes, off_t at) { WRITE(at, NEXT(pwrite)(file, data, bytes, at), ONE, 1) }
ssize_t pwrite64(int file, const void *data, size_t bytes, off64_t at) { WRITE(at, NEXT(pwrite64)(file, data, bytes, at), ONE, 1) }
ssize_t writev(int file, const struct iovec *parts, int count) { WRITE(place(file), NEXT(writev)(file, parts, count), parts, count) }
ssize_t pwritev(int file, const struct iovec *parts, int count, off_t at) { WRITE(at, NEXT(pwritev)(file, parts, count, at), parts, count) }
ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t at) { WRITE(at, NEXT(pwritev64)(file, parts, count, at), parts, count) }

#define TRUNCATE(call)                                                        \
  uint64_t inode = inode_at(file);                                            \
  if (inode == 0) return call;                                                \
  pthread_mutex_lock(&lock);                                                  \
  int result = call;                                                          \
  if (result == 0) record(TRUNCATED, inode, length, NULL, NULL, 0);           \
  pthread_mutex_unlock(&lock);                                                \
  return result;

int ftruncate(int file, off_t length) { TRUNCATE(NEXT(ftruncate)(file, length)) }
int ftruncate64(int file, off64_t length) { TRUNCATE(NEXT(ftruncate64)(file, length)) }

#define SYNC(call)                                                    \
  uint64_t inode = inode_at(file);                                    \
  if (inode == 0) return call;                                        \
  pthread_mutex_lock(&lock);                                          \
  record(SYNC_BEGUN, inode, 0, NULL, NULL, 0);                        \
  pthread_mutex_unlock(&lock);                                        \
  int result = call;                                                  \
  pthread_mutex_lock(&lock);                                          \
  if (result == 0) record(SYNCED, inode, 0, NULL, NULL, 0);           \
  pthread_mutex_unlock(&lock);                                        \
  return result;

int fsync(int file) { SYNC(NEXT(fsync)(file)) }
int fdatasync(int file) { SYNC(NEXT(fdatasync)(file)) }

void *mmap64(void *address, size_t length, int protection, int flags, int file, off64_t offset) {
  uint64_t inode = inode_at(file);
  if (inode != 0 && (protection & PROT_WRITE) && (flags & MAP_SHARED)) record(UNSEEN, inode, 0, NULL, "mmap", 4);
  return NEXT(mmap64)(address, length, protection, flags, file, offset);
}

int fallocate64(int file, int mode, off64_t offset, off64_t length) {
  if (inode_at(file) != 0) record(UNSEEN, inode_at(file), 0, NULL, "fallocate", 9);
  return NEXT(fallocate64)(file, mode, offset, length);
}

/* Names */

#define NAME(at, path, call, kind)                                     \
  char absolute[PATH_MAX];                                             \
  const char *found = recorded(at, path, absolute);                    \
  if (found == NULL) return call;                                      \
  pthread_mutex_lock(&lock);                                           \
  int result = call;                                                   \
  struct stat now;                                                     \
  uint64_t inode = result == 0 && stat(found, &now) == 0 ? now.st_ino : 0; \
  if (result == 0) record(kind, inode, 0, found, NULL, 0);             \
  pthread_mutex_unlock(&lock);                                         \
  return result;

int mkdir(const char *path, mode_t mode) { NAME(AT_FDCWD, path, NEXT(mkdir)(path, mode), FOLDER_CREATED) }
int rmdir(const char *path) { NAME(AT_FDCWD, path, NEXT(rmdir)(path), FOLDER_REMOVED) }
int unlink(const char *path) { NAME(AT_FDCWD, path, NEXT(unlink)(path), UNLINKED) }
int unlinkat(int at, const char *path, int flags) {
  NAME(at, path, NEXT(unlinkat)(at, path, flags), flags & AT_REMOVEDIR ? FOLDER_REMOVED : UNLINKED)
}
int remove(const char *path) {
  struct stat now;
  return lstat(path, &now) == 0 && S_ISDIR(now.st_mode) ? rmdir(path) : unlink(path);
}

int rename(const char *from, const char *to) {
  char absolute_from[PATH_MAX], absolute_to[PATH_MAX];
  const char *found_from = recorded(AT_FDCWD, from, absolute_from), *found_to = recorded(AT_FDCWD, to, absolute_to);
  if (found_from == NULL && found_to == NULL) return NEXT(rename)(from, to);
  pthread_mutex_lock(&lock);
  int result = NEXT(rename)(from, to);
  if (found_from == NULL || found_to == NULL) record(UNSEEN, 0, 0, from, "rename", 6);
  else if (result == 0) record(RENAMED, 0, 0, found_from, found_to, strlen(found_to));
  pthread_mutex_unlock(&lock);
  return result;
}
