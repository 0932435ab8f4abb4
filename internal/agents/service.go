package agents

import "context"

// Service is a resource group itself. It only has something to do for NFS
// locks: with nfslock, a start makes the node's lock manager let go of all
// locks, so that clients claim theirs again. It never fails.
func Service(kill Kill) *Agent {
	nothing := func(context.Context, *Call) error { return nil }
	return &Agent{
		Type: "service",
		Start: func(_ context.Context, c *Call) error {
			if c.Bool("nfslock") {
				DropLocks(c, kill)
			}
			return nil
		},
		Stop: nothing, Status: nothing, Recover: nothing, Reload: nothing,
		InProcess: func(*Call) bool { return true },
	}
}

// DropLocks makes lockd, the kernel's NFS lock manager, let go of all locks: it
// does so when it gets SIGKILL.
func DropLocks(c *Call, kill Kill) {
	for _, p := range Processes(c) {
		if p.Command != "lockd" {
			continue
		}
		if err := kill(p.PID, SIGKILL); err != nil {
			c.Warnf("Drop NFS locks: kill lockd (process %d): %v", p.PID, err)
		}
	}
}
