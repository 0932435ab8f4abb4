package zvmsim

import (
	"errors"
	"fmt"
	"time"

	"github.com/haobox/haobox/internal/smapi"
)

// Config describes the simulated installation. Its zero values mean what they
// say, so that a test can have guests that log off in no time; Default has
// those of a running system.
type Config struct {
	// Systems are z/VM systems that know nothing of each other.
	Systems []System
	// Faults are in force from the start.
	Faults []Fault
	// Seed makes every random decision; the same events with the same seed
	// give the same actions.
	Seed uint64
}

// System is one z/VM system, or the members of an SSI cluster with their
// common directory.
type System struct {
	// Name is the name of the SSI cluster; of a system of one member it is
	// only a label. Unique.
	Name string
	// SSI makes a system of one member a cluster as well; with several members
	// it is one in any case.
	SSI     bool
	Members []Member
	Guests  []Guest
	Users   []User
	// OtherUsers is how many users beside Guests are logged on to each member:
	// it only shows in "USERS = n" of the operator's log.
	OtherUsers int
	// Level is the reason code of Query_API_Functional_Level.
	Level    int
	Delays   Delays
	Switches Switches
	// DirectoryDown makes functions of the directory manager answer 500/8.
	DirectoryDown bool
	// DirectoryDenies are requesters whom the directory manager refuses:
	// 100/12.
	DirectoryDenies []string
	// SecurityDenies are requesters whom an external security manager refuses
	// before the AUTHLIST is looked at: 100/8.
	SecurityDenies []string
}

// Member is one z/VM system with SMAPI servers of its own.
type Member struct {
	// Name is the system identifier, 1 to 8 characters, unique over all
	// systems.
	Name string
	// AuthList is the text of VSMWORK1 AUTHLIST; nil means that the file does
	// not exist.
	AuthList []byte
	// NameList is the text of VSMWORK1 NAMELIST.
	NameList []byte
	// Workers is how many requests are worked on at a time; 0 means
	// DefaultWorkers. Their names are VSMWORK1 and so on.
	Workers int
	State   MemberState
}

// DefaultWorkers is how many worker servers a member has: z/VM's default
// configuration has VSMWORK1 to VSMWORK3.
const DefaultWorkers = 3

// Guest is a virtual machine.
type Guest struct {
	Name string
	// Member is where it is logged on when On is set; "" means the first.
	Member string
	On     bool
	// Undefined says that the directory does not know it: it can be logged
	// off, but not on.
	Undefined bool
	// Directory are its directory statements; nil means a plausible few.
	Directory []string
	// Logoff and Logon override the system's delays if they are not nil.
	Logoff, Logon *time.Duration
	// LogoffHook and LogonHook ask for a Hook action when it goes off or on.
	LogoffHook, LogonHook bool
}

// User is somebody who may send requests.
type User struct {
	Name     string
	Password smapi.Secret
	// Expired makes every request of the user 128/0.
	Expired bool
}

// Delays are the times things take in the simulated system.
type Delays struct {
	// Logoff is the time from a force to the end of the guest; a random part
	// of up to LogoffSpread is added.
	Logoff, LogoffSpread time.Duration
	// Logon is the time from Image_Activate until the guest is on.
	Logon, LogonSpread time.Duration
	// Answer is the time a worker takes for a request.
	Answer, AnswerSpread time.Duration
	// Signal is the system's own time between a shutdown signal and the force
	// when Image_Deactivate names none.
	Signal time.Duration
	// MaxForce is the longest interval Image_Deactivate may name; 0 means
	// that there is no limit but the 65535 s of the function.
	MaxForce time.Duration
}

// Switches choose between behaviours where no source at hand says what z/VM
// does, and between levels of strictness. The zero value is what is thought
// most likely.
type Switches struct {
	// PasswordAnyCase ignores the case of passwords, as systems without
	// mixed-case support do.
	PasswordAnyCase bool
	// StrictCase refuses names in lower case with a syntax error (24) and does
	// not fold them.
	StrictCase bool
	// StrictCheck makes Check_Authentication and Query_API_Functional_Level
	// need an AUTHLIST entry.
	StrictCheck bool
	// NoComments takes AUTHLIST lines that start with an asterisk as records.
	NoComments bool
	// NoBuiltinLists makes IMAGE_OPERATIONS and IMAGE_CHARACTERISTICS unknown
	// unless the NAMELIST has them.
	NoBuiltinLists bool
	// StatusStarFilters makes Image_Status_Query of "*" report those images
	// that the requester may ask about; else it needs an entry for ALL.
	StatusStarFilters bool
	// PeerWins ignores the user id inside a request that comes from a peer
	// whom CP vouches for; else a user id and password in it count.
	PeerWins bool
	// StoppingIsActive answers Image_Activate of a guest that is being logged
	// off with 200/8; else with 200/16.
	StoppingIsActive bool
	// StartingIsActive makes Image_Status_Query show a guest that is being
	// logged on as active.
	StartingIsActive bool
	// ImmediateOverrides lets IMMED shorten a logoff that is pending for a
	// later time; else it is 200/16 as well.
	ImmediateOverrides bool
	// UnknownStatus answers Image_Status_Query of a guest that does not exist
	// with 200/4; else it looks inactive, 0/12.
	UnknownStatus bool
	// UnknownIsOff answers Image_Deactivate of a guest that does not exist
	// with 200/12; else with 200/4.
	UnknownIsOff bool
	// ElsewhereVisible shows a guest of another SSI member as active in
	// Image_Status_Query, and as 8/3006 to Image_Deactivate and Image_Recycle;
	// else it looks inactive.
	ElsewhereVisible bool
	// ElsewhereActivate is the answer to Image_Activate of a guest that is
	// logged on at another member: 0 means 200/8, any other number n means
	// 8/n.
	ElsewhereActivate int
	// IsolatedLosesGuests logs the guests of a member off when it becomes
	// isolated, as when it was started anew without joining.
	IsolatedLosesGuests bool
	// NoQueue answers 900/8 when all workers are busy; else requests wait.
	NoQueue bool
	// HalfCloseAborts drops a request whose client shut its sending side down
	// before the response; else it is answered.
	HalfCloseAborts bool
	// Errors chooses the output that comes with an error.
	Errors ErrorOutput
	// InactiveArray adds an empty array to the answer that an image is
	// inactive.
	InactiveArray bool
	// SyntaxBase is the number of the function name in reason codes of 24; 0
	// means 1.
	SyntaxBase int
	// IgnoreHooks reports a logoff without waiting for its hook.
	IgnoreHooks bool
}

// ErrorOutput is what comes with a return code that is not zero.
type ErrorOutput int

const (
	// ErrorsCounted: functions on images give their counts and the failing
	// array, others nothing.
	ErrorsCounted ErrorOutput = iota
	// ErrorsBare: nothing.
	ErrorsBare
	// ErrorsText: a string with a message for all functions.
	ErrorsText
)

// Default returns an installation of one member, ZVM1, with the given guests
// logged on and with delays of a quick real system. Nobody may do anything:
// see Authorize.
func Default(guests ...string) Config {
	s := System{
		Name: "ZVM1", Members: []Member{{Name: "ZVM1", AuthList: []byte{}}},
		OtherUsers: DefaultOtherUsers, Level: DefaultLevel, Delays: DefaultDelays(),
	}
	for _, g := range guests {
		s.Guests = append(s.Guests, Guest{Name: g, On: true})
	}
	return Config{Systems: []System{s}}
}

// DefaultOtherUsers makes the operator's log of two guests count up to the
// "USERS = 60" of the manual's figure 21.
const DefaultOtherUsers = 58

// DefaultLevel is the functional level of z/VM 6.3, the release that the
// manual was written for.
const DefaultLevel = 630

// DefaultDelays are the delays of a quick system: a real logoff takes 1 to 30 s.
func DefaultDelays() Delays {
	return Delays{Logoff: 1500 * time.Millisecond, Logon: 500 * time.Millisecond, Signal: 30 * time.Second}
}

// Authorize lets a user with that password do everything on every system.
func (c *Config) Authorize(user string, password smapi.Secret) {
	for i := range c.Systems {
		s := &c.Systems[i]
		s.Users = append(s.Users, User{Name: user, Password: password})
		for j := range s.Members {
			m := &s.Members[j]
			m.AuthList = append(m.AuthList, FormatEntry(Entry{upper(user), allWord, allWord})+"\n"...)
		}
	}
}

// ErrConfig is the cause of every error of Validate.
var ErrConfig = errors.New("bad configuration")

// maxMembers is the number of slots of an SSI cluster.
const maxMembers = 8

// Validate returns all faults of the configuration, joined.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: %s", ErrConfig, fmt.Sprintf(format, args...)))
	}
	if len(c.Systems) == 0 {
		bad("there is no system")
	}
	var systems, members []string
	unique := func(seen *[]string, what, name string) {
		if !smapi.ValidUserID(upper(name)) {
			bad("%s %q: a name has 1 to %d characters of A-Z, 0-9 and @#$+-:", what, name, smapi.MaxNameLength)
		}
		for _, s := range *seen {
			if s == upper(name) {
				bad("%s %s is there twice", what, upper(name))
			}
		}
		*seen = append(*seen, upper(name))
	}
	for i := range c.Systems {
		s := &c.Systems[i]
		unique(&systems, "system", s.Name)
		if n := len(s.Members); n == 0 || n > maxMembers {
			bad("system %s has %d members, not 1 to %d", s.Name, n, maxMembers)
		}
		first := len(members)
		for _, m := range s.Members {
			unique(&members, "member", m.Name)
			if m.Workers < 0 {
				bad("member %s has %d workers", m.Name, m.Workers)
			}
		}
		var guests, users []string
		for _, g := range s.Guests {
			unique(&guests, "guest", g.Name)
			if g.Member != "" && !containsFold(members[first:], g.Member) {
				bad("guest %s is on %q, which is no member of system %s", g.Name, g.Member, s.Name)
			}
		}
		for _, u := range s.Users {
			unique(&users, "user", u.Name)
			if len(u.Password) > smapi.MaxPasswordLength {
				bad("the password of user %s is longer than %d bytes", u.Name, smapi.MaxPasswordLength)
			}
		}
		d := &s.Delays
		for _, v := range []time.Duration{d.Logoff, d.LogoffSpread, d.Logon, d.LogonSpread, d.Answer, d.AnswerSpread, d.Signal, d.MaxForce} {
			if v < 0 {
				bad("system %s has a negative delay, %v", s.Name, v)
			}
		}
	}
	return errors.Join(errs...)
}

func containsFold(names []string, name string) bool {
	for _, n := range names {
		if upper(n) == upper(name) {
			return true
		}
	}
	return false
}
