//go:build linux

package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haobox/haobox/internal/cluster"
	"github.com/haobox/haobox/platform/corosync"
)

// joinedKey holds when a node was seen to join ("SEQ UNIXTIME"); corosync
// itself does not tell. The key vanishes with the daemon, as it should.
const joinedKey = "haobox.joined."

// remember writes down when nodes joined, for cman_tool. Failures have no
// effect but a missing time there.
func (e *corosyncEngine) remember(ctx context.Context, m cluster.Membership) {
	for _, id := range m.Members {
		key := joinedKey + strconv.FormatUint(uint64(id), 10)
		if _, err := e.cmap.Get(ctx, key); errors.Is(err, corosync.ErrNotExist) || slices.Contains(m.Joined, id) {
			_ = e.cmap.Set(ctx, key, corosync.Text(fmt.Sprintf("%d %d", m.Ring.Seq, time.Now().Unix())))
		}
	}
	for _, id := range m.Left {
		if !slices.Contains(m.Members, id) {
			_ = e.cmap.Delete(ctx, joinedKey+strconv.FormatUint(uint64(id), 10))
		}
	}
}

// listed is an entry of corosync's nodelist.
type listed struct {
	id    cluster.NodeID
	name  string
	votes int
}

func nameOf(all []listed, id cluster.NodeID) string {
	for _, n := range all {
		if n.id == id {
			return n.name
		}
	}
	return fmt.Sprintf("Node%d", id) // as cman named nodes without configuration
}

// nodeList reads the nodes of the configuration, sorted by id.
func (e *corosyncEngine) nodeList(ctx context.Context) ([]listed, error) {
	keys, err := e.cmap.Keys(ctx, "nodelist.node.")
	if err != nil {
		return nil, err
	}
	var out []listed
	for _, k := range keys {
		at, found := strings.CutSuffix(k, ".nodeid")
		if !found {
			continue
		}
		id, err := e.cmap.Uint(ctx, k)
		if err != nil {
			return nil, err
		}
		n := listed{id: cluster.NodeID(id), votes: 1}
		if n.name, err = e.cmap.String(ctx, at+".name"); errors.Is(err, corosync.ErrNotExist) {
			n.name, err = e.cmap.String(ctx, at+".ring0_addr")
		}
		if err != nil {
			return nil, err
		}
		if v, err := e.cmap.Uint(ctx, at+".quorum_votes"); err == nil {
			n.votes = int(v)
		}
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b listed) int { return int(int64(a.id) - int64(b.id)) })
	return out, nil
}

// statusTries is how often Status asks again because the ring changed while it
// asked; the last answer is taken as it is.
const statusTries = 3

func (e *corosyncEngine) Status(ctx context.Context) (st cluster.Status, err error) {
	if e.closed.Load() {
		return cluster.Status{}, cluster.ErrNotJoined
	}
	for range statusTries {
		m, q, err := e.watches.state()
		if err != nil {
			return cluster.Status{}, err
		}
		if st, err = e.status(ctx, m, q); err != nil {
			return cluster.Status{}, translate(err)
		}
		if now, _, _ := e.watches.state(); now.Ring == m.Ring {
			break
		}
	}
	return st, nil
}

// status asks for everything as of one ring.
func (e *corosyncEngine) status(ctx context.Context, m cluster.Membership, q cluster.Quorum) (cluster.Status, error) {
	var err error
	st := cluster.Status{Engine: "corosync", Local: e.local.ID, Ring: m.Ring, Quorate: q.Quorate}
	if st.Cluster, err = e.cmap.String(ctx, "totem.cluster_name"); err != nil && !errors.Is(err, corosync.ErrNotExist) {
		return st, err
	}
	if st.ConfigVersion, err = e.cmap.Uint(ctx, "totem.config_version"); err != nil && !errors.Is(err, corosync.ErrNotExist) {
		return st, err
	}
	nodes, err := e.nodeList(ctx)
	if err != nil {
		return st, err
	}
	for _, id := range m.Members { // without a nodelist
		if !slices.ContainsFunc(nodes, func(n listed) bool { return n.id == id }) {
			nodes = append(nodes, listed{id: id, name: fmt.Sprintf("Node%d", id), votes: 1})
		}
	}
	v, err := e.voting(ctx)
	switch {
	case errors.Is(err, corosync.ErrNoService): // another quorum provider, or none
	case err != nil:
		return st, err
	default:
		info, err := v.Info(ctx, 0)
		if err != nil {
			return st, err
		}
		st.Expected, st.Total, st.Needed = int(info.HighestExpected), int(info.Total), int(info.Quorum)
		st.TwoNode = info.Flags&corosync.FlagTwoNode != 0
		if info.Flags&corosync.FlagDeviceAlive != 0 {
			st.DeviceName, st.DeviceVotes = info.DeviceName, int(info.DeviceVotes)
		}
	}
	for _, n := range nodes {
		ns := cluster.NodeStatus{Node: cluster.Node{ID: n.id, Name: n.name}, State: cluster.NodeDead, Votes: n.votes}
		if slices.Contains(m.Members, n.id) {
			ns.State = cluster.NodeMember
			e.joinedAt(ctx, &ns)
		}
		if v != nil {
			info, err := v.Info(ctx, uint32(n.id))
			switch {
			case err == nil:
				ns.Votes, ns.Expected = int(info.Votes), int(info.Expected)
				if info.State == corosync.NodeLeaving {
					ns.State = cluster.NodeLeaving
				}
			case !answered(err):
				return st, err
			}
		}
		all, err := e.ctl.Addresses(ctx, uint32(n.id))
		if err != nil && !answered(err) {
			return st, err
		}
		for _, a := range all {
			ns.Addresses = append(ns.Addresses, a.Unmap().String())
		}
		st.Nodes = append(st.Nodes, ns)
	}
	return st, nil
}

// answered reports whether an error is an answer of the daemon: it knows nothing
// of a node that it has not seen yet. Anything else is the end of the connection.
func answered(err error) bool {
	var code corosync.Error
	return errors.As(err, &code)
}

// joinedAt fills in what remember wrote.
func (e *corosyncEngine) joinedAt(ctx context.Context, ns *cluster.NodeStatus) {
	text, err := e.cmap.String(ctx, joinedKey+strconv.FormatUint(uint64(ns.ID), 10))
	if err != nil {
		return
	}
	var at int64
	if n, err := fmt.Sscanf(text, "%d %d", &ns.Incarnation, &at); err == nil && n == 2 {
		ns.JoinedAt = time.Unix(at, 0)
	}
}
