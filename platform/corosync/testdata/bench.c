/* The C side of BenchmarkBesideC: medians, in nanoseconds, of N calls of each
 * service but cpg, and of N multicasts of 64 bytes to their own delivery. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <corosync/cfg.h>
#include <corosync/cmap.h>
#include <corosync/cpg.h>
#include <corosync/quorum.h>
#include <corosync/votequorum.h>

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

/* TIME prints the median of N calls. */
#define TIME(call) do { \
	for (int i = 0; i < n; i++) { long at = now(); MUST(call); t[i] = now() - at; } \
	qsort(t, n, sizeof *t, order); \
	printf("%ld ", t[n / 2]); \
} while (0)

int main(int argc, char **argv)
{
	int n = argc > 1 ? atoi(argv[1]) : 1000;
	long *t = calloc(n, sizeof *t);
	corosync_cfg_handle_t cfg;
	corosync_cfg_callbacks_t no_cfg = { 0 };
	cmap_handle_t map;
	quorum_handle_t quorum;
	quorum_callbacks_t no_quorum = { 0 };
	votequorum_handle_t votes;
	votequorum_callbacks_t no_votes = { 0 };
	struct votequorum_info info;
	unsigned id, type;
	int quorate;
	char *name;
	cpg_handle_t cpg;
	cpg_callbacks_t cb = { .cpg_deliver_fn = deliver };
	struct cpg_name g = { .length = 5, .value = "bench" };
	char msg[64] = { 0 };
	struct iovec iov = { msg, sizeof msg };

	MUST(corosync_cfg_initialize(&cfg, &no_cfg));
	TIME(corosync_cfg_local_get(cfg, &id));
	MUST(cmap_initialize(&map));
	TIME(cmap_get_string(map, "totem.cluster_name", &name));
	MUST(quorum_initialize(&quorum, &no_quorum, &type));
	TIME(quorum_getquorate(quorum, &quorate));
	MUST(votequorum_initialize(&votes, &no_votes));
	TIME(votequorum_getinfo(votes, 0, &info));
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
