/* The wall clock of one process, set apart from that of its machine; loaded in front of the C library by `clock.rs`.
 *
 * Linux has namespaces for the clocks that count from the boot, and none for the one that people set. Only what asks for
 * that one is here: no clock that only ever goes forward, no wait for some time, no timer is touched.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* How many seconds it is ahead: the first eight bytes of the file, which the test changes while we run. */
static const volatile int64_t *offset;

__attribute__((constructor)) static void find_offset(void)
{
	const char *path = getenv("TEST_CLOCK");
	int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (file < 0)
		return;
	void *page = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
	close(file);
	if (page != MAP_FAILED)
		offset = page;
}

static int64_t ahead(void)
{
	return offset ? *offset : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = (int)syscall(SYS_clock_gettime, clock, now);
	if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		now->tv_sec += ahead();
	return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec precise;
	(void)zone;
	clock_gettime(CLOCK_REALTIME, &precise);
	now->tv_sec = precise.tv_sec;
	now->tv_usec = precise.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *now)
{
	struct timespec precise;
	clock_gettime(CLOCK_REALTIME, &precise);
	if (now)
		*now = precise.tv_sec;
	return precise.tv_sec;
}

/* RocksDB waits until a time of the wall clock, which it has from here; the kernel knows only the machine's. */
int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
			   const struct timespec *restrict until)
{
	static int (*machines)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
	struct timespec there = *until;
	if (!machines)
		*(void **)&machines = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
	there.tv_sec -= ahead();
	return machines(condition, mutex, &there);
}
