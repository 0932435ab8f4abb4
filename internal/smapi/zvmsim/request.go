package zvmsim

import (
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/haobox/haobox/internal/smapi"
)

// job is one request on its way through a member.
type job struct {
	conn *conn
	req  smapi.Request
	fn   smapi.Function
	// fault is the result of the checks that the request server itself makes;
	// with it no worker is asked.
	fault  *answer
	effect Effect
	id     uint32
	came   time.Time
	// slot is the worker server, -1 before one took the job.
	slot int
	// requester is who asks, once that is known.
	requester string
	answer    answer
	op        int
	audit     Audit
}

// answer is a result in symbolic form.
type answer struct {
	ret, reason int
	data        []byte
	// arrayAt is the offset in data of an array's length, plus one; 0 means
	// that there is none.
	arrayAt int
	// stay keeps the connection open without a response: a subscription.
	stay bool
	// idOnly ends the reply with the request id.
	idOnly bool
}

// worker is the user id of the worker server.
func (j *job) worker() string { return "VSMWORK" + strconv.Itoa(j.slot+1) }

// cause is the worker with the user who asked.
func (j *job) cause() string { return j.worker() + " for " + j.requester }

// request takes a request from the wire.
func (c *Core) request(ev Request) {
	cn := c.conns[ev.Conn]
	if cn == nil || cn.asked {
		return
	}
	cn.asked = true
	if cn.member.state == MemberHung || cn.member.state == MemberFull {
		c.emit(Audit{
			Time: c.now, Member: cn.member.name, Peer: cn.peer, Remote: cn.remote,
			Function: ev.Request.Function, User: ev.Request.User, Target: ev.Request.Target,
		})
		return
	}
	// The id wraps before it becomes 0 or, as a signed number, negative.
	if c.requestID++; c.requestID > math.MaxInt32 {
		c.requestID = 1
	}
	j := &job{conn: cn, req: ev.Request, id: c.requestID, came: c.now, slot: -1, op: -1}
	j.audit = Audit{
		Time: c.now, Member: cn.member.name, Peer: cn.peer, Remote: cn.remote,
		RequestID: j.id, Function: j.req.Function, User: upper(j.req.User), Target: upper(j.req.Target),
	}
	if ret, reason, ok := smapi.RequestFault(ev.Err); ok {
		j.fault = &answer{ret: ret, reason: reason}
	} else if fn, ok := smapi.LookupFunction(j.req.Function); !ok {
		j.fault = &answer{ret: 900, reason: 12}
	} else {
		j.fn = fn
		j.fault = c.checkSyntax(j)
	}
	if r := c.pickFault(false, j.req.Function, j.req.Target, cn.member.name, j.req.User); r != nil {
		j.effect, j.audit.Fault = r.Effect, r.ID
	}
	c.schedule(j.effect.BeforeID, timer{kind: timerAccept, job: j})
}

// accept sends the request id and looks for a worker.
func (c *Core) accept(j *job) {
	m := j.conn.member
	e := &j.effect
	if m.state == MemberDown || m.state == MemberNoService {
		c.auditEnd(j, false)
		return
	}
	if e.Cut == CutNowhere || e.Cut == CutAfterID || e.Cut == CutInside {
		if !e.OneWrite || e.Cut == CutAfterID {
			c.send(j, true, false)
		}
	}
	if j.fault != nil {
		j.answer = *j.fault
		c.finish(j)
		return
	}
	if e.execution() == ExecuteNo && (e.Cut == CutBeforeID || e.Cut == CutAfterID) {
		// Nothing is worked out, so no worker is held.
		c.finish(j)
		return
	}
	if len(m.queue) > 0 || !slices.Contains(m.busy, false) {
		if m.sys.Switches.NoQueue {
			j.answer = answer{ret: 900, reason: 8}
			c.finish(j)
			return
		}
		m.queue = append(m.queue, j)
		return
	}
	c.begin(j)
}

// begin gives the job to a worker that is free.
func (c *Core) begin(j *job) {
	m := j.conn.member
	j.slot = slices.Index(m.busy, false)
	m.busy[j.slot] = true
	j.audit.Worker = j.worker()
	j.answer = c.work(j)
	d := &m.sys.Delays
	c.schedule(c.spread(d.Answer, d.AnswerSpread)+j.effect.BeforeResponse, timer{kind: timerFinish, job: j})
}

// work makes the answer and, as far as the job's fault lets it, does what was
// asked.
func (c *Core) work(j *job) answer {
	e := &j.effect
	how := e.execution()
	if e.Async {
		a, granted := c.admit(j)
		if !granted {
			return a
		}
		c.ops = append(c.ops, operation{id: j.id})
		if len(c.ops) > keptResponses {
			c.ops = slices.Delete(c.ops, 0, len(c.ops)-keptResponses)
		}
		c.schedule(e.AsyncTime, timer{kind: timerLate, job: j})
		return answer{ret: 592, data: smapi.AppendInt4(nil, j.id)}
	}
	a, granted := c.admit(j)
	if granted {
		a = c.execute(j, how != ExecuteYes)
		j.audit.Executed = how == ExecuteYes
		if how == ExecuteLate {
			c.schedule(e.Late, timer{kind: timerLate, job: j})
		}
	}
	if e.Code {
		a = c.withError(j, answer{ret: e.Return, reason: e.Reason})
	}
	return a
}

// late does the work of a job whose answer has gone out already.
func (c *Core) late(j *job) {
	if m := j.conn.member; m.state == MemberDown {
		return
	}
	a := c.execute(j, false)
	for i := range c.ops {
		if j.effect.Async && c.ops[i].id == j.id {
			c.ops[i].done, c.ops[i].failed = true, a.ret != 0
		}
	}
}

// finish sends the response, or what the fault leaves of it, and frees the
// worker.
func (c *Core) finish(j *job) {
	m := j.conn.member
	e := &j.effect
	switch {
	case e.Cut == CutBeforeID || e.Cut == CutAfterID:
		c.auditEnd(j, false)
		c.closeConn(j.conn.id, e.End)
	case j.answer.idOnly:
		c.auditEnd(j, true)
		c.closeConn(j.conn.id, EndClose)
	case j.answer.stay && c.conns[j.conn.id] != nil:
		c.auditEnd(j, true)
		j.conn.subscribed = true
		c.subscribers = append(c.subscribers, j.conn)
	default:
		c.keep(j)
		c.auditEnd(j, c.conns[j.conn.id] != nil)
		c.send(j, e.OneWrite, true)
		if e.Cut == CutInside {
			c.closeConn(j.conn.id, e.End)
		} else {
			c.closeConn(j.conn.id, EndClose)
		}
	}
	if j.slot < 0 {
		return
	}
	m.busy[j.slot] = false
	for len(m.queue) > 0 && slices.Contains(m.busy, false) {
		next := m.queue[0]
		m.queue = slices.Delete(m.queue, 0, 1)
		c.begin(next)
	}
}

// keep remembers the response for Response_Recovery.
func (c *Core) keep(j *job) {
	if len(c.saved) >= keptResponses {
		c.saved = slices.Delete(c.saved, 0, 1)
	}
	c.saved = append(c.saved, savedResponse{j.id, j.response()})
}

func (j *job) response() smapi.Response {
	return smapi.Response{RequestID: j.id, Return: j.answer.ret, Reason: j.answer.reason, Data: j.answer.data}
}

// send emits a part of the reply if the client is still there.
func (c *Core) send(j *job, id, body bool) {
	if c.conns[j.conn.id] == nil {
		return
	}
	e := &j.effect
	s := Send{Conn: j.conn.id, ID: id, Body: body, Response: smapi.Response{RequestID: j.id}}
	s.Wire = Wire{OneByte: e.OneByte, Pause: e.BetweenBytes, ArrayAt: -1}
	if body {
		s.Response = j.response()
		s.Wire.Length, s.Wire.Array, s.Wire.ArrayAt = e.Length, e.Array, j.answer.arrayAt-1
		s.Wire.Cut, s.Wire.CutAt = e.Cut == CutInside, e.CutAt
		if e.WrongID {
			s.Response.ResponseID = j.id ^ 0x5a5a
		}
		if e.Garbage {
			s.Wire.Garbage = make([]byte, 16+len(j.answer.data))
			for i := range s.Wire.Garbage {
				s.Wire.Garbage[i] = byte(c.rng.Uint32())
			}
		}
	}
	c.emit(s)
}

func (c *Core) auditEnd(j *job, answered bool) {
	a := j.audit
	a.Latency = c.now.Sub(j.came)
	a.Return, a.Reason = j.answer.ret, j.answer.reason
	a.Answered = answered
	c.emit(a)
}

// syntaxMissing is the kind of a parameter that is required and not there.
const syntaxMissing smapi.SyntaxKind = 24

// checkSyntax looks at the parameters in their order and returns the answer
// to the first that is wrong, or nil.
func (c *Core) checkSyntax(j *job) *answer {
	sw := &j.conn.member.sys.Switches
	shift := 0
	if sw.SyntaxBase > 0 {
		shift = (sw.SyntaxBase - smapi.ParamFunction) * 100
	}
	bad := func(param int, kind smapi.SyntaxKind) *answer {
		return &answer{ret: 24, reason: smapi.SyntaxReason(param, kind) + shift}
	}
	req := j.req
	if !sw.StrictCase {
		req.User, req.Target = upper(req.User), upper(req.Target)
	}
	if e := req.Check(); e != nil {
		return &answer{ret: e.Return, reason: e.Reason + shift}
	}
	const params = smapi.ParamFirst
	rest := req.Params
	// str takes one string parameter with its limits.
	str := func(n, least, most int) (string, *answer) {
		if len(rest) == 0 {
			return "", bad(params+n, syntaxMissing)
		}
		s, r, err := smapi.CutString(rest)
		switch {
		case err != nil:
			return "", bad(params+n, smapi.SyntaxEnd)
		case len(s) < least:
			return "", bad(params+n, smapi.SyntaxTooShort)
		case len(s) > most:
			return "", bad(params+n, smapi.SyntaxTooLong)
		}
		rest = r
		return s, nil
	}
	n := 0
	switch j.fn.Name {
	case smapi.ImageDeactivate:
		s, a := str(0, 0, smapi.MaxForceLength)
		if a != nil {
			return a
		}
		if _, err := smapi.ParseForceTime(s); err != nil {
			return bad(params, smapi.SyntaxValue)
		}
		n = 1
	case smapi.ImageQueryActivateTime:
		if len(rest) == 0 {
			return bad(params, syntaxMissing)
		}
		if rest[0] < 1 || rest[0] > 5 {
			return bad(params, smapi.SyntaxValue)
		}
		rest, n = rest[1:], 1
	case smapi.QueryAsynchronousOperationDM, smapi.ResponseRecovery:
		if len(rest) == 0 {
			return bad(params, syntaxMissing)
		}
		if len(rest) < 4 {
			return bad(params, smapi.SyntaxEnd)
		}
		rest, n = rest[4:], 1
	case smapi.AuthorizationListAdd, smapi.AuthorizationListRemove, smapi.AuthorizationListQuery:
		for n = range 2 {
			if _, a := str(n, 1, smapi.MaxListLength); a != nil {
				return a
			}
		}
		n = 2
	case smapi.EventSubscribe:
		if _, a := str(0, 0, 16<<20); a != nil {
			return a
		}
		n = 1
	case smapi.EventStreamAdd:
		if len(rest) < 4 {
			return bad(params, smapi.SyntaxEnd)
		}
		rest = nil
	}
	if len(rest) > 0 {
		return bad(params+n, smapi.SyntaxExtra)
	}
	return nil
}

// admit finds out who asks and whether he may: authentication, external
// security manager, AUTHLIST, directory manager. granted is false if the
// answer is final.
func (c *Core) admit(j *job) (a answer, granted bool) {
	m := j.conn.member
	s := m.sys
	no := func(ret, reason int) (answer, bool) {
		return c.withError(j, answer{ret: ret, reason: reason}), false
	}
	user := upper(j.req.User)
	switch {
	case j.conn.peer != "" && (s.Switches.PeerWins || user == "" && j.req.Password == ""):
		j.requester = j.conn.peer
	default:
		u := s.users[user]
		if u == nil || !samePassword(u.Password, j.req.Password, s.Switches.PasswordAnyCase) {
			return no(120, 0)
		}
		if u.Expired {
			return no(128, 0)
		}
		j.requester = user
	}
	j.audit.User = j.requester
	if containsFold(s.SecurityDenies, j.requester) {
		return no(100, 8)
	}
	lenient := !s.Switches.StrictCheck &&
		(j.fn.Name == smapi.CheckAuthentication || j.fn.Name == smapi.QueryAPIFunctionalLevel)
	if !lenient {
		if m.auth.missing {
			return no(104, 0)
		}
		if !c.authorized(j) {
			return no(100, 16)
		}
	}
	if j.fn.Directory {
		if containsFold(s.DirectoryDenies, j.requester) {
			return no(100, 12)
		}
		if s.DirectoryDown {
			return no(500, 8)
		}
	}
	return answer{}, true
}

func samePassword(want, got smapi.Secret, anyCase bool) bool {
	if anyCase {
		return upper(want.Reveal()) == upper(got.Reveal())
	}
	return want == got
}

// authorized asks the AUTHLIST. For a list of images it must allow each of
// them; the check stops at the first that it does not.
func (c *Core) authorized(j *job) bool {
	m := j.conn.member
	fn, target := j.fn.Name, upper(j.req.Target)
	if fn == smapi.ImageStatusQuery && target == "*" && m.sys.Switches.StatusStarFilters {
		return true
	}
	if j.fn.Target == smapi.NoTarget {
		// Without a target the requester's own id stands for it.
		target = j.requester
	}
	for _, name := range c.images(j) {
		if !m.auth.allows(j.requester, fn, name) {
			return false
		}
	}
	return len(c.images(j)) > 0 || m.auth.allows(j.requester, fn, target)
}

// images returns the images that the target names if it is the name of a
// list, else nil. A guest of the same name goes before a list.
func (c *Core) images(j *job) []string {
	if j.fn.Target != smapi.ListTarget && j.fn.Target != smapi.StatusTarget {
		return nil
	}
	name := upper(j.req.Target)
	if j.conn.member.sys.byName[name] != nil {
		return nil
	}
	items, _ := j.conn.member.auth.list(name)
	return items
}

// withError adds the output that comes with an error, as the switch says.
func (c *Core) withError(j *job, a answer) answer {
	if a.ret == 0 {
		return a
	}
	switch j.conn.member.sys.Switches.Errors {
	case ErrorsBare:
		a.data, a.arrayAt = nil, 0
	case ErrorsText:
		_, meaning := smapi.Describe(j.req.Function, a.ret, a.reason)
		a.data, a.arrayAt = smapi.AppendString(nil, meaning), 0
	}
	return a
}
