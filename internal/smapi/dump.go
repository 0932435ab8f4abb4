package smapi

import (
	"fmt"
	"time"
)

// dumpWidth is the number of bytes in a row, as in the manual's RECYCLE EXEC.
const dumpWidth = 32

// AppendDump appends a message as the log of the manual's RECYCLE EXEC (9.3)
// has it: a line with date, time, direction ('>' sent, '<' received) and the
// return code of the socket, then rows of 32 bytes with their decimal offset,
// in hexadecimal and as characters, where a dot stands for what is not
// printable:
//
//	20131231 14:38:18.000000 > 0
//	+0000  0000002E00000014...          *........*
func AppendDump(dst []byte, at time.Time, direction byte, socketReturn int, data []byte) []byte {
	dst = fmt.Appendf(dst, "%s %c %d\n", at.Format("20060102 15:04:05.000000"), direction, socketReturn)
	for from := 0; from < len(data); from += dumpWidth {
		row := data[from:min(from+dumpWidth, len(data))]
		// The EXEC puts the characters into column 70 of the row.
		dst = fmt.Appendf(dst, "+%04d  %-69X*", from, row)
		for _, c := range row {
			if c < ' ' || c > '~' {
				c = '.'
			}
			dst = append(dst, c)
		}
		dst = append(dst, "*\n"...)
	}
	return dst
}
