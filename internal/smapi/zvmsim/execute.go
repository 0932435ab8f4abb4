package zvmsim

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/haobox/haobox/internal/smapi"
)

// execute does what a request asks for that was admitted. With pretend it
// works out the answer and changes nothing.
func (c *Core) execute(j *job, pretend bool) answer {
	return c.withError(j, c.executeFunction(j, pretend))
}

func (c *Core) executeFunction(j *job, pretend bool) answer {
	m := j.conn.member
	s := m.sys
	switch j.fn.Name {
	case smapi.CheckAuthentication:
		return answer{}
	case smapi.QueryAPIFunctionalLevel:
		return answer{reason: s.Level}
	case smapi.ImageActivate:
		return c.each(j, 28, func(g *guest) (int, int) { return c.activate(j, g, pretend) })
	case smapi.ImageRecycle:
		return c.each(j, 36, func(g *guest) (int, int) { return c.recycle(j, g, pretend) })
	case smapi.ImageDeactivate:
		text, _, _ := smapi.CutString(j.req.Params) // checkSyntax has seen it
		ft, _ := smapi.ParseForceTime(text)
		return c.each(j, 32, func(g *guest) (int, int) { return c.deactivate(j, g, ft, pretend) })
	case smapi.ImageStatusQuery:
		return c.status(j)
	case smapi.ImageNameQueryDM:
		var names []string
		for _, g := range s.guests {
			if !g.def.Undefined {
				names = append(names, g.name)
			}
		}
		return answer{data: smapi.EncodeNameArray(names), arrayAt: 1}
	case smapi.ImageQueryDM:
		g := s.byName[upper(j.req.Target)]
		if g == nil || g.def.Undefined {
			return answer{ret: 400, reason: 4}
		}
		// Records have the shape of names.
		return answer{data: smapi.EncodeNameArray(g.statements()), arrayAt: 1}
	case smapi.ImageQueryActivateTime:
		return c.activateTime(j)
	case smapi.ImageActiveConfigurationQuery:
		return c.configuration(j)
	case smapi.SSIQuery:
		return c.ssiQuery(j)
	case smapi.SystemInformationQuery:
		lines := []string{
			"System: " + m.name, "Virtual machine monitor: z/VM (simulated)",
			fmt.Sprintf("Users: %d", c.users(m)), "Time: " + c.now.Format("2006-01-02 15:04:05"),
		}
		return answer{data: smapi.AppendString(nil, strings.Join(lines, "\x00")+"\x00")}
	case smapi.QueryDirectoryManagerLevelDM:
		return answer{data: smapi.AppendString(nil, "Directory manager of the simulated z/VM")}
	case smapi.QueryAsynchronousOperationDM:
		return c.operation(j)
	case smapi.ResponseRecovery:
		id := binary.BigEndian.Uint32(j.req.Params)
		for i := range c.saved {
			if r := &c.saved[i].resp; c.saved[i].id == id {
				return answer{ret: r.Return, reason: r.Reason, data: r.Data}
			}
		}
		return answer{ret: 4, reason: 4}
	case smapi.AuthorizationListAdd, smapi.AuthorizationListRemove, smapi.AuthorizationListQuery:
		return c.authorizationList(j, pretend)
	case smapi.EventSubscribe:
		if !pretend {
			key, _, _ := smapi.CutString(j.req.Params)
			j.conn.matchKey, j.conn.requester = upper(key), j.requester
		}
		return answer{stay: !pretend}
	case smapi.EventUnsubscribe:
		if !pretend {
			for _, cn := range slices.Clone(c.subscribers) {
				if cn.member == m && cn.requester == j.requester {
					c.closeConn(cn.id, EndClose)
				}
			}
		}
		return answer{idOnly: true}
	case smapi.EventStreamAdd:
		if !pretend {
			e := smapi.Event{Type: int(int32(binary.BigEndian.Uint32(j.req.Params))), Data: j.req.Params[4:]}
			c.publish(m, e, string(e.Data))
		}
		return answer{}
	}
	return answer{ret: 900, reason: 4}
}

// each does something to the guest or to every guest of the list that is the
// target. some is the reason code when it failed for a part of a list.
func (c *Core) each(j *job, some int, do func(*guest) (ret, reason int)) answer {
	s := j.conn.member.sys
	name := upper(j.req.Target)
	list := c.images(j)
	var failing []smapi.Failing
	var a answer
	done := 0
	one := func(name string) {
		ret, reason := 200, 4
		if g := s.byName[name]; g != nil {
			ret, reason = do(g)
		} else if j.fn.Name == smapi.ImageDeactivate && s.Switches.UnknownIsOff {
			reason = 12
		}
		if ret != 0 {
			failing = append(failing, smapi.Failing{Name: name, Return: ret, Reason: reason})
		} else {
			done++
		}
		a.ret, a.reason = ret, reason
	}
	switch {
	case list != nil:
		for _, n := range list {
			one(n)
		}
		a.ret, a.reason = 0, 0
		if len(failing) > 0 {
			a.ret, a.reason = 200, some
		}
	case len(name) > smapi.MaxNameLength:
		return answer{ret: 200, reason: 24}
	default:
		one(name)
	}
	// The array stands behind two counters.
	a.data, a.arrayAt = smapi.EncodeImageCounts(done, len(failing), failing), 8+1
	return a
}

// visible reports whether Image_Status_Query at m shows g as active.
func (c *Core) visible(m *member, g *guest) bool {
	sw := &g.sys.Switches
	if g.member != m && !sw.ElsewhereVisible {
		return false
	}
	return g.state == On || g.state == Stopping || g.state == Starting && sw.StartingIsActive
}

// status is Image_Status_Query.
func (c *Core) status(j *job) answer {
	m := j.conn.member
	name := upper(j.req.Target)
	var names []string
	add := func(g *guest) {
		if g != nil && c.visible(m, g) {
			names = append(names, g.name)
		}
	}
	list := c.images(j)
	switch {
	case name == "*":
		for _, g := range m.sys.guests {
			if !m.sys.Switches.StatusStarFilters || m.auth.allows(j.requester, j.fn.Name, g.name) {
				add(g)
			}
		}
		if len(names) == 0 {
			return answer{reason: 28, data: smapi.EncodeNameArray(nil), arrayAt: 1}
		}
	case list != nil:
		for _, n := range list {
			add(m.sys.byName[n])
		}
	default:
		g := m.sys.byName[name]
		if g == nil && m.sys.Switches.UnknownStatus {
			return answer{ret: 200, reason: 4}
		}
		add(g)
	}
	if len(names) > 0 {
		return answer{data: smapi.EncodeNameArray(names), arrayAt: 1}
	}
	a := answer{reason: 12}
	if m.sys.Switches.InactiveArray {
		a.data, a.arrayAt = smapi.EncodeNameArray(nil), 1
	}
	return a
}

// active returns the guest that the target names if it is active at the
// member, with the codes if it is not.
func (c *Core) active(j *job) (*guest, answer) {
	g := j.conn.member.sys.byName[upper(j.req.Target)]
	switch {
	case g == nil:
		return nil, answer{ret: 200, reason: 4}
	case !c.visible(j.conn.member, g):
		return nil, answer{ret: 200, reason: 12}
	}
	return g, answer{}
}

// activateTime is Image_Query_Activate_Time.
func (c *Core) activateTime(j *job) answer {
	g, a := c.active(j)
	if g == nil {
		return a
	}
	layouts := [...]string{"01/02/06", "01/02/2006", "06-01-02", "2006-01-02", "02/01/06"}
	b := smapi.AppendString(nil, g.name)
	b = smapi.AppendString(b, g.since.Format(layouts[j.req.Params[0]-1]))
	return answer{data: smapi.AppendString(b, g.since.Format("15:04:05"))}
}

// configuration is Image_Active_Configuration_Query: a guest of 2 GB with two
// processors, a console and one disk.
func (c *Core) configuration(j *job) answer {
	g, a := c.active(j)
	if g == nil {
		return a
	}
	b := smapi.AppendInt4(nil, 2)
	b = append(b, unitGigabytes, shareRelative)
	b = smapi.AppendString(b, "100")
	b = smapi.AppendInt4(b, 2)
	var cpus, devices []byte
	for i, state := range []byte{cpuBase, cpuActive} {
		e := smapi.AppendInt4(nil, uint32(i))
		e = smapi.AppendString(e, fmt.Sprintf("FF000123456789%02d", i))
		cpus = smapi.AppendString(cpus, string(append(e, state)))
	}
	devices = smapi.AppendString(devices, string(smapi.AppendString([]byte{deviceConsole}, "0009")))
	devices = smapi.AppendString(devices, string(smapi.AppendString([]byte{deviceDisk}, "0150")))
	b = smapi.AppendString(b, string(cpus))
	at := len(b)
	return answer{data: smapi.AppendString(b, string(devices)), arrayAt: at + 1}
}

// Values of one byte in the output of Image_Active_Configuration_Query.
const (
	unitGigabytes = 3
	shareRelative = 1
	cpuBase       = 1
	cpuActive     = 4
	deviceConsole = 1
	deviceDisk    = 5
)

// statements are the directory statements of a guest.
func (g *guest) statements() []string {
	if g.def.Directory != nil {
		return g.def.Directory
	}
	return []string{
		"USER " + g.name + " XXXXXXXX 2G 4G G",
		"   IPL 150",
		"   MACHINE ESA 2",
		"   CONSOLE 0009 3215 T",
		"   MDISK 0150 3390 0001 10016 LX0150 MR",
	}
}

// ssiQuery is SSI_Query.
func (c *Core) ssiQuery(j *job) answer {
	s := j.conn.member.sys
	if !s.ssi() {
		return answer{ret: 4, reason: 3008}
	}
	out := smapi.SSI{Name: s.Name, Mode: "Stable", CrossSystemTimeouts: "Enabled", PDR: "SSIPDR_on_EC30"}
	beat := c.now.Format("01/02/2006_15:04:05")
	for _, m := range s.members {
		state := "Joined"
		switch m.state {
		case MemberDown:
			state = "Down"
		case MemberIsolated:
			state = "Isolated"
		}
		out.Members = append(out.Members, smapi.SSIMember{
			Slot: m.slot, System: m.name, State: state, PDRHeartbeat: beat, ReceivedHeartbeat: beat,
		})
	}
	return answer{data: smapi.EncodeSSI(out)}
}

// operation is Query_Asynchronous_Operation_DM.
func (c *Core) operation(j *job) answer {
	id := binary.BigEndian.Uint32(j.req.Params)
	for _, o := range c.ops {
		switch {
		case o.id != id:
		case !o.done:
			return answer{reason: 104}
		case o.failed:
			return answer{reason: 108}
		default:
			return answer{reason: 100}
		}
	}
	return answer{ret: 4, reason: 4}
}

// authorizationList is Authorization_List_Add, _Remove and _Query. The target
// is the requester whom the entry is about.
func (c *Core) authorizationList(j *job, pretend bool) answer {
	auth := &j.conn.member.auth
	forID, rest, _ := smapi.CutString(j.req.Params)
	function, _, _ := smapi.CutString(rest)
	e := Entry{upper(j.req.Target), upper(forID), upper(function)}
	switch j.fn.Name {
	case smapi.AuthorizationListAdd:
		if slices.Contains(auth.entries, e) {
			return answer{ret: 108}
		}
		if !pretend {
			auth.entries = append(auth.entries, e)
		}
	case smapi.AuthorizationListRemove:
		i := slices.Index(auth.entries, e)
		if i < 0 {
			return answer{ret: 112}
		}
		if !pretend {
			auth.entries = slices.Delete(auth.entries, i, i+1)
		}
	default:
		b := smapi.AppendInt4(nil, 0)
		for _, have := range auth.entries {
			if wildcard(e.Requester, have.Requester) && wildcard(e.Target, have.Target) && wildcard(e.Function, have.Function) {
				b = appendGrant(b, auth, have)
			}
		}
		binary.BigEndian.PutUint32(b, uint32(len(b)-4))
		return answer{data: b, arrayAt: 1}
	}
	return answer{}
}

// wildcard compares a name of a query with one of an entry; ALL and "*" ask
// for any.
func wildcard(ask, have string) bool { return ask == allWord || ask == "*" || ask == have }

// appendGrant appends one structure of Authorization_List_Query: its length,
// and three times a string with a byte that is 1 for the name of a list.
func appendGrant(dst []byte, auth *authority, e Entry) []byte {
	start := len(dst)
	dst = smapi.AppendInt4(dst, 0)
	for i, name := range []string{e.Requester, e.Target, e.Function} {
		dst = smapi.AppendString(dst, name)
		lookup := auth.list
		if i == 2 {
			lookup = auth.functionList
		}
		flag := byte(0)
		if _, ok := lookup(name); ok {
			flag = 1
		}
		dst = append(dst, flag)
	}
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}
