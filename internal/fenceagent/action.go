package fenceagent

import "strings"

// The actions of the Fence Agent API.
const (
	On          = "on"
	Off         = "off"
	Reboot      = "reboot"
	Status      = "status"
	Monitor     = "monitor"
	List        = "list"
	ListStatus  = "list-status"
	Metadata    = "metadata"
	Manpage     = "manpage"
	ValidateAll = "validate-all"
	Help        = "help"
	Version     = "version"
)

// actions are those that the metadata lists, in the order of the Python
// agents.
var actions = []string{On, Off, Reboot, Status, List, ListStatus, Monitor, Metadata, Manpage, ValidateAll}

// ParseAction returns the action that a word names. Case does not matter;
// meta-data, enable and disable are the names of older agents. An unknown
// word is an error and never a reboot.
func ParseAction(word string) (string, error) {
	w := strings.ToLower(strings.TrimSpace(word))
	switch w {
	case "meta-data":
		return Metadata, nil
	case "enable":
		return On, nil
	case "disable":
		return Off, nil
	case Help, Version:
		return w, nil
	}
	for _, a := range actions {
		if a == w {
			return a, nil
		}
	}
	return "", usagef("Failed: Unrecognised action '%s'", clip(word))
}

// NeedsPlug reports whether an action is about one guest.
func NeedsPlug(action string) bool {
	switch action {
	case On, Off, Reboot, Status, ValidateAll:
		return true
	}
	return false
}
