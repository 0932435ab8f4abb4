package restree

// compare compares an old and a new resource: -1 for another type, 0 for no
// difference, 1 for one that needs a restart, 2 for one that needs only a
// reconfig. Action tables and attributes with "__" are not compared.
func compare(old, now *Resource) int {
	if old.Rule.Type != now.Rule.Type {
		return -1
	}
	res := 0
	for i := range old.Attrs {
		l := &old.Attrs[i]
		r := now.Attr(l.Name)
		if r == nil || l.Inherited != r.Inherited || l.Primary != r.Primary || l.Unique != r.Unique ||
			l.Required != r.Required || l.Reconfig != r.Reconfig {
			return 1
		}
		if l.Value != r.Value {
			if !l.Reconfig {
				return 1
			}
			res = 2
		}
	}
	if len(old.Attrs) != len(now.Attrs) {
		return 1
	}
	return res
}

// Delta marks on both sets what has to be stopped, started and reconfigured
// when now replaces old, and lets unchanged resources keep their condition and
// counts. It is called once on a pair of sets, before anything is operated on
// in the new one.
func Delta(old, now *Set) {
	matched := make(map[*Resource]bool, len(now.Resources))
	for _, l := range old.Resources {
		r := now.counterpart(l)
		if r == nil {
			l.NeedStop = true
			continue
		}
		matched[r] = true
		switch compare(l, r) {
		case 0:
			r.Incarnations = l.Incarnations
		case 2:
			r.NeedStart, r.Reconfig = true, true
			r.Incarnations = l.Incarnations
		default:
			l.NeedStop = true
			r.NeedStart = true
		}
	}
	for _, r := range now.Resources {
		if !matched[r] {
			r.NeedStart = true
		}
	}
	deltaNodes(old.Tree, now.Tree)
}

// counterpart finds the resource of the new set that has the type and the
// primary value of l, with the fall-back of a reference.
func (s *Set) counterpart(l *Resource) *Resource {
	rule := s.Rules.Find(l.Rule.Type)
	if rule == nil || rule.Type != l.Rule.Type {
		return nil
	}
	return s.index.find(rule, l.Name())
}

// deltaNodes compares sibling lists.
func deltaNodes(old, now []*Node) {
	matched := make(map[*Node]bool, len(now))
	byType := siblings(now)
	for _, l := range old {
		if l.Resource.NeedStop {
			l.NeedStop = true
			continue
		}
		found := false
		for _, r := range byType.like(l) {
			if r.Resource.NeedStart {
				r.NeedStart = true
				if !r.Resource.Reconfig {
					continue
				}
			}
			switch compare(l.Resource, r.Resource) {
			case 2:
				r.NeedStart, r.Reconfig = true, true
			case 0:
				r.State = l.State
			default:
				continue
			}
			found, matched[r] = true, true
			deltaNodes(l.Children, r.Children)
		}
		if !found {
			l.NeedStop = true
		}
	}
	for _, r := range now {
		if !matched[r] {
			r.NeedStart = true
		}
	}
}

// siblingIndex finds the new siblings that an old node can be equal to, so that
// thousands of services are not compared with each other.
type siblingIndex struct {
	all   []*Node
	exact map[string][]*Node // type NUL value of slot 0
}

func siblings(nodes []*Node) siblingIndex {
	x := siblingIndex{all: nodes, exact: make(map[string][]*Node, len(nodes))}
	for _, n := range nodes {
		key := n.Resource.Rule.Type + "\x00" + n.Resource.Name()
		x.exact[key] = append(x.exact[key], n)
	}
	return x
}

// like returns the nodes that compare can call equal to l. A slot 0 that may
// change in place gives no shortcut.
func (x siblingIndex) like(l *Node) []*Node {
	if l.Resource.Attrs[0].Reconfig {
		return x.all
	}
	return x.exact[l.Resource.Rule.Type+"\x00"+l.Resource.Name()]
}
