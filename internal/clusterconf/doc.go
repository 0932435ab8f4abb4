// Package clusterconf knows cluster.conf(5): its grammar, the defaults of what
// it leaves out, what is wrong with a file, and how to change one without
// losing comments or order.
//
//	doc, err := clusterconf.Parse("/etc/cluster/cluster.conf", text)
//	report := clusterconf.Validate(doc, clusterconf.Options{})
//	cfg := clusterconf.Decode(doc)
//
// Three users want three things. A validator wants every fault of the file in
// one run: Validate. A daemon wants values: Decode, which never fails and reads
// numbers as the old daemons did. A tool wants to edit: package xmldoc, with
// Bump for the version.
//
// The grammar is one table (grammar.go) together with the metadata of the
// resource agents; Validate walks it, and RelaxNG writes it as the RELAX NG
// grammar conf/cluster.rng, which a test compares with xmllint on a corpus.
// Sources: cluster.conf(5), cman(5), qdisk(5), fenced(8), rgmanager(8) of the
// Red Hat cluster suite.
package clusterconf
