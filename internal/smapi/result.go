package smapi

import (
	"fmt"
	"strings"
)

// ResultError is an answer of the server other than success.
type ResultError struct {
	Function       string
	Return, Reason int
	// Operation is the id to ask Query_Asynchronous_Operation_DM about, for
	// return code 592.
	Operation uint32
}

// Error names the function, both codes, the symbolic name and the meaning.
func (e *ResultError) Error() string {
	name, meaning := Describe(e.Function, e.Return, e.Reason)
	return fmt.Sprintf("%s: return code %d, reason code %d (%s): %s", e.Function, e.Return, e.Reason, name, meaning)
}

// Is makes errors.Is compare the codes: with an empty Function in target for
// any function, else for that one.
func (e *ResultError) Is(target error) bool {
	t, ok := target.(*ResultError)
	return ok && e.Return == t.Return && e.Reason == t.Reason && (t.Function == "" || t.Function == e.Function)
}

// Class returns the class of the codes.
func (e *ResultError) Class() Class { return Classify(e.Function, e.Return, e.Reason) }

// Class says what a caller can do about an answer.
type Class int

const (
	// OK: return code 0.
	OK Class = iota
	// Warning: return code 4 and 36; done, or nothing to do.
	Warning
	// State: the image is not in a state for the function, or not there.
	State
	// Permanent: the same request will be refused again.
	Permanent
	// Transient: the same request may succeed a little later.
	Transient
	// Credentials: the user id or password is not accepted.
	Credentials
	// Privilege: the user is not authorised for the function and target.
	Privilege
	// Started: the work goes on; ask Query_Asynchronous_Operation_DM.
	Started
)

// String returns the class in one word.
func (c Class) String() string {
	switch c {
	case OK:
		return "ok"
	case Warning:
		return "warning"
	case State:
		return "state"
	case Transient:
		return "transient"
	case Credentials:
		return "credentials"
	case Privilege:
		return "privilege"
	case Started:
		return "started"
	}
	return "permanent"
}

// anyReason stands in the table for a reason code that is a number of its own.
const anyReason = -1 << 31

// code is one row of the table of codes: "Systems Management Application
// Programming", return and reason code values.
type code struct {
	ret, reason int
	// function limits the row to one function; "" is all.
	function string
	class    Class
	name     string
	meaning  string
}

// codes is searched from the top: rows for one function and for one reason
// come before the general ones.
var codes = []code{
	{0, 0, ImageDeactivate, OK, "OK", "accepted; the image goes off after the time given"},
	{0, 0, "", OK, "OK", "done or accepted"},
	{0, 12, ImageStatusQuery, OK, "OK_INFO", "the image is not active"},
	{0, 28, "", OK, "OK_INFO", "done, and the result is empty"},
	{0, 100, QueryAsynchronousOperationDM, OK, "OK_INFO", "the operation has finished"},
	{0, 104, QueryAsynchronousOperationDM, OK, "OK_INFO", "the operation is still running"},
	{0, 108, QueryAsynchronousOperationDM, OK, "OK_INFO", "the operation has failed"},
	{0, anyReason, QueryAPIFunctionalLevel, OK, "OK_INFO", "the reason code is the functional level"},
	{0, anyReason, ImageDeactivate, OK, "OK_INFO", "accepted; the reason code is the number of seconds until the image is off"},
	{0, anyReason, "", OK, "OK_INFO", "done; the reason code is information"},

	{4, 4, "", Warning, "WARN_REQUEST_UNKNOWN", "the request is unknown; it may be sent again"},
	{4, 5, "", Warning, "WARN_UNRESTRICTED_LAN", "the LAN is not restricted"},
	{4, 6, "", Warning, "WARN_NO_USERS", "there are no authorised users"},
	{4, 8, "", Warning, "WARN_NO_DEVICE", "the device does not exist"},
	{4, 28, "", Warning, "WARN_EMPTY", "the result is empty"},
	{4, 3008, "", Warning, "NOT_SSI_MEMBER", "the system is not a member of an SSI cluster"},
	{4, anyReason, "", Warning, "WARN", "done with a warning"},
	{8, 3006, "", Transient, "SSI_NOT_STABLE", "the SSI cluster is not in its stable state; try again later"},
	{8, anyReason, "", Permanent, "ERR_CP", "CP or CMS reports an error; the reason code may be the number of an HCP or DMS message"},
	{24, anyReason, "", Permanent, "SYNTAX", "a parameter is wrong"},
	{28, anyReason, "", Permanent, "NAMELIST_MISSING", "the name list file does not exist"},
	{36, 0, "", Warning, "AUTHZ_INFO", "the authority exists"},
	{36, anyReason, "", Warning, "AUTHZ_INFO", "the authority is left to the directory manager"},
	{100, 4, "", Privilege, "AUTH_DEFERRED", "the authority is left to the directory manager"},
	{100, 12, "", Privilege, "NOT_AUTH_DM", "the directory manager does not allow it; authorise the user there"},
	{100, 16, "", Privilege, "NOT_AUTH_SERVER", "no entry of the server's AUTHLIST allows this function on this target; add one to VSMWORK1 AUTHLIST"},
	{100, anyReason, "", Privilege, "NOT_AUTH_ESM", "the external security manager does not allow it"},
	{104, anyReason, "", Permanent, "AUTHFILE_MISSING", "the server's AUTHLIST file does not exist"},
	{106, anyReason, "", Permanent, "AUTHFILE_RO", "the server's AUTHLIST file cannot be written"},
	{108, anyReason, "", Permanent, "AUTH_EXISTS", "the AUTHLIST entry exists already"},
	{112, anyReason, "", Permanent, "AUTH_NOENTRY", "the AUTHLIST entry does not exist"},
	{120, anyReason, "", Credentials, "BAD_USER_PW", "the user id or the password is wrong"},
	{128, anyReason, "", Credentials, "PW_EXPIRED", "the password has expired"},
	{188, anyReason, "", Permanent, "ESM_FAIL", "the external security manager failed; the reason code is its own"},
	{192, anyReason, "", Transient, "PW_CHECK_FAIL", "the server cannot check passwords now"},
	{196, anyReason, "", Permanent, "CSL_FAIL", "a callable service of the server failed"},
	{200, 0, "", Permanent, "IMG_ERROR", "the operation on the image failed"},
	{200, 4, "", State, "IMG_NOT_FOUND", "there is no such image"},
	{200, 8, "", State, "IMG_ALREADY_ACTIVE", "the image is active already"},
	{200, 12, "", State, "IMG_NOT_ACTIVE", "the image is not active"},
	{200, 16, "", State, "IMG_BEING_DEACTIVATED", "the image is being deactivated: its logoff is pending"},
	{200, 24, "", Permanent, "LIST_NOT_FOUND", "there is no such list of images"},
	{200, 28, "", State, "SOME_NOT_ACTIVATED", "some images of the list were not activated"},
	{200, 32, "", State, "SOME_NOT_DEACTIVATED", "some images of the list were not deactivated"},
	{200, 36, ImageDeactivate, Permanent, "BAD_FORCE_TIME", "the time before the image is forced off is too long"},
	{200, 36, "", State, "SOME_NOT_RECYCLED", "some images of the list were not recycled"},
	{200, anyReason, "", Permanent, "IMG_OTHER", "the operation on the image failed"},
	{204, anyReason, "", Permanent, "DEVICE", "the device cannot be used so"},
	{208, anyReason, "", Permanent, "DISK", "the disk cannot be used so"},
	{212, anyReason, "", Permanent, "NETWORK", "the network or adapter cannot be used so"},
	{216, anyReason, "", Permanent, "CPU", "the virtual processor cannot be used so"},
	{300, anyReason, "", Permanent, "VOLUME", "the volume operation failed"},
	{396, anyReason, "", Transient, "INTERNAL", "internal error of the product; the reason code is its own"},
	{400, 4, "", State, "DEF_NOT_FOUND", "there is no such entry in the user directory"},
	{400, 8, "", Permanent, "DEF_EXISTS", "the user directory has the entry already"},
	{400, 12, "", Transient, "DEF_LOCKED", "the directory entry is locked"},
	{400, 16, "", Permanent, "DEF_NO_DELETE", "the directory entry cannot be deleted"},
	{400, 24, "", Permanent, "DEF_NOT_LOCKED", "the directory entry is not locked"},
	{400, anyReason, "", Permanent, "DEF_OTHER", "the operation on the directory entry failed"},
	{444, anyReason, "", Permanent, "PW_POLICY", "the password is against the rules"},
	{448, anyReason, "", Permanent, "ACCOUNT_POLICY", "the account number is against the rules"},
	{452, 4, "", Permanent, "TASK_UNKNOWN", "there is no such task"},
	{460, 4, "", Permanent, "NO_IPL", "the directory entry has no IPL statement"},
	{500, 4, "", Transient, "DM_NO_UPDATES", "the directory manager takes no updates now"},
	{500, 8, "", Transient, "DM_DOWN", "the directory manager is not available"},
	{500, 20, "", Permanent, "DM_PW_FORMAT", "the password format is not supported by the directory manager"},
	{500, anyReason, "", Permanent, "DM_FAIL", "the directory manager cannot do it"},
	{504, anyReason, "", Permanent, "DM_LIST", "the target was not added to the directory manager's list"},
	{520, anyReason, "", Permanent, "CPU_DEF", "the processor definition is not possible"},
	{592, anyReason, "", Started, "ASYNC_STARTED", "the operation has been started and goes on"},
	{596, anyReason, "", Permanent, "DM_INTERNAL", "internal error of the directory manager; the reason code is its own"},
	{600, anyReason, "", Permanent, "SEGMENT", "the operation on the shared segment failed"},
	{620, anyReason, "", Permanent, "VSWITCH", "the operation on the virtual switch failed"},
	{800, anyReason, "", Permanent, "VMRM", "the resource manager's configuration is wrong"},
	{900, 4, "", Permanent, "EXEC_MISSING", "the custom exec of the function does not exist on the server"},
	{900, 8, "", Transient, "WORKER_MISSING", "the server has no worker for the request"},
	{900, 12, "", Permanent, "FUNC_UNKNOWN", "the server does not know the function"},
	{900, 16, "", Transient, "SRV_TABLE", "the server's function table is faulty"},
	{900, 20, "", Permanent, "LENGTH_MISMATCH", "the total length and the parameters of the request disagree"},
	{900, 24, "", Transient, "SRV_SFS", "the server cannot reach its file pool"},
	{900, 28, "", Transient, "SRV_OUTPUT", "the server cannot make the output"},
	{900, 32, "", Transient, "SRV_WORKER_REPLY", "the server's worker gave a faulty reply"},
	{900, 36, "", Permanent, "LENGTH_RANGE", "a length in the request is out of range"},
	{900, 40, "", Transient, "SRV_SOCKET", "the server has a socket fault"},
	{900, 68, "", Permanent, "LOHCOST_DOWN", "the LOHCOST server is not available"},
	{900, 99, "", Transient, "RETRY", "the system changed during the call; send it again"},
	{900, anyReason, "", Permanent, "SRV_OTHER", "the server failed"},
}

// lookup returns the row for an answer; ok is false if the return code is not
// in the table.
func lookup(function string, ret, reason int) (code, bool) {
	for _, c := range codes {
		if c.ret == ret && (c.reason == reason || c.reason == anyReason) && (c.function == "" || c.function == function) {
			return c, true
		}
	}
	if ret >= 404 && ret <= 460 {
		return code{class: Permanent, name: "DEF_ERROR", meaning: "the operation on the directory definition failed"}, true
	}
	return code{}, false
}

// Describe returns the symbolic name and the meaning in plain words of an
// answer of the function. Codes that are not in IBM's book are "UNKNOWN".
func Describe(function string, ret, reason int) (name, meaning string) {
	c, ok := lookup(function, ret, reason)
	switch {
	case !ok:
		return "UNKNOWN", "codes that are not in the book; see the server's console"
	case c.name == "SYNTAX":
		return c.name, describeSyntax(reason)
	}
	return c.name, c.meaning
}

// Classify returns the class of an answer of the function. A code that is not
// known is Permanent.
func Classify(function string, ret, reason int) Class {
	if c, ok := lookup(function, ret, reason); ok {
		return c.class
	}
	return Permanent
}

// SyntaxKind is what is wrong with a parameter: the last two digits of the
// reason code of return code 24. The digits before them are the number of the
// parameter, counted from 1 for the function name.
type SyntaxKind int

// The kinds that this package itself finds.
const (
	SyntaxTooLong  SyntaxKind = 13
	SyntaxTooShort SyntaxKind = 14
	SyntaxValue    SyntaxKind = 19
	SyntaxExtra    SyntaxKind = 25
	SyntaxUserID   SyntaxKind = 42
	SyntaxListName SyntaxKind = 43
	SyntaxEnd      SyntaxKind = 88
	SyntaxBlank    SyntaxKind = 99
)

var syntaxKinds = []struct {
	kind    SyntaxKind
	meaning string
}{
	{1, "starts with a colon, as a list name must not"},
	{10, "is not a decimal number"},
	{11, "is not supported"},
	{SyntaxTooLong, "is too long"},
	{SyntaxTooShort, "is too short"},
	{15, "is below the minimum or empty"},
	{16, "is not hexadecimal"},
	{17, "is not hexadecimal digits and hyphens"},
	{18, "is above the maximum"},
	{SyntaxValue, "is not one of the known values"},
	{23, "conflicts with another parameter"},
	{24, "is required and missing"},
	{SyntaxExtra, "is one parameter too many"},
	{26, "has characters other than A-Z"},
	{36, "has characters other than A-Z and 0-9"},
	{37, "has characters other than A-Z, 0-9 and -"},
	{SyntaxUserID, "has characters other than A-Z, 0-9 and @#$+-:"},
	{SyntaxListName, "has characters other than A-Z, 0-9 and @#$+-:_"},
	{44, "has characters other than A-Z, 0-9 and @#$+-:="},
	{45, "is not the name of a file pool, directory or file"},
	{SyntaxEnd, "ends unexpectedly"},
	{SyntaxBlank, "has a blank or control character"},
}

// String returns the kind in words that follow the name of a parameter.
func (k SyntaxKind) String() string {
	for _, s := range syntaxKinds {
		if s.kind == k {
			return s.meaning
		}
	}
	return fmt.Sprintf("is wrong in a way that has no text (%02d)", int(k))
}

// SyntaxReason is the reason code for a fault of parameter n.
func SyntaxReason(n int, k SyntaxKind) int { return n*100 + int(k) }

// The numbers of the parameters that every function has.
const (
	ParamFunction = 1 + iota
	ParamUser
	ParamPassword
	ParamTarget
	// ParamFirst is the first parameter of the function's own. A function
	// without a target has none.
	ParamFirst
)

// describeSyntax explains the reason code of return code 24.
func describeSyntax(reason int) string {
	n, k := reason/100, SyntaxKind(reason%100)
	names := [...]string{ParamFunction: "function name", ParamUser: "user id", ParamPassword: "password", ParamTarget: "target"}
	if n > 0 && n < len(names) {
		return fmt.Sprintf("parameter %d (%s) %v", n, names[n], k)
	}
	return fmt.Sprintf("parameter %d %v", n, k)
}

// Check returns the syntax fault that a server finds in the request, nil if
// there is none: lengths and characters of user id, password and target. It
// expects the upper case that Client makes.
func (r Request) Check() *ResultError {
	syntax := func(n int, k SyntaxKind) *ResultError {
		return &ResultError{Function: r.Function, Return: 24, Reason: SyntaxReason(n, k)}
	}
	switch {
	case len(r.User) > MaxUserLength:
		return syntax(ParamUser, SyntaxTooLong)
	case !inClass(r.User, userIDClass):
		return syntax(ParamUser, SyntaxUserID)
	case len(r.Password) > MaxPasswordLength:
		return syntax(ParamPassword, SyntaxTooLong)
	}
	f, ok := LookupFunction(r.Function)
	if !ok {
		return nil
	}
	limit, class, kind := MaxNameLength, userIDClass, SyntaxUserID
	switch f.Target {
	case NoTarget:
		if len(r.Params) > 0 {
			return syntax(ParamTarget, SyntaxExtra)
		}
		return nil
	case ListTarget, StatusTarget:
		limit, class, kind = MaxListLength, listNameClass, SyntaxListName
	}
	switch {
	case r.Target == "":
		return syntax(ParamTarget, SyntaxTooShort)
	case len(r.Target) > limit:
		return syntax(ParamTarget, SyntaxTooLong)
	case f.Target == StatusTarget && r.Target == "*":
	case strings.HasPrefix(r.Target, ":") && limit == MaxListLength:
		return syntax(ParamTarget, 1)
	case !inClass(r.Target, class):
		return syntax(ParamTarget, kind)
	}
	return nil
}

// The characters of user ids and of list names besides letters and digits.
const (
	userIDClass   = "@#$+-:"
	listNameClass = "@#$+-:_"
)

// ValidUserID reports whether name can be a z/VM user id: 1 to 8 characters of
// A-Z, 0-9 and @#$+-:.
func ValidUserID(name string) bool {
	return name != "" && len(name) <= MaxUserLength && inClass(name, userIDClass)
}

func inClass(s, extra string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte(extra, c) < 0 {
			return false
		}
	}
	return true
}
