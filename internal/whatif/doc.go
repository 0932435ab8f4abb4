// Package whatif runs a whole cluster in virtual time: the engine
// (cluster/clustersim), z/VM with its guests (smapi/zvmsim), the fence agents'
// core and the cores of our daemons, the very code of production, under random
// faults. One seed is one story: the same seed gives the same story, on every
// machine.
//
//	r := whatif.Run(whatif.Scenario(seed))
//	if len(r.Violations) > 0 { … whatif.Run with Trace set … }
//
// The story of a seed has two parts. In the first, nodes crash, freeze, thaw,
// are cut off and come back; the servers of z/VM hang, lie or are down; daemons
// are killed; with a quorum disk (DiskScenario), the disk, the ways to it and the
// clocks fail too. In the second all faults are mended and an operator starts
// what is off; then everything has to be well within a bound. The rules are
// looked at all the time.
//
// # Adding a daemon
//
// A daemon is a Part. Its Start is called whenever it begins a life on a node:
//
//	type rgm struct{ whatif.Base }
//
//	func (rgm) Name() string { return "rgmanager" }
//	func (rgm) Start(p *whatif.Process) (whatif.Daemon, error) {
//		g, _ := p.Engine.Join("haobox:rgm", func(ev cluster.Event) { … core.Step(p.Now(), …) … })
//		…
//	}
//
// Everything a daemon does goes through its Process: Engine, After for timers
// (they stop with the process and wait while the node is frozen), Exit. What
// another daemon of the same node says, as over its control socket, is
// p.Machine.Daemon("fenced"). What only the world knows (which guest runs) must
// not be asked by a daemon, only by rules. A Part may implement Faulty to add
// faults of its own to the first part of the story, and Checker to add rules.
// Parts are started in the order of World.Parts.
package whatif
