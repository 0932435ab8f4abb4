/* The C side of BenchmarkBesideC: medians, in nanoseconds, of N calls for the
 * local node id and of N multicasts of 64 bytes to their own delivery. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <corosync/cfg.h>
#include <corosync/cpg.h>

static int delivered;

static void deliver(cpg_handle_t h, const struct cpg_name *g, uint32_t node, uint32_t pid, void *msg, size_t len)
{
	delivered++;
}

static int order(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;
	return (x > y) - (x < y);
}

static long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

#define MUST(call) do { int rc = (call); if (rc != CS_OK) { fprintf(stderr, "%s: %d\n", #call, rc); exit(1); } } while (0)

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 1000;
	long *t = calloc(n, sizeof *t);
	corosync_cfg_handle_t cfg;
	corosync_cfg_callbacks_t none = { 0 };
	unsigned id;
	cpg_handle_t cpg;
	cpg_callbacks_t cb = { .cpg_deliver_fn = deliver };
	struct cpg_name g = { .length = 5, .value = "bench" };
	char msg[64] = { 0 };
	struct iovec iov = { msg, sizeof msg };

	MUST(corosync_cfg_initialize(&cfg, &none));
	for (int i = 0; i < n; i++) {
		long at = now();
		MUST(corosync_cfg_local_get(cfg, &id));
		t[i] = now() - at;
	}
	qsort(t, n, sizeof *t, order);
	printf("%ld ", t[n / 2]);
	MUST(cpg_initialize(&cpg, &cb));
	MUST(cpg_join(cpg, &g));
	for (int i = 0; i < n; i++) {
		int want = delivered + 1;
		long at = now();
		MUST(cpg_mcast_joined(cpg, CPG_TYPE_AGREED, &iov, 1));
		while (delivered < want)
			MUST(cpg_dispatch(cpg, CS_DISPATCH_ONE));
		t[i] = now() - at;
	}
	qsort(t, n, sizeof *t, order);
	printf("%ld\n", t[n / 2]);
	return 0;
}
