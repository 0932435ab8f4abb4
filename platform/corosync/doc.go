// Package corosync speaks to a running corosync 3 daemon in pure Go: no cgo,
// no C library, no change in the daemon's configuration. It is a client of the
// daemon's five services, each on a connection of its own:
//
//   - CMap, the run-time key/value store;
//   - Cfg, link status, killing a node, ordered shutdown, reload;
//   - CPG, closed process groups: totally ordered multicast and membership;
//   - Quorum, the quorate flag and the members of the ring;
//   - VoteQuorum, votes, expected votes and the quorum device.
//
// An example:
//
//	m, err := corosync.DialCMap(ctx, corosync.Config{})
//	if err != nil {
//		return err // errors.Is(err, corosync.ErrNotRunning): no daemon here
//	}
//	defer m.Close()
//	name, err := m.String(ctx, "totem.cluster_name")
//
// # Connections
//
// The daemon decides how the channels of a connection are built: rings in
// shared memory (libqb's default on Linux) or datagram sockets (qb_ipc_type:
// socket). Both are supported. Client and daemon must share the network
// namespace (the sockets have abstract names) and the mount of /dev/shm.
// The layouts are those of 64-bit systems with glibc, in the machine's own
// byte order.
//
// Every call has a limit: the earlier of the context's deadline and
// Config.Limit, since a stopped daemon gives no sign of it. A call that ran
// into its limit ends the connection: a late answer would be taken for that of
// the next call. After ErrLost, ErrTimeout or ErrProtocol a connection
// is of no more use; close it and dial again. Trackers, groups and
// registrations have to be made again on the new one.
//
// All methods are safe for concurrent use, except that the events of a
// connection (Next) have one reader. Events must be read: what is not read is
// kept, up to Config.QueueLimit, and then the connection ends.
//
// # Cost
//
// "make bench" (or bin/tools/bench corosync) compares with the C libraries on
// one daemon, in turn: on a busy machine with two processors a call took 0.1 to
// 1.4 times as long, a multicast's way to its own delivery 1.0 to 1.5 times.
// It counts memory as well: a connection costs this process 30 to 120 KiB, one
// descriptor, one goroutine and no thread, and /dev/shm 3,120 KiB for cpg and
// 240 KiB for each other service, in six files that the daemon makes. Events
// that nobody reads come on top, up to Config.QueueLimit.
//
// # What it does not do
//
// It does not reconnect, and it does not decide what the loss of the daemon
// means: for a cluster service it is the loss of membership. 32-bit systems
// and corosync 2 or older are not supported.
package corosync
