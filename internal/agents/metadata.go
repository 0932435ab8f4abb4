package agents

import (
	"fmt"

	"github.com/haobox/haobox/conf"
)

// metadata is rgmanager's: the file as it is shipped.
func metadata(program string) ([]byte, error) {
	text, ok := conf.AgentMetadata(program)
	if !ok {
		return nil, fmt.Errorf("no metadata of %s in this binary", program)
	}
	return text, nil
}
