package zvm

// short is the agent in a few words.
func short(agent string) string {
	if agent == IUCV {
		return "Fence agent for z/VM guests through SMAPI over IUCV"
	}
	return "Fence agent for z/VM guests through SMAPI over TCP/IP"
}

// longText is the description in the metadata, paragraphs separated by blank
// lines.
func longText(agent string) string {
	who := "the z/VM user id given as username, best one of class G without disks that is used for nothing else"
	how := agent + " switches z/VM guests off and on through the Systems Management API of z/VM, over TCP. TLS with a verified certificate is the default; disable_ssl=1 uses plain TCP, as older agents did."
	if agent == IUCV {
		who = "the guest that the agent runs in"
		how = agent + " switches z/VM guests off and on through the Systems Management API of z/VM, over IUCV: no network and no password is needed, z/VM itself vouches for the calling guest. Its directory entry needs IUCV ANY, or IUCV with the name of the SMAPI server (VSMREQIU)."
	}
	return how + "\n\n" +
		"Off and reboot succeed only when z/VM has confirmed that the guest is not active. With several addresses in ip, the members of an SSI cluster, every member has to confirm it.\n\n" +
		"In the file VSMWORK1 AUTHLIST of the directory VMSYS:VSMWORK1. an entry has to allow " + who + " the functions used. The name starts in column 1, the guests it may act on (or ALL) in column 66, the functions (IMAGE_OPERATIONS, or ALL) in column 131. The actions list and list-status, and the check that a guest exists, also need Image_Name_Query_DM."
}
