// Package rgm is the resource group manager: which service runs where, and
// what happens when something fails. Behaviour and words are those of
// rgmanager 3.2 (rgmanager(8), clusvcadm(8)) where docs/adr does not say
// otherwise.
//
// Core is one node's part. It is stepped with events and returns actions:
//
//	core := rgm.New(rgm.Options{Self: group.Self(), Name: "lnxa", Kept: kept})
//	for _, a := range core.Step(now, rgm.Engine{Event: view}) { execute(a) }
//	wake := core.Next() // step a Tick then at the latest
//
// Events are Engine (everything from the group and the watch of package
// cluster), Config, NodeSafe (from fenced), AgentEnded, Check (a watcher saw
// something), Client (a request of a person), Shutdown and Tick. Actions are
// Send, RunAgent, KillAgent, Log, Reply, Changed, Save, HardDown, Leave and
// Exit; they are to be executed in the order in which they come. Core.Status,
// Core.Why and Core.Plan are read between steps.
//
// The state of all services is a replicated machine: every node applies the
// same commands in the same order and comes to the same decisions, where each
// service runs and what is to be done with it. A node acts only on decisions
// that name itself. It runs the resource agents of a service one at a time and
// sends what came of it as a command. So nothing is locked, nothing is raced
// for, and each decision leaves one record with its inputs.
//
// What keeps a service from running twice:
//
//   - A service has one owner. It gets another one only when the owner said
//     that it stopped it, when the owner's node joined anew and said that it
//     does not run it, or when the node is known to be off (NodeSafe).
//   - A node without quorum stops everything, and goes down hard if it can not.
//   - A node that was paused runs no agent before a message of its own has come
//     back to it, in the history that counts.
//   - A stop that failed leaves the service failed, until a person or the
//     fencing of the node resolves it.
//
// A Core is for one goroutine at a time.
package rgm
