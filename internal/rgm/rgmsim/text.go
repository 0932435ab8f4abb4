package rgmsim

import (
	"fmt"
)

// String is the line as a timeline shows it.
func (l Line) String() string {
	who := "      "
	if l.Node != 0 {
		who = fmt.Sprintf("node%-2d", l.Node)
	}
	mark := " "
	if l.Fault {
		mark = "*"
	}
	return fmt.Sprintf("%10.3f %s %s %s", l.At.Seconds(), who, mark, l.Text)
}

// Availability is the part of the time that a service ran, 0 to 1.
func (s ServiceStats) Availability() float64 {
	if s.Total <= 0 {
		return 0
	}
	return float64(s.Up) / float64(s.Total)
}
