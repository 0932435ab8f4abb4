package zvmsim

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Fault is a rule that makes requests go wrong. Of several rules that match a
// request, the first one in order of adding that is not used up applies, and
// it alone.
type Fault struct {
	// ID is given by the core when the rule is added.
	ID int
	// Text is what ParseFault read it from, for listings.
	Text string
	// Function, Target, Member and User must all match the request; the case
	// does not matter, and an empty one matches everything. Rules that refuse
	// connections see only Member.
	Function, Target, Member, User string
	// Skip is how many matching requests pass unharmed first.
	Skip int
	// Count is how often the rule applies; 0 means without end.
	Count int
	// Probability, above 0 and below 1, is the chance that it applies to a
	// request that matches; 0 means always. Skip and Count see only requests
	// that drew the lot.
	Probability float64
	// Effect is what happens.
	Effect
}

// Execution says what becomes of the work that a request asks for.
type Execution int

const (
	// ExecuteDefault executes the request, unless the effect never gets to an
	// answer of its own: then it does not.
	ExecuteDefault Execution = iota
	// ExecuteYes executes the request.
	ExecuteYes
	// ExecuteNo does not, and answers as if it had.
	ExecuteNo
	// ExecuteLate answers as if it had and executes it Late afterwards, even
	// if the client has gone.
	ExecuteLate
)

// Cut is where the connection stops carrying the reply.
type Cut int

const (
	// CutNowhere sends the whole reply.
	CutNowhere Cut = iota
	// CutBeforeID stops before the request id.
	CutBeforeID
	// CutAfterID stops after the request id and before the response.
	CutAfterID
	// CutInside stops after Effect.CutAt bytes of the response.
	CutInside
)

// End is how a connection is ended by a Cut.
type End int

const (
	// EndClose closes it in order.
	EndClose End = iota
	// EndReset resets it where the transport can.
	EndReset
	// EndSilence leaves it open and never sends another byte.
	EndSilence
)

// Effect is what a Fault does. The parts combine: a response can be late, have
// a wrong length and arrive byte by byte.
type Effect struct {
	// Refuse turns connections away before a request.
	Refuse bool

	Execute Execution
	// Late is the delay of ExecuteLate.
	Late time.Duration

	// BeforeID and BeforeResponse delay the two parts of the reply;
	// BetweenBytes is a pause after every byte.
	BeforeID, BeforeResponse, BetweenBytes time.Duration

	Cut   Cut
	CutAt int
	End   End

	// OneByte sends every byte in a write of its own, OneWrite both parts of
	// the reply in one.
	OneByte, OneWrite bool

	// Length changes the output length of the response.
	Length Lie
	// Array changes the length of the array in the output: the last one if
	// the function has several. Output without an array is not changed.
	Array Lie
	// WrongID gives the response another request id.
	WrongID bool
	// Garbage replaces the response by as many random bytes.
	Garbage bool

	// Code answers with Return and Reason instead, without executing the
	// request unless Execute says so.
	Code           bool
	Return, Reason int

	// Async answers 592 and executes the request after AsyncTime.
	Async     bool
	AsyncTime time.Duration
}

// Lie is a change of a length.
type Lie struct {
	Kind LieKind
	// Value is added (LieAdd) or put in its place (LieSet).
	Value int64
}

// LieKind says how a Lie changes a length.
type LieKind int

// The kinds of a Lie.
const (
	LieNone LieKind = iota
	LieAdd
	LieSet
)

// apply returns the changed length, modulo 2^32.
func (l Lie) apply(n uint32) uint32 {
	switch l.Kind {
	case LieAdd:
		return n + uint32(l.Value)
	case LieSet:
		return uint32(l.Value)
	}
	return n
}

// execution says what becomes of the request's work.
func (e *Effect) execution() Execution {
	if e.Execute != ExecuteDefault {
		return e.Execute
	}
	if e.Code || e.Cut == CutBeforeID || e.Cut == CutAfterID {
		return ExecuteNo
	}
	return ExecuteYes
}

// ErrFault is the cause of every error about the text of a fault.
var ErrFault = errors.New("bad fault")

// DefaultLate is the delay of a late execution and the time of an
// asynchronous one for a fault whose text has no delay: ours, longer than a
// guest takes to log off by default.
const DefaultLate = 3 * time.Second

// verb is a word of do=.
type verb struct {
	name, meaning string
	// needs are the parameters without which it makes no sense.
	needs []string
	set   func(e *Effect, p *faultParams)
}

// verbs are the words of do= with what they do.
var verbs = []verb{
	{"drop", "close before the request id; not executed", nil,
		func(e *Effect, _ *faultParams) { e.Cut = CutBeforeID }},
	{"close-after-id", "close after the request id; not executed", nil,
		func(e *Effect, _ *faultParams) { e.Cut = CutAfterID }},
	{"lost-answer", "execute, then close without a response", nil,
		func(e *Effect, _ *faultParams) { e.Cut, e.Execute = CutAfterID, ExecuteYes }},
	{"not-executed", "answer success without executing", nil,
		func(e *Effect, _ *faultParams) { e.Execute = ExecuteNo }},
	{"late", "close without a response and execute delay= later (3s)", nil,
		func(e *Effect, p *faultParams) {
			e.Cut, e.Execute, e.Late = CutAfterID, ExecuteLate, p.delayOr(DefaultLate)
		}},
	{"truncate", "close after at= bytes of the response", []string{"at"},
		func(e *Effect, p *faultParams) { e.Cut, e.CutAt = CutInside, p.at }},
	{"silence", "accept and never answer; not executed", nil,
		func(e *Effect, _ *faultParams) { e.Cut, e.End = CutBeforeID, EndSilence }},
	{"silence-after-id", "send the request id and nothing more; not executed", nil,
		func(e *Effect, _ *faultParams) { e.Cut, e.End = CutAfterID, EndSilence }},
	{"silence-after-work", "execute, send the request id and nothing more", nil,
		func(e *Effect, _ *faultParams) { e.Cut, e.End, e.Execute = CutAfterID, EndSilence, ExecuteYes }},
	{"reset", "reset the connection before the request id; not executed", nil,
		func(e *Effect, _ *faultParams) { e.Cut, e.End = CutBeforeID, EndReset }},
	{"refuse", "turn connections away", nil,
		func(e *Effect, _ *faultParams) { e.Refuse = true }},
	{"stall-id", "wait delay= before the request id", []string{"delay"},
		func(e *Effect, p *faultParams) { e.BeforeID = p.delay }},
	{"stall-response", "wait delay= before the response", []string{"delay"},
		func(e *Effect, p *faultParams) { e.BeforeResponse = p.delay }},
	{"stall-bytes", "wait delay= after every byte", []string{"delay"},
		func(e *Effect, p *faultParams) { e.BetweenBytes, e.OneByte = p.delay, true }},
	{"one-byte", "send every byte in a write of its own", nil,
		func(e *Effect, _ *faultParams) { e.OneByte = true }},
	{"one-write", "send request id and response in one write", nil,
		func(e *Effect, _ *faultParams) { e.OneWrite = true }},
	{"length", "set the output length to value=, or change it by value=+N or -N", []string{"value"},
		func(e *Effect, p *faultParams) { e.Length = p.value }},
	{"array", "the same with the length of the array in the output", []string{"value"},
		func(e *Effect, p *faultParams) { e.Array = p.value }},
	{"wrong-id", "send another request id in the response", nil,
		func(e *Effect, _ *faultParams) { e.WrongID = true }},
	{"garbage", "send random bytes as the response", nil,
		func(e *Effect, _ *faultParams) { e.Garbage = true }},
	{"code", "answer rc= and rs=; not executed", []string{"rc"},
		func(e *Effect, p *faultParams) { e.Code, e.Return, e.Reason = true, p.rc, p.rs }},
	{"auth", "answer 120/0, wrong user or password", nil,
		func(e *Effect, _ *faultParams) { e.Code, e.Return = true, 120 }},
	{"async", "answer 592 and execute delay= later (3s)", nil,
		func(e *Effect, p *faultParams) { e.Async, e.AsyncTime = true, p.delayOr(DefaultLate) }},
}

// Verb is a word of do= in the text of a fault.
type Verb struct{ Name, Meaning string }

// Verbs returns what a fault can do, for a help text.
func Verbs() []Verb {
	out := make([]Verb, len(verbs))
	for i, v := range verbs {
		out[i] = Verb{v.name, v.meaning}
	}
	return out
}

// faultParams are the parameters of verbs.
type faultParams struct {
	given  []string
	at     int
	delay  time.Duration
	value  Lie
	rc, rs int
}

func (p *faultParams) delayOr(d time.Duration) time.Duration {
	if slices.Contains(p.given, "delay") {
		return p.delay
	}
	return d
}

// ParseFault reads a fault from text: key=value pairs with commas between
// them, such as
//
//	function=Image_Deactivate,target=CNODE1,count=2,do=lost-answer
//	do=one-byte+length,value=-1
//
// The keys are function, target, member, user, skip, count, probability, do,
// execute (yes, no, late) and what do needs: at, delay, value, rc, rs. The
// error names every part that is wrong and is an ErrFault.
func ParseFault(text string) (Fault, error) {
	f := Fault{Text: text}
	var p faultParams
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w %q: %s", ErrFault, text, fmt.Sprintf(format, args...)))
	}
	var do, execute string
	for _, part := range strings.Split(text, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		if !ok || value == "" {
			bad("%q is not key=value", part)
			continue
		}
		if slices.Contains(p.given, key) {
			bad("%s is given twice", key)
			continue
		}
		p.given = append(p.given, key)
		var err error
		switch key {
		case "function":
			f.Function = value
		case "target":
			f.Target = value
		case "member":
			f.Member = value
		case "user":
			f.User = value
		case "skip":
			f.Skip, err = parseCount(value)
		case "count":
			f.Count, err = parseCount(value)
		case "probability":
			f.Probability, err = strconv.ParseFloat(value, 64)
			if err == nil && !(f.Probability > 0 && f.Probability <= 1) {
				err = errors.New("it must be above 0 and at most 1")
			}
		case "do":
			do = value
		case "execute":
			execute = value
		case "at":
			p.at, err = parseCount(value)
		case "delay":
			p.delay, err = time.ParseDuration(value)
			if err == nil && p.delay < 0 {
				err = errors.New("it must not be negative")
			}
		case "value":
			p.value, err = parseLie(value)
		case "rc":
			p.rc, err = parseCode(value)
		case "rs":
			p.rs, err = parseCode(value)
		default:
			bad("unknown key %q; known are function, target, member, user, skip, count, probability, do, execute, at, delay, value, rc and rs", key)
		}
		if err != nil {
			bad("%s=%s: %v", key, value, err)
		}
	}
	if do == "" {
		bad("do= is missing; it is one or several, joined by +, of %s", verbNames())
	}
	used := []string{"function", "target", "member", "user", "skip", "count", "probability", "do", "execute"}
	for _, word := range strings.Split(do, "+") {
		if do == "" {
			break
		}
		i := slices.IndexFunc(verbs, func(v verb) bool { return v.name == word })
		if i < 0 {
			bad("unknown do=%s; known are %s", word, verbNames())
			continue
		}
		for _, n := range verbs[i].needs {
			if !slices.Contains(p.given, n) {
				bad("do=%s needs %s=", word, n)
			}
		}
		verbs[i].set(&f.Effect, &p)
		used = append(used, verbs[i].needs...)
		switch word {
		case "late", "async":
			used = append(used, "delay")
		case "code":
			used = append(used, "rs")
		}
	}
	switch execute {
	case "":
	case "yes":
		f.Execute = ExecuteYes
	case "no":
		f.Execute = ExecuteNo
	case "late":
		f.Execute, f.Late = ExecuteLate, p.delayOr(DefaultLate)
		used = append(used, "delay")
	default:
		bad("execute=%s is not yes, no or late", execute)
	}
	if f.Refuse && (f.Function != "" || f.Target != "" || f.User != "") {
		bad("do=refuse happens before a request is read: it can be limited to a member alone")
	}
	for _, k := range p.given {
		if do != "" && !slices.Contains(used, k) && slices.Contains([]string{"at", "delay", "value", "rc", "rs"}, k) {
			bad("%s= has no meaning for do=%s", k, do)
		}
	}
	if len(errs) == 0 && f.Effect == (Effect{}) {
		bad("it does nothing")
	}
	return f, errors.Join(errs...)
}

func verbNames() string {
	names := make([]string, len(verbs))
	for i, v := range verbs {
		names[i] = v.name
	}
	return strings.Join(names, ", ")
}

// parseCount reads a number from 0 to a million, which is enough for any count
// of requests and keeps sums of them far from overflow.
func parseCount(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 1_000_000 {
		return 0, errors.New("not a number from 0 to 1000000")
	}
	return n, nil
}

func parseCode(s string) (int, error) {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return 0, errors.New("not a 32-bit number")
	}
	return int(n), nil
}

// parseLie reads "+N" and "-N" as changes, "=-N" and "N" as a value.
func parseLie(s string) (Lie, error) {
	kind := LieSet
	switch {
	case strings.HasPrefix(s, "="):
		s = s[1:]
	case s[0] == '+' || s[0] == '-':
		kind = LieAdd
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < -1<<31 || n > 1<<32-1 {
		return Lie{}, errors.New("not N, +N, -N or =N (to set a negative one) within 32 bits")
	}
	return Lie{Kind: kind, Value: n}, nil
}

// ruleState is a rule with what it has seen.
type ruleState struct {
	Fault
	skipped int
	// left is what remains of Count.
	left int
	// hits is how often it applied.
	hits int
}

// pickFault returns the effect of the first rule that applies, or nil.
func (c *Core) pickFault(refuse bool, function, target, member, user string) *ruleState {
	for _, r := range c.faults {
		if r.Refuse != refuse ||
			r.Count > 0 && r.left == 0 ||
			!fits(r.Function, function) || !fits(r.Target, target) || !fits(r.Member, member) || !fits(r.User, user) {
			continue
		}
		if r.Probability > 0 && r.Probability < 1 && c.rng.Float64() >= r.Probability {
			continue
		}
		if r.skipped < r.Skip {
			r.skipped++
			continue
		}
		if r.Count > 0 {
			r.left--
		}
		r.hits++
		return r
	}
	return nil
}

func fits(pattern, value string) bool { return pattern == "" || strings.EqualFold(pattern, value) }
