/* Gives SQLite another clock of the day: preloaded, with OTHER_CLOCK_SECONDS set.

   It is the record's clock. All others stay true: gRPC waits for times of day by the kernel, which
   would have to show another one too. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long skew_for(void *caller) {
  Dl_info where;
  const char *seconds = getenv("OTHER_CLOCK_SECONDS");
  if (seconds == NULL || !dladdr(caller, &where) || where.dli_fname == NULL) return 0;
  const char *slash = strrchr(where.dli_fname, '/');
  const char *name = slash ? slash + 1 : where.dli_fname;
  return strstr(name, "sqlite") ? atol(seconds) : 0;
}

static int now(clockid_t clock, struct timespec *time, void *caller) {
  int status = (int)syscall(SYS_clock_gettime, clock, time);
  if (status == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
    time->tv_sec += skew_for(caller);
  return status;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  return now(clock, time, __builtin_return_address(0));
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
  struct timespec precise;
  (void)zone;
  int status = now(CLOCK_REALTIME, &precise, __builtin_return_address(0));
  time->tv_sec = precise.tv_sec;
  time->tv_usec = precise.tv_nsec / 1000;
  return status;
}

time_t time(time_t *result) {
  struct timespec precise;
  now(CLOCK_REALTIME, &precise, __builtin_return_address(0));
  if (result != NULL) *result = precise.tv_sec;
  return precise.tv_sec;
}
