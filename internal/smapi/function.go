package smapi

import "strings"

// The functions of the API that this package knows.
const (
	AuthorizationListAdd          = "Authorization_List_Add"
	AuthorizationListQuery        = "Authorization_List_Query"
	AuthorizationListRemove       = "Authorization_List_Remove"
	CheckAuthentication           = "Check_Authentication"
	EventStreamAdd                = "Event_Stream_Add"
	EventSubscribe                = "Event_Subscribe"
	EventUnsubscribe              = "Event_Unsubscribe"
	ImageActivate                 = "Image_Activate"
	ImageActiveConfigurationQuery = "Image_Active_Configuration_Query"
	ImageDeactivate               = "Image_Deactivate"
	ImageNameQueryDM              = "Image_Name_Query_DM"
	ImageQueryActivateTime        = "Image_Query_Activate_Time"
	ImageQueryDM                  = "Image_Query_DM"
	ImageRecycle                  = "Image_Recycle"
	ImageStatusQuery              = "Image_Status_Query"
	QueryAPIFunctionalLevel       = "Query_API_Functional_Level"
	QueryAsynchronousOperationDM  = "Query_Asynchronous_Operation_DM"
	QueryDirectoryManagerLevelDM  = "Query_Directory_Manager_Level_DM"
	ResponseRecovery              = "Response_Recovery"
	SSIQuery                      = "SSI_Query"
	SystemInformationQuery        = "System_Information_Query"
)

// TargetKind says what a function accepts as its target.
type TargetKind int

const (
	// NoTarget: the request ends after the password.
	NoTarget TargetKind = iota
	// NameTarget is one user id of 1 to 8 characters.
	NameTarget
	// ListTarget is one user id or the name of a list, 1 to 64 characters.
	ListTarget
	// StatusTarget is a ListTarget, or "*" for all active images.
	StatusTarget
)

// Function describes one function of the API.
type Function struct {
	// Name is its spelling on the wire.
	Name   string
	Target TargetKind
	// Directory says that the directory manager is asked: a _DM function.
	Directory bool
	// MaxOutput bounds the response a client accepts, in bytes: 1 MiB where
	// fencing depends on it, so that a mad server cannot fill the memory.
	MaxOutput int
}

const (
	smallOutput = 1 << 20
	largeOutput = 16 << 20
)

// Functions returns all known functions, sorted by name.
func Functions() []Function { return functions }

var functions = []Function{
	{AuthorizationListAdd, NameTarget, false, smallOutput},
	{AuthorizationListQuery, NameTarget, false, largeOutput},
	{AuthorizationListRemove, NameTarget, false, smallOutput},
	{CheckAuthentication, NoTarget, false, smallOutput},
	{EventStreamAdd, NameTarget, false, smallOutput},
	{EventSubscribe, NameTarget, false, smallOutput},
	{EventUnsubscribe, NameTarget, false, smallOutput},
	{ImageActivate, ListTarget, false, smallOutput},
	{ImageActiveConfigurationQuery, NameTarget, false, smallOutput},
	{ImageDeactivate, ListTarget, false, smallOutput},
	{ImageNameQueryDM, NameTarget, true, largeOutput},
	{ImageQueryActivateTime, NameTarget, false, smallOutput},
	{ImageQueryDM, NameTarget, true, largeOutput},
	{ImageRecycle, ListTarget, false, smallOutput},
	{ImageStatusQuery, StatusTarget, false, largeOutput},
	{QueryAPIFunctionalLevel, NameTarget, false, smallOutput},
	{QueryAsynchronousOperationDM, NameTarget, true, smallOutput},
	{QueryDirectoryManagerLevelDM, NameTarget, true, smallOutput},
	{ResponseRecovery, NameTarget, false, largeOutput},
	{SSIQuery, NameTarget, false, largeOutput},
	{SystemInformationQuery, NameTarget, false, largeOutput},
}

// LookupFunction finds a function by its name. CMS folds names to upper case,
// so the case does not matter.
func LookupFunction(name string) (Function, bool) {
	for _, f := range functions {
		if strings.EqualFold(f.Name, name) {
			return f, true
		}
	}
	return Function{}, false
}
