// Shim: stands between a program and its disk and clock (LD_PRELOAD); for tests only.
//
//   program ─libc call─► shim ─system call─► kernel
//                          ├─► GTV_SHIM_LOG      what was done to files below GTV_SHIM_DISK, in its order
//                          └─◄ GTV_SHIM_CONTROL  a page shared with the test: calls that fail, the clock's shift
//
// One lock is held over each call and its entry, so that their order is the true one; a sync has an entry for its begin and
// one for its end, since others write meanwhile. A sync takes as long as a disk's and reaches none: what it keeps is the
// replay's to say (tests/src/disk_log.rs, which knows the entries too).
//
// Left out: SQLite's shared memory (-shm), which it makes anew after a crash, and calls that this server does not use.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

// What the test may change at any time; tests/src/shim.rs writes it. An error of 0 is none.
struct control {
  volatile int32_t write_errno;  // bytes of recordings
  volatile int32_t sync_errno;   // their syncs
  volatile int32_t name_errno;   // names below their folder: made, removed
  volatile int32_t sync_ms;      // what a sync takes
  volatile int64_t shift_us;     // of the wall clock
};

enum kind { OPEN = 1, WRITE, TRUNCATE, SYNC_BEGIN, SYNC_END, RENAME, UNLINK, MKDIR, SYMLINK, SYNC_FAILED };

// Of an entry; its name and its bytes follow. Two names have a zero between them.
struct head {
  uint32_t kind, slot, name_bytes, data_bytes;
  uint64_t offset;  // WRITE: where; TRUNCATE: the length; OPEN: the flags; SYNC_*: the sync's number
  int64_t time_us;
};

#define FDS 65536
static uint32_t slots[FDS];     // which open an fd is of; 0: none of ours
static char is_recording[FDS];  // faults are for recordings, not for their catalogue
static uint32_t opens, syncs;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct control none, *control = &none;
static const char *disk;
static size_t disk_bytes;
static int log_fd = -1;

__attribute__((constructor)) static void begin(void) {
  const char *log = getenv("GTV_SHIM_LOG"), *page = getenv("GTV_SHIM_CONTROL");
  disk = getenv("GTV_SHIM_DISK");
  if (disk) disk_bytes = strlen(disk);
  if (log) log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (page) {
    int fd = syscall(SYS_openat, AT_FDCWD, page, O_RDWR | O_CLOEXEC);
    void *map = mmap(NULL, sizeof *control, PROT_READ, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED) control = map;
    syscall(SYS_close, fd);
  }
}

static int64_t now_us(void) {
  struct timespec at;
  syscall(SYS_clock_gettime, CLOCK_REALTIME, &at);
  return (int64_t)at.tv_sec * 1000000 + at.tv_nsec / 1000;
}

static int is_watched(const char *name) {
  size_t bytes = strlen(name);
  return disk && strncmp(name, disk, disk_bytes) == 0 && !(bytes > 4 && strcmp(name + bytes - 4, "-shm") == 0);
}
static int is_of_recordings(const char *name) { return is_watched(name) && strstr(name, "/recordings"); }
static uint32_t slot_of(int fd) { return fd >= 0 && fd < FDS ? slots[fd] : 0; }

// Pieces of an entry; a log that can't be written would prove nothing, so the program ends then.
static void put(const void *bytes, size_t len) {
  while (len > 0) {
    ssize_t put = syscall(SYS_write, log_fd, bytes, len);
    if (put <= 0) abort();
    bytes = (const char *)bytes + put;
    len -= put;
  }
}
static void entry(enum kind kind, uint32_t slot, uint64_t offset, const char *name, size_t name_bytes, size_t data_bytes) {
  struct head head = {kind, slot, name_bytes, data_bytes, offset, now_us()};
  put(&head, sizeof head);
  put(name, name_bytes);
}
static void named(enum kind kind, const char *name) {
  if (log_fd >= 0) entry(kind, 0, 0, name, strlen(name), 0);
}
static void named_two(enum kind kind, const char *one, const char *two) {
  if (log_fd < 0) return;
  char both[2 * 4096];
  size_t first = strnlen(one, 4095) + 1, second = strnlen(two, 4095);
  memcpy(both, one, first);
  memcpy(both + first, two, second);
  entry(kind, 0, 0, both, first + second, 0);
}

static int fails(int error) {
  if (error) errno = error;
  return error != 0;
}

static int open_it(int at, const char *name, int flags, mode_t mode) {
  if (!is_watched(name)) {
    int fd = syscall(SYS_openat, at, name, flags, mode);
    if (fd >= 0 && fd < FDS) slots[fd] = 0;
    return fd;
  }
  int writes = (flags & O_ACCMODE) != O_RDONLY;
  if (writes && (flags & O_CREAT) && is_of_recordings(name) && fails(control->name_errno)) return -1;
  pthread_mutex_lock(&lock);
  int fd = syscall(SYS_openat, at, name, flags, mode), error = errno;
  if (fd >= 0 && fd < FDS) {
    slots[fd] = ++opens;
    is_recording[fd] = is_of_recordings(name);
    if (log_fd >= 0) entry(OPEN, slots[fd], flags, name, strlen(name), 0);
  }
  pthread_mutex_unlock(&lock);
  errno = error;
  return fd;
}
#define MODE(flags, mode)                       \
  mode_t mode = 0;                              \
  if ((flags) & (O_CREAT | __O_TMPFILE)) {      \
    va_list rest;                               \
    va_start(rest, flags);                      \
    mode = va_arg(rest, mode_t);                \
    va_end(rest);                               \
  }
int open(const char *name, int flags, ...) { MODE(flags, mode) return open_it(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags, mode) return open_it(AT_FDCWD, name, flags, mode); }
int openat(int at, const char *name, int flags, ...) { MODE(flags, mode) return open_it(at, name, flags, mode); }
int openat64(int at, const char *name, int flags, ...) { MODE(flags, mode) return open_it(at, name, flags, mode); }
int close(int fd) {
  if (slot_of(fd)) slots[fd] = 0;
  return syscall(SYS_close, fd);
}

static ssize_t written(int fd, const struct iovec *pieces, int count, int64_t offset) {
  uint32_t slot = slot_of(fd);
  if (!slot) {
    if (offset < 0) return syscall(SYS_writev, fd, pieces, count);
    return syscall(SYS_pwrite64, fd, pieces->iov_base, pieces->iov_len, offset);
  }
  if (is_recording[fd] && fails(control->write_errno)) return -1;
  pthread_mutex_lock(&lock);
  int64_t at = offset < 0 ? syscall(SYS_lseek, fd, 0, SEEK_CUR) : offset;
  ssize_t done = offset < 0 ? syscall(SYS_writev, fd, pieces, count)
                            : syscall(SYS_pwrite64, fd, pieces->iov_base, pieces->iov_len, offset);
  int error = errno;
  if (done > 0 && log_fd >= 0) {
    entry(WRITE, slot, at, "", 0, done);
    size_t left = done;
    for (const struct iovec *piece = pieces; left > 0; piece++) {
      size_t len = piece->iov_len < left ? piece->iov_len : left;
      put(piece->iov_base, len);
      left -= len;
    }
  }
  pthread_mutex_unlock(&lock);
  errno = error;
  return done;
}
ssize_t write(int fd, const void *bytes, size_t len) {
  if (!slot_of(fd)) return syscall(SYS_write, fd, bytes, len);
  struct iovec piece = {(void *)bytes, len};
  return written(fd, &piece, 1, -1);
}
ssize_t writev(int fd, const struct iovec *pieces, int count) { return written(fd, pieces, count, -1); }
ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t offset) {
  struct iovec piece = {(void *)bytes, len};
  return written(fd, &piece, 1, offset);
}
ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset) { return pwrite64(fd, bytes, len, offset); }

int ftruncate64(int fd, off64_t len) {
  uint32_t slot = slot_of(fd);
  if (slot && is_recording[fd] && fails(control->write_errno)) return -1;
  pthread_mutex_lock(&lock);
  int done = syscall(SYS_ftruncate, fd, len), error = errno;
  if (slot && done == 0 && log_fd >= 0) entry(TRUNCATE, slot, len, "", 0, 0);
  pthread_mutex_unlock(&lock);
  errno = error;
  return done;
}
int ftruncate(int fd, off_t len) { return ftruncate64(fd, len); }

static int synced(int fd, long call) {
  uint32_t slot = slot_of(fd);
  if (!slot) return syscall(call, fd);
  pthread_mutex_lock(&lock);
  uint32_t number = ++syncs;
  if (log_fd >= 0) entry(SYNC_BEGIN, slot, number, "", 0, 0);
  pthread_mutex_unlock(&lock);
  struct timespec time = {control->sync_ms / 1000, control->sync_ms % 1000 * 1000000L};
  nanosleep(&time, NULL);
  int failed = is_recording[fd] && control->sync_errno != 0;
  pthread_mutex_lock(&lock);
  if (log_fd >= 0) entry(failed ? SYNC_FAILED : SYNC_END, slot, number, "", 0, 0);
  pthread_mutex_unlock(&lock);
  if (failed) errno = control->sync_errno;
  return failed ? -1 : 0;
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

// A call that makes or removes a name.
#define NAMED(name, call, noted)                                             \
  if (!is_watched(name)) return call;                                        \
  if (is_of_recordings(name) && fails(control->name_errno)) return -1;       \
  pthread_mutex_lock(&lock);                                                 \
  int done = call, error = errno;                                            \
  if (done == 0) noted;                                                      \
  pthread_mutex_unlock(&lock);                                               \
  errno = error;                                                             \
  return done;
int rename(const char *from, const char *to) {
  NAMED(to, syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to), named_two(RENAME, from, to))
}
int unlink(const char *name) { NAMED(name, syscall(SYS_unlinkat, AT_FDCWD, name, 0), named(UNLINK, name)) }
int rmdir(const char *name) { NAMED(name, syscall(SYS_unlinkat, AT_FDCWD, name, AT_REMOVEDIR), named(UNLINK, name)) }
int mkdir(const char *name, mode_t mode) { NAMED(name, syscall(SYS_mkdirat, AT_FDCWD, name, mode), named(MKDIR, name)) }
int symlink(const char *target, const char *name) {
  NAMED(name, syscall(SYS_symlinkat, target, AT_FDCWD, name), named_two(SYMLINK, target, name))
}

int clock_gettime(clockid_t clock, struct timespec *at) {
  int done = syscall(SYS_clock_gettime, clock, at);
  int64_t shift = control->shift_us;
  if (done == 0 && shift != 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    int64_t us = (int64_t)at->tv_sec * 1000000 + at->tv_nsec / 1000 + shift;
    at->tv_sec = us / 1000000;
    at->tv_nsec = us % 1000000 * 1000;
  }
  return done;
}
