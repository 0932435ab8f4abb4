// Package fencing is the fence domain: when a node fails, exactly one survivor
// fences it, until it is off.
//
// Core is the fence daemon of one node. Its shell joins the group Group of the
// cluster engine, watches the engine, and hands every event to Step; it carries
// out the actions and calls Step with a Tick at the time that Next gives:
//
//	core := fencing.New(cfg, group.Self())
//	for _, a := range core.Step(now, fencing.Cluster{Event: ev}) { … }
//
// The core knows no methods and devices. It says Fence, an attempt by whatever
// cluster.conf has for the node, and is told Ended with a Result that is OK only
// if the node is known to be off.
//
// The behaviour is that of fenced(8) of the cluster suite: the newest change of
// the domain goes through the states quorum, messages and fencing; the lowest
// member that has been through a whole change is the master and fences; the
// others defer to it and take over when it fails. What the domain knows (its
// members, victims, history) is replicated by package cluster's Replica, so that
// a new master goes on where the old one was.
//
// # Staleness
//
// A node that was frozen or cut off comes back with its daemon. The domain
// declared it failed, so it is a victim in the state it then receives; it does
// nothing from there on, and is fenced. Only a daemon that was started anew, and
// therefore sends "clean", makes its node no victim. A daemon must not start on
// a node where something still runs that relies on fencing; to find that out is
// the work of the shell.
//
// Attempts belong to a victim, not to a node: a node that comes back and fails
// again is another victim, and what an attempt at the first one says does not
// count for the second.
//
// # Fence races
//
// If a cluster of two nodes splits, both sides are quorate and would fence each
// other. With a policy (fence_race in fence_daemon) one side wins and fences at
// once; the other one waits its turn:
//
//	turn = token + off time + the longest delay of a node
//
// token bounds how much later than the other one side notices the split; the off
// time (5 s) is what it takes from the decision until the victim is off. With
// fence_race_delay set, that stands for token + off time. A node's delay
// (fence/@delay) is added before it is fenced, race or not.
//
// The policies compare the members of the domain that stay with those that
// failed: "services" by the sum of the weights of the services they run, as
// rgmanager says; "qdisk" by where the master of the quorum disk is; "lowest" by
// the lowest node id, which also decides all that is a tie or not known. A failed
// attempt is repeated in the first half of the own turns only, which alternate
// with those of the other side.
//
// What decides was replicated before the split. As a change of it can have
// reached one side only, every member confirms it: while confirmations are
// missing, a side waits two or three turns (by node id) and not none or one. If
// one side has all confirmations, then the other one has the same input, or
// knows that it is in the middle of a change: both sides' ranks always differ.
//
//	rank 0, fences at once:   all confirmed, wins by the policy
//	rank 1, waits one turn:   all confirmed, loses
//	rank 2, waits two turns:  unconfirmed, has the lower node
//	rank 3, waits three:      unconfirmed, has not
//
// The price: a survivor that would have lost the race waits for a turn even if
// the other side is really dead. With more than two nodes quorum decides, so the
// default is "services" for clusters of two and "none" for others.
package fencing
